"""`-v source:destination[:options]`: what the user wrote as mounts. Pure.

Holds: `parse`. Does not hold: making directories (`create.py`), mounting. The grammar is Docker's.
"""

from __future__ import annotations

import os

from atoll.base import errors, ids
from atoll.engine.containers.record import MountPoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PROPAGATION = frozenset("private rprivate shared rshared slave rslave".split())
# Accepted and without effect here: hints for Docker Desktop, labels on hosts without SELinux, copying (later work).
_NO_EFFECT = frozenset("rw cached delegated consistent default z Z nocopy".split())
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
        name = ids.new_id()
        destination = _inside(spec, parts[0])
        source = f"{volumes}/{name}/_data"
        return MountPoint(type="volume", source=source, destination=destination, name=name, anonymous=True)
    read_only, propagation = _options(spec, parts[2] if len(parts) == 3 else "")
    common: dict[str, Any] = {
        "destination": _inside(spec, parts[1]),
        "read_only": read_only,
        "propagation": propagation,
    }
    source = parts[0]
    if source.startswith(("/", ".")):
        return MountPoint(type="bind", source=os.path.normpath(os.path.join(cwd, source)), **common)
    if not ids.valid_name(source):
        raise errors.InvalidArgument(
            f"'{source}' includes invalid characters for a local volume name",
            hint="letters, digits, _ . and -; a host directory begins with / or ./",
        )
    return MountPoint(type="volume", source=f"{volumes}/{source}/_data", name=source, **common)


def _inside(spec: str, destination: str) -> str:
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


def _options(spec: str, text: str) -> tuple[bool, str]:
    read_only, propagation = False, "rprivate"
    for word in text.split(",") if text else ():
        if word in ("ro", "readonly"):
            read_only = True
        elif word in _PROPAGATION:
            propagation = word
        elif word == "idmap":
            raise errors.Unsupported(f"volume '{spec}': id-mapped mounts are not there yet")
        elif word not in _NO_EFFECT:
            raise errors.InvalidArgument(
                f"invalid volume specification: '{spec}': invalid mode: {word}",
                hint="known are ro, rw, z, Z, [r]private, [r]shared, [r]slave",
            )
    return read_only, propagation


def check_unique(mounts: tuple[MountPoint, ...]) -> None:
    """Refuse two mounts at one place. Raises InvalidArgument."""
    seen: set[str] = set()
    for mount in mounts:
        if mount.destination in seen:
            raise errors.InvalidArgument(f"Duplicate mount point: {mount.destination}")
        seen.add(mount.destination)
