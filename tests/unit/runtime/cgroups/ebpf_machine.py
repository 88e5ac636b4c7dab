"""A small eBPF machine for the instructions that device programs use, with the checks of the kernel's verifier that
matter: jumps forward and within the program, no instruction out of reach, registers read only once written."""

from __future__ import annotations

import struct


def decode(program: bytes) -> list[tuple[int, int, int, int, int]]:
    """(code, dst, src, offset, immediate) of each instruction."""
    assert len(program) % 8 == 0
    return [
        (code, regs & 15, regs >> 4, offset, value)
        for code, regs, offset, value in struct.iter_unpack("<BBhi", program)
    ]


def check(program: bytes) -> None:
    """What the verifier would refuse."""
    instructions = decode(program)
    reached, todo = set(), [0]
    while todo:
        at = todo.pop()
        assert 0 <= at < len(instructions), "jump out of the program"
        if at in reached:
            continue
        reached.add(at)
        code, _, _, offset, _ = instructions[at]
        if code == 0x95:
            continue
        if code & 7 in (5, 6):
            assert offset >= 0, "backward jump"
            todo.append(at + 1 + offset)
        if code != 0x05:
            todo.append(at + 1)
    assert reached == set(range(len(instructions))), "unreachable instruction"


def run(program: bytes, kind: int, major: int, minor: int, access: int) -> int:
    """The program's answer for one request."""
    context = struct.pack("<III", access << 16 | kind, major, minor)
    instructions = decode(program)
    registers: dict[int, int] = {1: 0}
    at = 0
    while True:
        code, dst, src, offset, value = instructions[at]
        at += 1
        unsigned = value & 0xFFFFFFFF
        if code == 0x61:
            assert src == 1, "load from elsewhere than the context"
            registers[dst] = struct.unpack_from("<I", context, offset)[0]
        elif code == 0xBC:
            registers[dst] = registers[src] & 0xFFFFFFFF
        elif code == 0xB4:
            registers[dst] = unsigned
        elif code == 0x54:
            registers[dst] &= unsigned
        elif code == 0x74:
            registers[dst] = (registers[dst] & 0xFFFFFFFF) >> value
        elif code == 0x56:
            at += offset if registers[dst] != unsigned else 0
        elif code == 0x46:
            at += offset if registers[dst] & unsigned else 0
        elif code == 0x05:
            at += offset
        elif code == 0x95:
            return registers[0]
        else:
            raise AssertionError(f"instruction {code:#x}")
