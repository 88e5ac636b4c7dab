"""What a machine must be able to do for a small program: a dozen operations on ten registers.

Holds: `Machine`, labels. Does not hold: any machine's code (`x86_64.py`, `aarch64.py`).

Registers: `s0` … `s5` keep their content across system calls, `t0` … `t3` do not; `result` is what a call gave, `sp`
the stack pointer. An argument of a call is a register, a number, `Frame(n)` (the address n bytes into the stack
frame) or `At(label)` (the address of a label).
"""

from __future__ import annotations

from struct import pack

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

LESS, LESS_EQUAL, EQUAL, NOT_EQUAL, GREATER_EQUAL = "less", "less or equal", "equal", "not equal", "greater or equal"


class Frame(int):
    """An address within the stack frame, by its distance from the stack pointer."""


class At(str):
    """The address of a label."""

    __slots__ = ()


class Machine:
    """Collects code. Subclasses give the encodings: the operations whose methods raise here."""

    NUMBER = 0
    CALLS: dict[str, int] = {}
    REGISTERS: dict[str, int] = {}
    ARGUMENTS: tuple[int, ...] = ()

    def __init__(self) -> None:
        self._out = bytearray()
        self._labels: dict[str, int] = {}
        self._fixes: list[tuple[int, str, Callable[[int], bytes]]] = []

    # -- what all machines share

    def label(self, name: str) -> None:
        """The next operation can be jumped to."""
        assert name not in self._labels
        self._labels[name] = len(self._out)

    def text(self, name: str, content: bytes) -> None:
        """Bytes with a label, ended by zeros as far as the next multiple of eight."""
        self.label(name)
        self._out += content + bytes(8 - len(content) % 8)

    def size(self) -> int:
        """How many bytes there are so far."""
        return len(self._out)

    def code(self) -> bytes:
        """All of it, with every jump's distance filled in."""
        for at, name, encode in self._fixes:
            found = encode(self._labels[name] - at)
            self._out[at : at + len(found)] = found
        return bytes(self._out)

    def _put(self, code: bytes) -> None:
        self._out += code

    def _word(self, word: int) -> None:
        self._out += pack("<I", word)

    def _later(self, name: str, size: int, encode: Callable[[int], bytes]) -> None:
        """Leave room for what depends on the distance from here to a label."""
        self._fixes.append((len(self._out), name, encode))
        self._out += bytes(size)

    def call(self, name: str, *arguments: str | int) -> None:
        """A system call. A register among the arguments must not be one that an earlier argument goes to; those of
        `REGISTERS` are not, but for `result`, which may be the first."""
        for place, argument in zip(self.ARGUMENTS, arguments, strict=False):
            if isinstance(argument, Frame):
                self.frame(place, argument)
            elif isinstance(argument, At):
                self.address(place, argument)
            elif isinstance(argument, str):
                self.move(place, argument)
            else:
                self.set(place, argument)
        self.trap(self.CALLS[name])

    def number(self, register: str | int) -> int:
        """A register's number."""
        return register if isinstance(register, int) else self.REGISTERS[register]

    # -- what each says in its own way

    def set(self, register: str | int, value: int) -> None:
        """register = a number of 64 bits."""
        raise NotImplementedError

    def move(self, register: str | int, other: str | int) -> None:
        """register = other."""
        raise NotImplementedError

    def frame(self, register: str | int, offset: int) -> None:
        """register = sp + offset (below 4096)."""
        raise NotImplementedError

    def address(self, register: str | int, name: str) -> None:
        """register = where the label is."""
        raise NotImplementedError

    def load(self, register: str, base: str, offset: int, size: int = 8) -> None:
        """register = what lies at base + offset (a multiple of `size`): 8, 4 or 1 bytes, without a sign."""
        raise NotImplementedError

    def store(self, register: str, base: str, offset: int, size: int = 8) -> None:
        """The other way round: 8 bytes or 1."""
        raise NotImplementedError

    def add(self, register: str, other: str | int) -> None:
        """register += other; a number is below 4096 or a multiple of that."""
        raise NotImplementedError

    def subtract(self, register: str, other: str) -> None:
        """register -= other."""
        raise NotImplementedError

    def keep_bits(self, register: str, bits: int) -> None:
        """register &= (1 << bits) - 1; 7 or 8 bits."""
        raise NotImplementedError

    def shift_right(self, register: str, bits: int) -> None:
        """register >>= bits."""
        raise NotImplementedError

    def compare(self, register: str, other: str | int) -> None:
        """For the next `jump_if`: a number is between -4096 and 4096."""
        raise NotImplementedError

    def jump(self, name: str) -> None:
        """Go on at the label."""
        raise NotImplementedError

    def jump_if(self, condition: str, name: str) -> None:
        """Go on at the label if the comparison, with signs, said so."""
        raise NotImplementedError

    def trap(self, number: int) -> None:
        """The system call with the arguments that were set."""
        raise NotImplementedError
