"""`--init`: a small first process that passes signals on and reaps what is orphaned.

Holds: `find`, `with_init`. Does not hold: the program; it is the host's catatonit or tini, bound read-only into the
container's `/dev`, which is a file system of its own and so keeps nothing of it in the container's layer.
"""

from __future__ import annotations

import os
from struct import unpack_from

from atoll.base import errors
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.plan import Planned

PLACES = (
    "/usr/libexec/podman/catatonit",
    "/usr/bin/catatonit",
    "/usr/libexec/catatonit/catatonit",
    "/usr/bin/tini-static",
    "/usr/libexec/docker/docker-init",
    "/usr/bin/docker-init",
    "/usr/bin/tini",
)
TARGET = "/dev/init"
_INTERPRETER = 3
"""PT_INTERP of elf(5): a program that needs a loader, which the container may not have."""


def find(places: tuple[str, ...] = PLACES) -> str:
    """The first program of these that runs anywhere. Raises Unsupported."""
    for path in places:
        try:
            with open(path, "rb") as file:
                if is_static(file.read(1 << 12)) and os.access(path, os.X_OK):
                    return os.path.realpath(path)
        except OSError:
            continue
    raise errors.Unsupported(
        "--init needs catatonit, or a statically linked tini, and this host has none",
        hint="install the package catatonit, or leave out --init",
    )


def is_static(head: bytes) -> bool:
    """Whether the beginning of a file is that of a 64-bit ELF program without a loader."""
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:
        return False
    (at,) = unpack_from("<Q", head, 32)
    size, count = unpack_from("<HH", head, 54)
    if at + size * count > len(head):
        return False
    return all(unpack_from("<I", head, at + size * index)[0] != _INTERPRETER for index in range(count))


def with_init(planned: Planned) -> Planned:
    """The plan with that program in front. What `inspect` shows as the container's command stays. Raises
    Unsupported."""
    container = planned.container
    spec = container.spec
    if spec.process is None:
        return planned
    bind = oci.Mount(destination=TARGET, type="bind", source=find(), options=("bind", "ro", "nosuid", "nodev"))
    process = spec.process.replace(args=(TARGET, "--", *spec.process.args))
    spec = spec.replace(process=process, mounts=(*spec.mounts, bind))
    return planned.replace(container=container.replace(spec=spec))
