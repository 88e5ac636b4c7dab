"""A machine that runs seccomp filters as the kernel does, and the checks that the kernel makes before.

Holds: `check` (as `bpf_check_classic` and `seccomp_check_filter` in the kernel), `run`, `listing`.
Does not hold: anything of Atoll's, so that it can judge both Atoll's filters and libseccomp's.
"""

from __future__ import annotations

import struct

LOAD, RETURN, JUMP, MASK = 0x20, 0x06, 0x05, 0x54
CONDITIONS = {
    0x15: lambda a, k: a == k,
    0x25: lambda a, k: a > k,
    0x35: lambda a, k: a >= k,
    0x45: lambda a, k: bool(a & k),
}
AUDIT = {
    "x86_64": 0xC000003E,
    "x32": 0xC000003E,
    "i386": 0x40000003,
    "aarch64": 0xC00000B7,
    "arm": 0x40000028,
}
X32_BIT = 0x40000000


def decode(program: bytes) -> list[tuple[int, int, int, int]]:
    return list(struct.iter_unpack("<HBBI", program))


def check(program: bytes) -> None:
    """Refuse what the kernel would refuse."""
    assert program, "empty"
    assert len(program) % 8 == 0, "ragged"
    instructions = decode(program)
    count = len(instructions)
    assert count <= 4096, "too long"
    assert instructions[-1][0] == RETURN, "the end is not a return"
    for position, (op, yes, no, operand) in enumerate(instructions):
        left = count - position - 1
        if op == LOAD:
            assert operand % 4 == 0, "unaligned load"
            assert operand < 64, "load outside seccomp_data"
        elif op == JUMP:
            assert operand < left, "jump out of the program"
        elif op in CONDITIONS:
            assert max(yes, no) < left, "branch out of the program"
        else:
            assert op in (RETURN, MASK), f"instruction {op:#x}"


def run(program: bytes, nr: int, audit: int, args: tuple[int, ...] = ()) -> tuple[int, int]:
    """What the filter returns, and how many instructions that took."""
    padded = [*args, 0, 0, 0, 0, 0, 0][:6]
    data = struct.pack("<IIQ6Q", nr & 0xFFFFFFFF, audit, 0, *padded)
    instructions = decode(program)
    position = accumulator = steps = 0
    while True:
        op, yes, no, operand = instructions[position]
        position += 1
        steps += 1
        if op == LOAD:
            (accumulator,) = struct.unpack_from("<I", data, operand)
        elif op == MASK:
            accumulator &= operand
        elif op == JUMP:
            position += operand
        elif op == RETURN:
            return operand, steps
        else:
            position += yes if CONDITIONS[op](accumulator, operand) else no


def listing(program: bytes) -> str:
    """For people who debug a test."""
    names = {LOAD: "load", RETURN: "ret", JUMP: "jump", MASK: "and", 0x15: "eq", 0x25: "gt", 0x35: "ge", 0x45: "set"}
    return "\n".join(f"{n:4} {names[op]:5} {k:#x} {t} {f}" for n, (op, t, f, k) in enumerate(decode(program)))
