"""Writing scripts for the interpreter: variables, texts, labels, and system calls by name.

Holds: `Script`, which ends in `image`, an executable file as bytes. Does not hold: machine code (`interpreter.py`),
any script (`main.py` and what it calls).

    s = Script("x86_64")
    fd = s.variable()
    s.call("openat", -100, s.text(b"/etc/passwd"), 0, 0, to=fd)
    s.unless_less(fd, 0, …)

A number among the operands becomes a constant, which the file keeps once.
"""

from __future__ import annotations

from struct import pack

from atoll.base import errors
from atoll.compare.program.interpreter import HEADER, OPERATIONS, WORD, header, padded, reader, write

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

BASE = 0x400000
DATA = 0x10000000
"""Where code and constants, and where variables lie; both below 2 GiB, so that they are one word anywhere."""
VARIABLES = 0x1000
BUFFER_SIZE = 1 << 20


class Variable(int):
    """The address of eight bytes that a script may change."""


class Place(str):
    """The address of a label or of a text, known when the file is made."""


class Script:
    """Collects instructions."""

    def __init__(self, machine: str) -> None:
        from atoll.runtime.seccomp.tables import numbers

        found = reader(machine)
        if found is None:
            raise errors.Unsupported(f"comparing takes a small program of our own, which there is not for {machine}")
        self.machine = machine
        self._reader = found
        self.numbers = numbers(machine)
        self.has_old_call = found.HAS_OLD_CALL
        self._words: list[int | str] = []
        self._labels: dict[str, int] = {}
        self._constants: dict[int | Place, int] = {}
        self._texts: dict[str, bytes] = {}
        self._room = VARIABLES
        self._count = self._serial = 0
        self.stack = self.variable()
        self.nowhere = self.variable()
        self.buffer = DATA + VARIABLES
        """A constant address with `BUFFER_SIZE` bytes of room."""

    # -- what instructions are about

    def variable(self, words: int = 1) -> Variable:
        """A new one, which begins as 0; `words` in a row."""
        at = self._count
        self._count += words
        assert self._count * WORD <= VARIABLES
        return Variable(DATA + at * WORD)

    def text(self, content: bytes) -> Place:
        """Bytes in the file, followed by a zero; as an operand, their address."""
        name = f"text {content!r}"
        self._texts[name] = content + b"\0"
        return Place(name)

    def label(self, name: str = "") -> Place:
        """The next instruction's name."""
        name = name or self.new_label()
        assert name not in self._labels, name
        self._labels[name] = len(self._words)
        return Place(name)

    def new_label(self) -> Place:
        """A name for an instruction that comes later."""
        self._serial += 1
        return Place(f"label {self._serial}")

    def _operand(self, operand: int | str) -> str | int:
        if isinstance(operand, Variable):
            return int(operand)
        key = operand if isinstance(operand, Place) else int(operand) & (1 << 64) - 1
        return f"constant {self._constants.setdefault(key, len(self._constants))}"

    def _write(self, operation: str, *operands: int | str) -> None:
        assert len(operands) == OPERATIONS[operation]
        self._words += [f"code {operation}", *operands]

    # -- instructions

    def call(self, name: str | int | Variable, *arguments: int | Place, to: Variable | None = None) -> None:
        """A system call by its name, or by a number; arguments that are left out are 0."""
        number = self.numbers[name] if type(name) is str else name
        assert not isinstance(number, str)
        given = [self._operand(one) for one in (*arguments, *(0,) * (6 - len(arguments)))]
        self._write("call", int(to if to is not None else self.nowhere), self._operand(number), *given)

    def old_call(self, number: int, to: Variable) -> None:
        """A system call by the 32-bit entry."""
        self._write("old_call", int(to), self._operand(number))

    def _two(self, operation: str, to: Variable, value: int | Place) -> None:
        self._write(operation, int(to), self._operand(value))

    def copy(self, to: Variable, value: int | Place) -> None:
        """to = value."""
        self._two("copy", to, value)

    def add(self, to: Variable, value: int) -> None:
        """to += value."""
        self._two("add", to, value)

    def subtract(self, to: Variable, value: int) -> None:
        """to -= value."""
        self._two("subtract", to, value)

    def keep(self, to: Variable, value: int) -> None:
        """to &= value."""
        self._two("keep", to, value)

    def get(self, to: Variable, address: int, *, byte: bool = False) -> None:
        """to = what lies at an address."""
        self._two("get_byte" if byte else "get", to, address)

    def put(self, address: int, value: int, *, byte: bool = False) -> None:
        """What lies at an address = value."""
        self._write("put_byte" if byte else "put", self._operand(address), self._operand(value))

    def if_less(self, one: int, other: int, then: Place) -> None:
        """Go on there if one < other."""
        self._write("if_less", self._operand(one), self._operand(other), then)

    def if_equal(self, one: int, other: int, then: Place) -> None:
        """Go on there if both are the same."""
        self._write("if_equal", self._operand(one), self._operand(other), then)

    def go(self, there: Place) -> None:
        """Go on there."""
        self._write("go", there)

    def go_to(self, there: Variable) -> None:
        """Go on where the variable says."""
        self._write("go_to", int(there))

    def spin(self, turns: int) -> None:
        """Turns of a loop of machine code."""
        self._write("spin", self._operand(turns))

    # -- forms made of these

    def repeat(self, times: int, body: Callable[[], None]) -> None:
        """The body so many times, at least once."""
        counter = self.variable()
        self.copy(counter, 0)
        again = self.label()
        body()
        self.add(counter, 1)
        self.if_less(counter, times, again)

    def in_child(self, body: Callable[[], None], status: Variable) -> None:
        """The body in a fork that is waited for; `status` as of wait(2). A body that returns ends with code 0."""
        child, after = self.variable(), self.new_label()
        parent = self.new_label()
        self.call("clone", 17, to=child)  # SIGCHLD
        self.if_equal(child, 0, within := self.new_label())
        self.go(parent)
        self.label(within)
        body()
        self.call("exit_group", 0)
        self.label(parent)
        self.copy(status, 0)
        self.if_less(child, 0, after)  # no fork: reads as a code of 0
        self.call("wait4", child, self.address(status), 0, 0)
        self.label(after)

    def address(self, variable: Variable) -> int:
        """A variable's address as a constant, for system calls that write to it."""
        return int(variable)

    # -- the file

    def image(self) -> bytes:
        """The executable."""
        trial = reader(self.machine)
        assert trial is not None
        write(trial, int(self.stack), 1 << 40)
        size = len(padded(trial.code()))  # every number takes the same room, so the size is known before its content
        constants = BASE + HEADER + size
        texts, at = {}, constants + WORD * len(self._constants)
        for name, content in self._texts.items():
            texts[name] = at
            at += len(padded(content))
        first = at
        places = {**texts, **{name: first + WORD * index for name, index in self._labels.items()}}
        m = self._reader
        write(m, int(self.stack), first)
        code = padded(m.code())
        assert len(code) == size
        handlers = {f"code {name}": BASE + HEADER + m.address_of(name) for name in OPERATIONS}
        values = [places[key] if isinstance(key, Place) else key for key in self._constants]
        words = [self._resolved(word, constants, places, handlers) for word in self._words]
        body = b"".join(
            [
                code,
                pack(f"<{len(values)}Q", *values),
                *map(padded, self._texts.values()),
                pack(f"<{len(words)}Q", *words),
            ]
        )
        return header(m.NUMBER, BASE, len(body), DATA, self._room + BUFFER_SIZE) + body

    def _resolved(self, word: int | str, constants: int, places: dict[str, int], handlers: dict[str, int]) -> int:
        if isinstance(word, int):
            return word
        if word.startswith("constant "):
            return constants + WORD * int(word[9:])
        return handlers[word] if word in handlers else places[word]
