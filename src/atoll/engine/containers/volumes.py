"""`-v`: Docker's way of writing a mount.

Holds: `resolve`, pure. `SOURCE:DESTINATION[:OPTIONS]`; a source that begins with `/` or `.` is a path of the host,
anything else the name of a volume, which is a directory of Atoll's own.
"""

from __future__ import annotations

import os

from atoll.base import errors, ids
from atoll.spec.runtime import Mount

_ACCESS = {"ro": "ro", "rw": "rw", "readonly": "ro"}
_PASSED = frozenset(("private", "rprivate", "shared", "rshared", "slave", "rslave", "nosuid", "nodev", "noexec"))
_WITHOUT_EFFECT = frozenset(("nocopy", "consistent", "cached", "delegated"))


def resolve(texts: tuple[str, ...], volumes_root: str, cwd: str) -> tuple[tuple[Mount, ...], tuple[str, ...]]:
    """The mounts, and the host directories to make if they are not there. Raises InvalidArgument, Conflict."""
    mounts: dict[str, Mount] = {}
    to_make: list[str] = []
    for text in texts:
        mount = _one(text, volumes_root, cwd)
        if mount.destination in mounts:
            raise errors.Conflict(f"duplicate mount point: {mount.destination}", hint="give each destination once")
        mounts[mount.destination] = mount
        to_make.append(mount.source or "")
    return tuple(mounts.values()), tuple(to_make)


def _one(text: str, volumes_root: str, cwd: str) -> Mount:
    parts = text.split(":")
    wrong = errors.InvalidArgument(
        f"invalid volume specification: '{text}'", hint="write SOURCE:DESTINATION or SOURCE:DESTINATION:ro"
    )
    if len(parts) == 1:
        raise errors.Unsupported(
            f"anonymous volume '{text}'", hint="name a source: NAME:DESTINATION or /PATH:DESTINATION"
        )
    if len(parts) > 3 or not parts[0] or not parts[1]:
        raise wrong
    destination = os.path.normpath(parts[1])
    if not parts[1].startswith("/") or destination.lstrip("/") == "":
        raise errors.InvalidArgument(
            f"invalid volume specification: '{text}': the destination must be an absolute path other than /"
        )
    options = ["rbind", *_options(parts[2] if len(parts) == 3 else "", text)]
    if not any(option.endswith(("private", "shared", "slave")) for option in options):
        options.append("rprivate")
    return Mount(
        destination="/" + destination.lstrip("/"),
        type="bind",
        source=_source(parts[0], volumes_root, cwd),
        options=tuple(options),
    )


def _options(text: str, whole: str) -> list[str]:
    options: list[str] = []
    for option in [one for one in text.split(",") if one]:
        if option in _ACCESS:
            options.append(_ACCESS[option])
        elif option in _PASSED:
            options.append(option)
        elif option in ("z", "Z"):
            continue  # SELinux labels: without SELinux they mean nothing, as in Docker
        elif option not in _WITHOUT_EFFECT:
            raise errors.InvalidArgument(
                f"invalid option '{option}' in volume '{whole}'", hint="known are ro, rw, z, Z, and the propagations"
            )
    # Read-only means all of it: a file system mounted below would else stay writable (Docker 25 does the same).
    return ["ro" if o == "ro" else o for o in options] + (["rro"] if "ro" in options else [])


def _source(source: str, volumes_root: str, cwd: str) -> str:
    if source.startswith("/"):
        return os.path.normpath(source)
    if source.startswith("."):
        return os.path.normpath(os.path.join(cwd, source))
    if not ids.valid_name(source):
        raise errors.InvalidArgument(
            f"'{source}' includes invalid characters for a volume name", hint="a host path begins with / or ./"
        )
    return f"{volumes_root}/{source}/_data"
