"""The program of a pod's infra container: it waits, and what is orphaned in a shared pid namespace is reaped.

Holds: `image`, an ELF executable as bytes, made here rather than taken from the host, which may have none. It ignores
SIGCHLD with SA_NOCLDWAIT, so that the kernel reaps for it (wait(2)), and sleeps; nothing but SIGKILL ends it. Every
process of such a program is two pages.
Source: elf(5); the calling conventions and numbers in syscall(2), `asm/unistd.h`.
"""

from __future__ import annotations

from struct import pack

from atoll.base import errors

_BASE = 0x400000
_HEADERS = 64 + 56
_X86_64, _AARCH64 = 62, 183
# struct sigaction as the kernel has it: SIG_IGN, SA_NOCLDWAIT, no restorer or mask (the mask comes last on both).
_ACTION = pack("<QQQQ", 1, 2, 0, 0)


def _x86_64() -> bytes:
    """rt_sigaction(SIGCHLD, &action, NULL, 8); for (;;) pause();"""
    code = (
        b"\xb8" + pack("<I", 13)  # mov eax, rt_sigaction
        + b"\xbf" + pack("<I", 17)  # mov edi, SIGCHLD
        + b"\x48\x8d\x35" + pack("<i", 0x13)  # lea rsi, [rip + 0x13]: the action
        + b"\x31\xd2"  # xor edx, edx
        + b"\x41\xba" + pack("<I", 8)  # mov r10d, 8
        + b"\x0f\x05"  # syscall
        + b"\xb8" + pack("<I", 34)  # mov eax, pause
        + b"\x0f\x05"  # syscall
        + b"\xeb\xf7"  # jmp to the move before
    )  # fmt: skip
    return code + b"\x90" * (-len(code) % 4) + _ACTION


def _aarch64() -> bytes:
    """The same with ppoll(NULL, 0, NULL, NULL, 0), as there is no pause."""

    def move(register: int, number: int) -> int:
        return 0xD2800000 | number << 5 | register

    call = 0xD4000001  # svc #0
    words = [move(8, 134), move(0, 17), 0, move(2, 0), move(3, 8), call]
    loop = len(words)
    words += [move(8, 73), *[move(register, 0) for register in range(5)], call]
    words.append(0x14000000 | ((loop - len(words)) & 0x3FFFFFF))  # b loop
    distance = 4 * (len(words) - 2)
    words[2] = 0x10000000 | (distance & 3) << 29 | (distance >> 2) << 5 | 1  # adr x1, action
    return pack(f"<{len(words)}I", *words) + _ACTION


def image(machine: str) -> bytes:
    """The program for a machine as uname(2) calls it. Raises Unsupported."""
    known = {"x86_64": (_X86_64, _x86_64), "aarch64": (_AARCH64, _aarch64)}
    if machine not in known:
        raise errors.Unsupported(f"pods need a small program of their own, which there is not for {machine}")
    number, make = known[machine]
    code = make()
    size = _HEADERS + len(code)
    header = b"\x7fELF\x02\x01\x01".ljust(16, b"\0") + pack(
        "<HHIQQQIHHHHHH", 2, number, 1, _BASE + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = pack("<IIQQQQQQ", 1, 5, 0, _BASE, _BASE, size, size, 0x10000)
    return header + segment + code
