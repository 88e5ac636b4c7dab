"""An assembler for classic BPF that writes a program from its end to its beginning.

Holds: `Assembler` (instructions, returns, jumps of any length), `Assembler.search` (balanced binary search).
Does not hold: anything about system calls (`compiler.py`).

BPF only jumps forward, and a conditional jump reaches 255 instructions. Written backwards, every target is already
placed when a jump to it is made, so its distance is known: where it is too far, a long jump (or another copy of a
`return`, which is as short and one step faster) is put right behind the conditional one.

    position (from the end)   … 5     4     3     2     1     0
    program                   … load  jge → jeq → ret   ret   ret

Kernel: Documentation/networking/filter.rst; seccomp accepts the subset used here (kernel/seccomp.c).
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

# include/uapi/linux/bpf_common.h
LOAD = 0x20  # BPF_LD | BPF_W | BPF_ABS
RETURN = 0x06  # BPF_RET | BPF_K
JUMP = 0x05  # BPF_JMP | BPF_JA
EQUAL = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
AT_LEAST = 0x35  # BPF_JMP | BPF_JGE | BPF_K
AND = 0x54  # BPF_ALU | BPF_AND | BPF_K

_REACH = 255
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter


class Place:
    """Where an instruction is, counted from the program's end; or, before it has a place, a value to return."""

    __slots__ = ("position", "value")

    def __init__(self, position: int = -1, value: int = -1) -> None:
        self.position = position
        self.value = value


class Assembler:
    """A program in the making. Every method returns the place of the instruction it wrote."""

    def __init__(self) -> None:
        self._backwards: list[tuple[int, int, int, int]] = []
        self._returns: dict[int, Place] = {}
        self._nearest: dict[Place, int] = {}  # the last copy of a return or jump towards a place

    def give(self, value: int) -> Place:
        """The place that returns `value`; one for each value, written where it is needed."""
        return self._returns.setdefault(value, Place(value=value))

    def branch(self, op: int, operand: int, yes: Place, no: Place) -> Place:
        """Compare the accumulator with `operand` and go on at `yes` or `no`."""
        to_yes = self._within_reach(yes, spare=1)  # reaching `no` may put one more instruction in between
        to_no = self._within_reach(no, spare=0)
        here = len(self._backwards)
        return self._write(op, here - to_yes - 1, here - to_no - 1, operand)

    def load(self, offset: int, then: Place) -> Place:
        """Load the 32-bit word at `offset` of struct seccomp_data, then go on at `then`."""
        self._fall_through_to(then)
        return self._write(LOAD, 0, 0, offset)

    def mask(self, bits: int, then: Place) -> Place:
        """Clear all other bits of the accumulator, then go on at `then`."""
        self._fall_through_to(then)
        return self._write(AND, 0, 0, bits)

    def search(self, pieces: Sequence[tuple[int, Place]]) -> Place:
        """Go on where the piece that holds the accumulator says; pieces are (first value, place), sorted, from 0.

        At most ceil(log2(pieces)) comparisons.
        """
        if len(pieces) == 1:
            return pieces[0][1]
        if len(pieces) == 3:
            (_, left), (value, middle), (end, right) = pieces
            if left is right and end == value + 1:
                return self.branch(EQUAL, value, middle, left)
        half = len(pieces) // 2
        above = self.search(pieces[half:])
        below = self.search(pieces[:half])
        return self.branch(AT_LEAST, pieces[half][0], above, below)

    def program(self, first: Place) -> bytes:
        """The finished program, which starts at `first`."""
        self._fall_through_to(first)
        return b"".join([_INSTRUCTION.pack(*instruction) for instruction in reversed(self._backwards)])

    def __len__(self) -> int:
        return len(self._backwards)

    def _write(self, op: int, yes: int, no: int, operand: int) -> Place:
        self._backwards.append((op, yes, no, operand))
        return Place(len(self._backwards) - 1)

    def _fall_through_to(self, place: Place) -> None:
        """Make the instruction at `place`, or one that leads there, the next one."""
        if not self._backwards or self._nearest.get(place, place.position) != len(self._backwards) - 1:
            self._lead_to(place)

    def _within_reach(self, place: Place, spare: int) -> int:
        """The position of `place`, or of something that leads there, that a conditional jump reaches from here."""
        nearest = self._nearest.get(place, place.position)
        if nearest >= 0 and len(self._backwards) + spare - nearest - 1 <= _REACH:
            return nearest
        return self._lead_to(place)

    def _lead_to(self, place: Place) -> int:
        here = len(self._backwards)
        if place.value >= 0:
            self._write(RETURN, 0, 0, place.value)
        else:
            self._write(JUMP, 0, 0, here - place.position - 1)
        self._nearest[place] = here
        return here
