"""The smallest ELF file that runs: elf(5).

Holds: `file`. Does not hold: code.
"""

from __future__ import annotations

from struct import pack

BASE = 0x400000
"""Where it is mapped: the address that linkers give a static program."""
HEADER, SEGMENT = 64, 56
_EXEC, _LOAD, _GNU_STACK = 2, 1, 0x6474E551
_READ, _WRITE, _EXECUTE = 4, 2, 1


def file(machine: int, code: bytes) -> bytes:
    """A static 64-bit little-endian program of one read-execute segment, which begins with its first instruction, and
    a stack that is not executable. `machine` is e_machine."""
    offset = HEADER + 2 * SEGMENT
    size = offset + len(code)
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)  # 64 bits, little-endian, version 1, System V
    header = ident + pack(
        "<HHIQQQIHHHHHH", _EXEC, machine, 1, BASE + offset, HEADER, 0, 0, HEADER, SEGMENT, 2, 0, 0, 0
    )
    # type, flags, offset, virtual and physical address, size in the file and in memory, alignment
    load = pack("<IIQQQQQQ", _LOAD, _READ | _EXECUTE, 0, BASE, BASE, size, size, 0x1000)
    stack = pack("<IIQQQQQQ", _GNU_STACK, _READ | _WRITE, 0, 0, 0, 0, 0, 16)
    return header + load + stack + code
