"""Which entry point a program file needs, so that one that will be killed can be refused with words instead.

Holds: `shut_out`. Does not hold: the opening of files, nor the words. Lean: may run in the init before execve.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Seccomp

# elf(5): (EI_CLASS, e_machine) → OCI name. x32 programs are 32-bit files for the 64-bit machine.
_NEEDS = {
    (1, 3): "SCMP_ARCH_X86",
    (1, 62): "SCMP_ARCH_X32",
    (2, 62): "SCMP_ARCH_X86_64",
    (1, 40): "SCMP_ARCH_ARM",
    (2, 183): "SCMP_ARCH_AARCH64",
}
_NATIVE = ("SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64")
HEADER = 20  # bytes of a program that tell


def shut_out(seccomp: Seccomp, header: bytes) -> str | None:
    """See the package. None also for scripts and whatever else is no ELF file: their interpreter is what counts."""
    if len(header) < HEADER or header[:4] != b"\x7fELF":
        return None
    needs = _NEEDS.get((header[4], int.from_bytes(header[18:20], "little")))
    return None if needs is None or needs in _NATIVE or needs in seccomp.architectures else needs
