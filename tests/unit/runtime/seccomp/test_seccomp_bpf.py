"""The assembler: balanced searches, jumps of any length, valid programs."""

from __future__ import annotations

import math

import bpf_machine
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.runtime.seccomp.bpf import EQUAL, Assembler

X86_64 = bpf_machine.AUDIT["x86_64"]


def search_program(pieces: list[tuple[int, int]]) -> bytes:
    out = Assembler()
    return out.program(out.load(0, out.search([(start, out.give(value)) for start, value in pieces])))


def expected(pieces: list[tuple[int, int]], key: int) -> int:
    return [value for start, value in pieces if start <= key][-1]


@given(st.sets(st.integers(1, 0xFFFFFFFF), max_size=40), st.data())
def test_search_finds_the_piece(starts, data):
    ordered = [0, *sorted(starts)]
    pieces = [(start, data.draw(st.integers(0, 3))) for start in ordered]
    program = search_program(pieces)
    bpf_machine.check(program)
    for key in {min(max(edge + d, 0), 0xFFFFFFFF) for edge in ordered for d in (-1, 0, 1)}:
        value, steps = bpf_machine.run(program, key, X86_64)
        assert value == expected(pieces, key)
        assert steps <= math.ceil(math.log2(len(pieces))) * 2 + 3


@pytest.mark.parametrize("size", [2, 255, 256, 257, 700, 1500])
def test_long_jumps_are_valid_and_arrive(size):
    pieces = [(index * 3, index % 7) for index in range(size)]
    program = search_program(pieces)
    bpf_machine.check(program)
    for key in range(0, size * 3, max(1, size // 50)):
        assert bpf_machine.run(program, key, X86_64)[0] == expected(pieces, key)


def test_a_far_return_is_copied_not_jumped_to():
    pieces = [(index, index % 2) for index in range(2000)]
    program = search_program(pieces)
    bpf_machine.check(program)
    code = bpf_machine.decode(program)
    landings = [code[at + 1 + operand][0] for at, (op, _, _, operand) in enumerate(code) if op == bpf_machine.JUMP]
    assert landings, "2000 pieces need long jumps between subtrees"
    assert bpf_machine.RETURN not in landings


def test_a_load_is_followed_by_its_continuation_wherever_that_is():
    out = Assembler()
    far = out.load(16, out.branch(EQUAL, 1, out.give(10), out.give(20)))
    for index in range(400):
        out.branch(EQUAL, index, out.give(index), out.give(9999))
    program = out.program(out.load(4, far))
    bpf_machine.check(program)
    assert bpf_machine.run(program, 0, X86_64, (1,))[0] == 10
    assert bpf_machine.run(program, 0, X86_64, (2,))[0] == 20


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 2**32 - 1), st.booleans()), min_size=1, max_size=600))
def test_random_branches_stay_valid(steps):
    out = Assembler()
    places = [out.give(1), out.give(2)]
    for operand, back in steps:
        places.append(out.branch(EQUAL, operand, places[-1], places[2 if back and len(places) > 2 else 0]))
    bpf_machine.check(out.program(places[-1]))
