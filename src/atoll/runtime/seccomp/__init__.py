"""seccomp: which system calls a container may make, from the OCI description to the filter the kernel runs.

Holds: `default_profile` (Atoll's allow-list, or Docker's), `compile` (OCI description → classic BPF), `cached` (the
same from a file, by content), `install_flags`, `shut_out` (programs that a filter would kill at once). Does not hold:
the system call that installs a filter (`linux/seccomp.py`), nor the moment for it (`runtime/init.py`).
May import: base, spec. No ctypes; a hit of the cache loads no table and no compiler (a test pins that).
Start reading at: `compiler.py` for the shape of a filter, `profile.py` for what the default closes and why.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

    from atoll.spec.runtime import Seccomp


def default_profile(
    capabilities: Set[str], *, docker: bool = False, allow_32bit: bool = False, arch: str | None = None
) -> Seccomp:
    """The profile of a container that asks for none, given the capabilities it holds (`CAP_…`).

    `docker` gives the permissiveness of Docker's own default instead. `allow_32bit` opens the 32-bit entry points
    (i386 and x32, or arm), which Docker's has open. `arch` is a machine name as uname(2) gives it, by default this
    one's. Raises Unsupported for a machine without tables.
    """
    from atoll.runtime.seccomp.profile import default_profile as build

    return build(capabilities, docker=docker, allow_32bit=allow_32bit, arch=arch)


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
    from atoll.runtime.seccomp.cache import read_or_compile

    return read_or_compile(seccomp, cache_dir, arch)


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
