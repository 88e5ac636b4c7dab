"""A seccomp profile from a file: the runtime-spec's format, and Docker's with `archMap`, `includes`, `excludes`.

Holds: `read_profile`, `resolve` (Docker's conditions settled for one container on this machine). Does not hold: the
default profile, compiling (`runtime/seccomp`).
Source: moby profiles/seccomp (default.json and its reader), config-linux.md "Seccomp".
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set
    from typing import Any

    from atoll.spec.runtime import Seccomp

_MOST_BYTES = 4 << 20
# Machine (uname(2)) to Go's name of it, which `arches` conditions use, and to the name in `archMap`.
_MACHINES = {
    "x86_64": ("amd64", "SCMP_ARCH_X86_64"),
    "aarch64": ("arm64", "SCMP_ARCH_AARCH64"),
    "i686": ("386", "SCMP_ARCH_X86"),
    "armv7l": ("arm", "SCMP_ARCH_ARM"),
    "riscv64": ("riscv64", "SCMP_ARCH_RISCV64"),
    "ppc64le": ("ppc64le", "SCMP_ARCH_PPC64LE"),
    "s390x": ("s390x", "SCMP_ARCH_S390X"),
}


def read_profile(path: str, capabilities: Set[str]) -> Seccomp:
    """Parse a profile for a container with these capabilities. Raises NotFound, InvalidArgument."""
    from atoll.spec import codec
    from atoll.spec.runtime import Seccomp

    what = f"seccomp profile {path}"
    try:
        if os.stat(path).st_size > _MOST_BYTES:
            raise errors.InvalidArgument(f"{what}: more than {_MOST_BYTES} bytes")
        document = jsontext.loads(files.read_bytes(path))
    except OSError as error:
        raise errors.from_os_error(error, "read the seccomp profile") from error
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise errors.InvalidArgument(f"{what}: expected a JSON object")
    machine = os.uname()
    return codec.parse(Seccomp, resolve(document, capabilities, machine.machine, machine.release, what), what)


def resolve(
    document: dict[str, Any], capabilities: Set[str], machine: str, release: str, what: str = "seccomp profile"
) -> dict[str, Any]:
    """The document with `archMap` as `architectures`, and without the rules whose conditions do not hold. Raises
    InvalidArgument, in Docker's words where it has some."""
    out = dict(document)
    arch_map = out.pop("archMap", None)
    if arch_map:
        if document.get("architectures"):
            raise errors.InvalidArgument(
                f"{what}: both 'architectures' and 'archMap' were specified in the seccomp profile, use either"
            )
        out["architectures"] = _architectures(arch_map, machine, what)
    rules = []
    for index, rule in enumerate(_list(document.get("syscalls"), f"{what}: syscalls")):
        if not isinstance(rule, dict):
            raise errors.InvalidArgument(f"{what}: syscalls[{index}]: expected an object")
        if rule.get("name") and rule.get("names"):
            raise errors.InvalidArgument(f"{what}: 'name' and 'names' are both set in syscalls[{index}], use either")
        if _holds(rule, capabilities, machine, release, f"{what}: syscalls[{index}]"):
            kept = {
                key: value for key, value in rule.items() if key not in ("includes", "excludes", "name", "comment")
            }
            if rule.get("name"):
                kept["names"] = [rule["name"]]
            rules.append(kept)
    out["syscalls"] = rules
    return out


def _list(value: Any, what: str) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list):
        raise errors.InvalidArgument(f"{what}: expected an array")
    return value


def _architectures(arch_map: Any, machine: str, what: str) -> list[str]:
    wanted = _MACHINES.get(machine, ("", ""))[1]
    for entry in _list(arch_map, f"{what}: archMap"):
        if isinstance(entry, dict) and entry.get("architecture") == wanted:
            return [wanted, *[str(one) for one in _list(entry.get("subArchitectures"), f"{what}: subArchitectures")]]
    return []


def _holds(rule: dict[str, Any], capabilities: Set[str], machine: str, release: str, what: str) -> bool:
    go_name = _MACHINES.get(machine, (machine, ""))[0]
    includes, excludes = _condition(rule, "includes", what), _condition(rule, "excludes", what)
    arches, caps = _list(excludes.get("arches"), what), _list(excludes.get("caps"), what)
    if go_name in arches or any(cap in capabilities for cap in caps):
        return False
    if excludes.get("minKernel") and _at_least(release, excludes["minKernel"], what):
        return False
    arches, caps = _list(includes.get("arches"), what), _list(includes.get("caps"), what)
    if (arches and go_name not in arches) or any(cap not in capabilities for cap in caps):
        return False
    return not includes.get("minKernel") or _at_least(release, includes["minKernel"], what)


def _condition(rule: dict[str, Any], key: str, what: str) -> dict[str, Any]:
    value = rule.get(key) or {}
    if not isinstance(value, dict):
        raise errors.InvalidArgument(f"{what}.{key}: expected an object")
    return value


def _at_least(release: str, wanted: Any, what: str) -> bool:
    """Whether a kernel `release` (uname(2)) is of `major.minor` or later."""
    parts = str(wanted).split(".")
    if len(parts) != 2 or not all(part.isascii() and part.isdecimal() and len(part) < 6 for part in parts):
        raise errors.InvalidArgument(f"{what}: minKernel {wanted!r} is not MAJOR.MINOR")
    numbers = release.split("-")[0].split("+")[0].split(".")
    have = [int(part) if part.isdecimal() else 0 for part in (*numbers, "0", "0")[:2]]
    return have >= [int(part) for part in parts]
