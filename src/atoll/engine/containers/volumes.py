"""`-v source:destination[:options]`: what the user wrote as mounts. Pure.

Holds: `parse`, and what every grammar of mounts shares (`inside`, `check_unique`, `volume_source`). Does not hold:
`--mount` and the rarer flags (`mount_flags.py`), making directories (`engine/volumes/`), mounting. The grammar is
Docker's, with Podman's `idmap` and `U`.
"""

from __future__ import annotations

import os

from atoll.base import errors, ids
from atoll.engine.containers.record import MountPoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

PROPAGATION = frozenset("private rprivate shared rshared slave rslave".split())
# Accepted and without effect here: hints for Docker Desktop.
_NO_EFFECT = frozenset("rw cached delegated consistent default bind rbind".split())
_FLAGS = frozenset("nosuid suid nodev dev noexec exec".split())
_OWN = ("/", "/proc", "/sys", "/dev")


def parse(spec: str, *, cwd: str, volumes: str) -> MountPoint:
    """One `-v`. A source with a slash or a leading dot is a host path, anything else names a volume below the
    directory `volumes`; without a source it is an anonymous volume. Raises InvalidArgument in Docker's words."""
    if "\0" in spec or "\n" in spec:
        raise errors.InvalidArgument("invalid volume specification: it holds a control character")
    parts = spec.split(":")
    if not 1 <= len(parts) <= 3 or "" in parts:
        hint = "write SOURCE:DESTINATION[:OPTIONS], e.g. ./data:/data:ro"
        raise errors.InvalidArgument(f"invalid volume specification: '{spec}'", hint=hint)
    if len(parts) == 1:
        return anonymous(inside(parts[0], spec), volumes)
    common: dict[str, Any] = {"destination": inside(parts[1], spec), "copy": True}
    if len(parts) == 3:
        common.update(_options(spec, parts[2]))
    source = parts[0]
    if source.startswith(("/", ".")):
        common["copy"] = False
        return MountPoint(type="bind", source=os.path.normpath(os.path.join(cwd, source)), create=True, **common)
    return MountPoint(type="volume", source=volume_source(source, volumes), name=source, **common)


def anonymous(destination: str, volumes: str) -> MountPoint:
    """A new volume that nobody has named, which begins with what the image has there."""
    name = ids.new_id()
    return MountPoint(
        type="volume",
        source=f"{volumes}/{name}/_data",
        destination=destination,
        name=name,
        anonymous=True,
        copy=True,
    )


def volume_source(name: str, volumes: str) -> str:
    """Where a volume's content is. Raises InvalidArgument for what can name none, in Docker's words."""
    if not ids.valid_name(name):
        raise errors.InvalidArgument(
            f"'{name}' includes invalid characters for a local volume name",
            hint="letters, digits, _ . and -; a host directory begins with / or ./",
        )
    return f"{volumes}/{name}/_data"


def inside(destination: str, spec: str) -> str:
    """A destination as a normal path. Raises InvalidArgument for one that is not absolute, or the system's own."""
    if not destination.startswith("/"):
        raise errors.InvalidArgument(
            f"invalid volume specification: '{spec}': invalid mount path: '{destination}' mount path must be absolute"
        )
    path = "/" + os.path.normpath(destination).strip("/")
    if path in _OWN or path.startswith("/proc/"):
        raise errors.InvalidArgument(
            f"invalid volume specification: '{spec}': destination can't be '{path}'",
            hint="the container has its own /, /proc, /sys and /dev",
        )
    return path


def _options(spec: str, text: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    further: list[str] = []
    for word in text.split(",") if text else ():
        if word in ("ro", "readonly"):
            found["read_only"] = True
        elif word in PROPAGATION:
            found["propagation"] = word
        elif word in ("z", "Z"):
            found["relabel"] = word
        elif word == "nocopy":
            found["copy"] = False
        elif word == "copy":
            found["copy"] = True
        elif word in ("idmap", "ridmap"):
            found["idmap"] = word
        elif word == "U":
            raise no_chown()
        elif word in _FLAGS:
            further.append(word)
        elif word not in _NO_EFFECT:
            raise errors.InvalidArgument(
                f"invalid volume specification: '{spec}': invalid mode: {word}",
                hint="known are ro, rw, z, Z, nocopy, idmap, [r]private, [r]shared, [r]slave, nosuid, nodev, noexec",
            )
    if further:
        found["options"] = tuple(further)
    return found


def no_chown() -> errors.Unsupported:
    """The error for Podman's `U`, which changes the owner of every file of the host below the source."""
    return errors.Unsupported(
        "mount option U: the owners of the host's own files are not changed",
        hint="as root, 'idmap' shows them as the container's; as an ordinary user, --userns=keep-id does",
    )


def check_unique(mounts: Iterable[MountPoint]) -> None:
    """Refuse two mounts at one place. Raises InvalidArgument."""
    seen: set[str] = set()
    for mount in mounts:
        if mount.destination in seen:
            raise errors.InvalidArgument(f"Duplicate mount point: {mount.destination}")
        seen.add(mount.destination)
