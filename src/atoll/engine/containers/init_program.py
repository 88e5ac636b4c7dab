"""`--init`: a small first process that passes signals on and reaps what is orphaned.

Holds: `find`, `own`, `with_init`. Does not hold: the program; it is the host's catatonit or tini, else ours
(`own_init/`), which lies in the data root's cache. It is bound read-only into the container's `/dev`, which is a file
system of its own and so keeps nothing of it in the container's layer.
"""

from __future__ import annotations

import os
from struct import unpack_from

from atoll.base import errors, files
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


def find(places: tuple[str, ...] = PLACES) -> str | None:
    """The first program of these that runs anywhere."""
    for path in places:
        try:
            with open(path, "rb") as file:
                if is_static(file.read(1 << 12)) and os.access(path, os.X_OK):
                    return os.path.realpath(path)
        except OSError:
            continue
    return None


def own(data_root: str, machine: str = "") -> str:
    """Our own, made if it is not there, or not what it should be. Raises Unsupported for a machine that we have none
    for, OSError."""
    from atoll.engine.containers.own_init import image

    machine = machine or os.uname().machine
    program = image(machine)
    if program is None:
        raise errors.Unsupported(
            f"--init needs catatonit, or a statically linked tini; this host has none, and Atoll none for {machine}",
            hint="install the package catatonit, or leave out --init",
        )
    path = f"{data_root}/cache/init-{machine}"
    try:
        if files.read_bytes(path) == program and os.access(path, os.X_OK):
            return path
    except FileNotFoundError:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    # Replaced by another name: containers that have the one before go on with it.
    files.write_atomic(path, program, mode=0o555)
    return path


def is_static(head: bytes) -> bool:
    """Whether the beginning of a file is that of a 64-bit ELF program without a loader."""
    if head[:5] != b"\x7fELF\x02" or len(head) < 64:
        return False
    (at,) = unpack_from("<Q", head, 32)
    size, count = unpack_from("<HH", head, 54)
    if at + size * count > len(head):
        return False
    return all(unpack_from("<I", head, at + size * index)[0] != _INTERPRETER for index in range(count))


def with_init(planned: Planned, data_root: str) -> Planned:
    """The plan with that program in front. What `inspect` shows as the container's command stays. Raises
    Unsupported, OSError."""
    container = planned.container
    spec = container.spec
    if spec.process is None:
        return planned
    bind = oci.Mount(
        destination=TARGET, type="bind", source=find() or own(data_root), options=("bind", "ro", "nosuid", "nodev")
    )
    process = spec.process.replace(args=(TARGET, "--", *spec.process.args))
    spec = spec.replace(process=process, mounts=(*spec.mounts, bind))
    return planned.replace(container=container.replace(spec=spec))
