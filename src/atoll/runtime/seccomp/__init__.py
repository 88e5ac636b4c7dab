"""seccomp: which system calls a container may make, from the OCI description to the filter the kernel runs.

Holds: `default_profile` (Atoll's allow-list, or Docker's), `name_of`, `from_name` (a default profile in few words),
`compile` (OCI description → classic BPF), `cached` (the same from a file, by content), `keep` (both, ahead of forks),
`install_flags`, `shut_out` (programs that a filter would kill at once). Does not hold: the system call that installs
a filter (`linux/seccomp.py`), nor the moment for it (`runtime/init.py`).
May import: base, spec. No ctypes; a hit of the cache loads no table and no compiler (a test pins that).
Start reading at: `compiler.py` for the shape of a filter, `profile.py` for what the default closes and why.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set
    from typing import Any

    from atoll.spec.runtime import Seccomp

_MOST = 16
_profiles: dict[tuple[tuple[str, ...], bool, bool], Seccomp] = {}
"""Default profiles by what they were made from: 400 names to sort and 70 records to make, 0.3 ms each time."""
_filters: dict[tuple[int, str], bytes] = {}
"""Filters of these profiles by the profile's identity and the cache's directory."""


def default_profile(
    capabilities: Set[str], *, docker: bool = False, allow_32bit: bool = False, arch: str | None = None
) -> Seccomp:
    """The profile of a container that asks for none, given the capabilities it holds (`CAP_…`).

    `docker` gives the permissiveness of Docker's own default instead. `allow_32bit` opens the 32-bit entry points
    (i386 and x32, or arm), which Docker's has open. `arch` is a machine name as uname(2) gives it, by default this
    one's. Raises Unsupported for a machine without tables. Asked again, it gives the same object.
    """
    key = (tuple(sorted(capabilities)), docker, allow_32bit)
    if arch is None and key in _profiles:
        return _profiles[key]
    from atoll.runtime.seccomp.profile import default_profile as build

    made = build(capabilities, docker=docker, allow_32bit=allow_32bit, arch=arch)
    if arch is None and len(_profiles) < _MOST:
        _profiles[key] = made
    return made


def name_of(seccomp: Seccomp) -> dict[str, Any] | None:
    """How a process of the same version makes this very profile (`from_name`), as JSON; None for one that
    `default_profile` has not made here: then all of it has to travel."""
    for (capabilities, docker, allow_32bit), made in _profiles.items():
        if made is seccomp:
            return {"capabilities": list(capabilities), "docker": docker, "allow32bit": allow_32bit}
    return None


def from_name(name: Any) -> Seccomp:
    """The profile of that name. Raises InvalidArgument."""
    from atoll.spec.codec import flag, list_of, text, wrong

    if not isinstance(name, dict):
        raise wrong("profile", "an object", name)
    return default_profile(
        frozenset(list_of(text)(name.get("capabilities"), "profile.capabilities")),
        docker=flag(name.get("docker"), "profile.docker"),
        allow_32bit=flag(name.get("allow32bit"), "profile.allow32bit"),
    )


def compile(seccomp: Seccomp, *, arch: str | None = None) -> bytes:
    """The filter for machine `arch` (by default this one): an array of struct sock_filter, seccomp(2).

    Raises InvalidArgument for what the OCI runtime-spec forbids or a filter of more than 4096 instructions,
    Unsupported for a machine without tables.
    """
    from atoll.runtime.seccomp.compiler import compile_filter

    return compile_filter(seccomp, arch)


def cached(seccomp: Seccomp, cache_dir: str, *, arch: str | None = None) -> bytes:
    """Like `compile`, from a file in `cache_dir` where there is one, else leaving one there.

    The directory is made with mode 0700; one that others own or may write is refused with Denied.
    """
    if arch is None and (id(seccomp), cache_dir) in _filters:
        return _filters[(id(seccomp), cache_dir)]
    from atoll.runtime.seccomp.cache import read_or_compile

    return read_or_compile(seccomp, cache_dir, arch)


def keep(capabilities: Set[str], cache_dir: str) -> None:
    """Have the default profile of these capabilities, and its filter if there is one in the cache, at hand from now
    on: for a process whose forks want them. Raises Denied as `cached`, Unsupported."""
    from atoll.runtime.seccomp.cache import read

    profile = default_profile(capabilities)
    program = read(profile, cache_dir)
    if program is not None and name_of(profile) is not None:  # then it stays, and its identity is its own
        _filters[(id(profile), cache_dir)] = program


def install_flags(seccomp: Seccomp) -> int:
    """The SECCOMP_FILTER_FLAG_ bits to install the filter with; NEW_LISTENER where a rule notifies.

    Raises InvalidArgument for an unknown flag or a combination that the kernel refuses.
    """
    from atoll.runtime.seccomp.flags import install_flags as build

    return build(seccomp)


def shut_out(seccomp: Seccomp, header: bytes) -> str | None:
    """The OCI name of the entry point that a program needs and the profile keeps shut, else None.

    `header` is the first 20 bytes of the program's file. Such a program would be killed at its first system call.
    """
    from atoll.runtime.seccomp.programs import shut_out as find

    return find(seccomp, header)
