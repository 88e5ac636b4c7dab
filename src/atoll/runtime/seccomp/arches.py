"""The ways into one kernel: which system-call architectures a machine has, and how a filter sees them.

Holds: `Arch`, the table of OCI names, `entered_on`. Does not hold: the system calls themselves (`tables/`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value

X32_BIT = 0x40000000  # arch/x86/include/uapi/asm/unistd.h: marks the number of an x32 call
NO_CALL = 0xFFFFFFFF  # -1: a tracer cancelled the call (ptrace(2)); nothing gets executed


class Arch(Value):
    """One entry point: its table, the audit number that seccomp_data carries, its numbers' offset, its width."""

    table: str
    audit: int  # AUDIT_ARCH_*, include/uapi/linux/audit.h
    base: int = 0
    wide: bool = True  # compares 64 bits of an argument; else 32, as libseccomp does also on x32


_ARCHES = {
    "SCMP_ARCH_X86_64": Arch(table="x86_64", audit=0xC000003E),
    "SCMP_ARCH_X32": Arch(table="x32", audit=0xC000003E, base=X32_BIT, wide=False),
    "SCMP_ARCH_X86": Arch(table="i386", audit=0x40000003, wide=False),
    "SCMP_ARCH_AARCH64": Arch(table="aarch64", audit=0xC00000B7),
    "SCMP_ARCH_ARM": Arch(table="arm", audit=0x40000028, wide=False),
}

# What a program on such a machine can enter the kernel by; the first is the machine's own.
_ENTRIES = {
    "x86_64": ("SCMP_ARCH_X86_64", "SCMP_ARCH_X32", "SCMP_ARCH_X86"),
    "aarch64": ("SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"),
}
_ALIASES = {"amd64": "x86_64", "arm64": "aarch64"}

# config-linux.md, "seccomp": known, but no program on our machines can be of them.
_OTHERS = (
    "MIPS MIPS64 MIPS64N32 MIPSEL MIPSEL64 MIPSEL64N32 PPC PPC64 PPC64LE S390 S390X PARISC PARISC64 RISCV64 "
    "LOONGARCH64 M68K SH SHEB"
).split()


def machine(arch: str | None) -> str:
    """The machine's name as the tables know it; None is this one. Raises Unsupported."""
    if arch is None:
        import os

        arch = os.uname().machine
    arch = _ALIASES.get(arch, arch)
    if arch not in _ENTRIES:
        raise errors.Unsupported(
            f"no seccomp filters for machine {arch}: Atoll has system-call tables for {' and '.join(_ENTRIES)}",
            hint="run with seccomp=unconfined",
        )
    return arch


def names(arch: str, *, all_widths: bool) -> tuple[str, ...]:
    """The OCI names of a machine's own entry point, or of all of them."""
    entries = _ENTRIES[arch]
    return entries if all_widths else entries[:1]


def entered_on(arch: str, wanted: tuple[str, ...]) -> list[Arch]:
    """The entry points that a profile opens on a machine: always its own, then of the named ones those it has.

    Raises InvalidArgument for a name that the runtime-spec does not know.
    """
    for name in wanted:
        if name not in _ARCHES and name.removeprefix("SCMP_ARCH_") not in _OTHERS:
            raise errors.InvalidArgument(
                f"linux.seccomp.architectures: unknown architecture {name!r}",
                hint="names look like SCMP_ARCH_X86_64",
            )
    entries = _ENTRIES[arch]
    return [_ARCHES[name] for name in entries if name == entries[0] or name in wanted]
