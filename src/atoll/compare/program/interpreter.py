"""The interpreter: a page of machine code that carries out scripts, which are rows of addresses.

Holds: `Reader` (what a machine must be able to do more than for `--init`), `X86Reader`, `ArmReader`, `write`. Does
not hold: scripts (`script.py`), what they do.

It is threaded code: an instruction is the address of the code that carries it out, followed by its operands, and
every operand is the address of eight bytes (a constant or a variable). So one form of each instruction is enough,
and a script is the same on every machine but for the numbers of its system calls. An instruction takes a few
nanoseconds; where a processor's speed is measured, the loop is machine code (`spin`).
"""

from __future__ import annotations

from struct import pack

from atoll.base.assembly.aarch64 import Arm
from atoll.base.assembly.machine import EQUAL, LESS, NOT_EQUAL, Machine
from atoll.base.assembly.x86_64 import X86

WORD = 8
OPERATIONS = {
    "call": 8,  # where the result goes, the number, six arguments
    "copy": 2,
    "add": 2,
    "subtract": 2,
    "keep": 2,  # and
    "get": 2,  # the word that an address points at
    "get_byte": 2,
    "put": 2,  # to where an address points
    "put_byte": 2,
    "if_less": 3,  # compared with signs; then the address of the instruction to go on with
    "if_equal": 3,
    "go": 1,
    "go_to": 1,  # where a variable says: the way back from a part that several places use
    "spin": 1,
    "old_call": 2,  # by the 32-bit entry (int 0x80), where the machine has one
}
"""Each operation and how many operands it takes."""


class Reader(Machine):
    """What interpreting takes beyond `Machine`."""

    HAS_OLD_CALL = False
    CALL_NUMBER = SIXTH = 0
    """The registers of a system call's number and of its sixth argument."""

    def address_of(self, name: str) -> int:
        """How far behind the code's beginning a label is."""
        return self._labels[name]

    def jump_to(self, register: str) -> None:
        """Go on at the address in the register."""
        raise NotImplementedError

    def subtract(self, register: str, other: str) -> None:
        """register -= other."""
        raise NotImplementedError

    def keep(self, register: str, other: str) -> None:
        """register &= other."""
        raise NotImplementedError

    def enter(self) -> None:
        """The system call whose number and arguments were set."""
        raise NotImplementedError

    def old_enter(self) -> None:
        """The same by the 32-bit entry."""
        raise NotImplementedError

    def into(self, place: int, base: str, offset: int = 0) -> None:
        """Load a register that is known by its number alone."""
        raise NotImplementedError


class X86Reader(X86, Reader):
    """Intel's manual, volume 2."""

    SIXTH = 9
    CALL_NUMBER = 0
    HAS_OLD_CALL = True

    def jump_to(self, register: str) -> None:
        number = self.number(register)
        self._put(bytes((0x40 | number >> 3, 0xFF, 0xE0 | number & 7)))  # jmp r

    def subtract(self, register: str, other: str) -> None:
        self._direct(b"\x29", self.number(other), self.number(register))  # sub r/m, r

    def keep(self, register: str, other: str) -> None:
        self._direct(b"\x21", self.number(other), self.number(register))  # and r/m, r

    def enter(self) -> None:
        self._put(b"\x0f\x05")  # syscall

    def old_enter(self) -> None:
        self._put(b"\xcd\x80")  # int 0x80

    def into(self, place: int, base: str, offset: int = 0) -> None:
        self._memory(b"\x8b", place, self.number(base), offset)  # mov r64, m64


class ArmReader(Arm, Reader):
    """Arm's Architecture Reference Manual, chapter C6."""

    SIXTH = 5
    CALL_NUMBER = 8

    def jump_to(self, register: str) -> None:
        self._word(0xD61F0000 | self.number(register) << 5)  # br x

    def subtract(self, register: str, other: str) -> None:
        number = self.number(register)
        self._word(0xCB000000 | self.number(other) << 16 | number << 5 | number)  # sub x, x, x

    def keep(self, register: str, other: str) -> None:
        number = self.number(register)
        self._word(0x8A000000 | self.number(other) << 16 | number << 5 | number)  # and x, x, x

    def enter(self) -> None:
        self._word(0xD4000001)  # svc #0

    def old_enter(self) -> None:
        self.enter()

    def into(self, place: int, base: str, offset: int = 0) -> None:
        self._word(0xF9400000 | offset // WORD << 10 | self.number(base) << 5 | place)  # ldr x


def reader(machine: str) -> Reader | None:
    """For a machine as uname(2) calls it; None for one that there is none for."""
    if machine == "x86_64":
        return X86Reader()
    return ArmReader() if machine == "aarch64" else None


def write(m: Reader, stack: int, first: int) -> None:
    """The interpreter's code. The word at address `stack` takes the stack pointer as the kernel left it (execve(2));
    the script begins at `first`. s0 is the instruction that is carried out; t0, t1 and t3 are for each to use."""
    m.move("s1", "sp")
    m.set("t0", stack)
    m.store("s1", "t0", 0)
    m.set("s0", first)
    _next(m, -1)
    _call(m)
    _moves(m)
    _jumps(m)
    _spin(m)
    m.label("old_call")
    m.load("t3", "s0", 2 * WORD)
    m.into(m.CALL_NUMBER, "t3")
    m.old_enter()
    m.load("t0", "s0", WORD)
    m.store("result", "t0", 0)
    _next(m, 2)


def _next(m: Reader, operands: int) -> None:
    """On to the instruction after this one."""
    if operands >= 0:
        m.add("s0", WORD * (operands + 1))
    m.load("t0", "s0", 0)
    m.jump_to("t0")


def _value(m: Reader, register: str, operand: int) -> None:
    """Load what an operand stands for."""
    m.load(register, "s0", WORD * operand)
    m.load(register, register, 0)


def _call(m: Reader) -> None:
    m.label("call")
    for place, register in enumerate((*m.ARGUMENTS, m.SIXTH)):
        m.load("t3", "s0", WORD * (3 + place))
        m.into(register, "t3")
    m.load("t3", "s0", 2 * WORD)
    m.into(m.CALL_NUMBER, "t3")
    m.enter()
    m.load("t0", "s0", WORD)
    m.store("result", "t0", 0)
    _next(m, OPERATIONS["call"])


def _moves(m: Reader) -> None:
    m.label("copy")
    _value(m, "t1", 2)
    _into_first(m)
    for name in ("add", "subtract", "keep"):
        m.label(name)
        _value(m, "t1", 1)
        _value(m, "t3", 2)
        {"add": m.add, "subtract": m.subtract, "keep": m.keep}[name]("t1", "t3")
        _into_first(m)
    for name, size in (("get", 8), ("get_byte", 1)):
        m.label(name)
        _value(m, "t3", 2)
        m.load("t1", "t3", 0, size)
        _into_first(m)
    for name, size in (("put", 8), ("put_byte", 1)):
        m.label(name)
        _value(m, "t3", 1)
        _value(m, "t1", 2)
        m.store("t1", "t3", 0, size)
        _next(m, 2)


def _into_first(m: Reader) -> None:
    m.load("t0", "s0", WORD)
    m.store("t1", "t0", 0)
    _next(m, 2)


def _jumps(m: Reader) -> None:
    for name, condition in (("if_less", LESS), ("if_equal", EQUAL)):
        m.label(name)
        _value(m, "t1", 1)
        _value(m, "t3", 2)
        m.compare("t1", "t3")
        m.jump_if(condition, f"{name} so")
        _next(m, 3)
        m.label(f"{name} so")
        m.load("s0", "s0", 3 * WORD)
        _next(m, -1)
    m.label("go")
    m.load("s0", "s0", WORD)
    _next(m, -1)
    m.label("go_to")
    m.load("t0", "s0", WORD)
    m.load("s0", "t0", 0)
    _next(m, -1)


def _spin(m: Reader) -> None:
    """So many turns of a loop that adds two numbers, which no memory and no kernel has a part in."""
    m.label("spin")
    _value(m, "t0", 1)
    m.set("t1", 0)
    m.label("turn")
    m.add("t1", "t0")
    m.add("t0", -1)
    m.compare("t0", 0)
    m.jump_if(NOT_EQUAL, "turn")
    _next(m, 1)


def padded(code: bytes) -> bytes:
    """Up to a whole number of words, so that what follows is aligned."""
    return code + bytes(-len(code) % WORD)


def header(machine: int, base: int, size: int, data: int, room: int) -> bytes:
    """An ELF file's beginning (elf(5)): one read-execute segment of `size` bytes behind it, `room` bytes of zeros to
    write at address `data`, a stack that is not executable."""
    start = 64 + 3 * 56
    ident = b"\x7fELF" + bytes((2, 1, 1)) + bytes(9)
    head = ident + pack("<HHIQQQIHHHHHH", 2, machine, 1, base + start, 64, 0, 0, 64, 56, 3, 0, 0, 0)
    whole = start + size
    code = pack("<IIQQQQQQ", 1, 5, 0, base, base, whole, whole, 0x1000)
    zeros = pack("<IIQQQQQQ", 1, 6, 0, data, data, 0, room, 0x1000)
    stack = pack("<IIQQQQQQ", 0x6474E551, 6, 0, 0, 0, 0, 0, 16)
    return head + code + zeros + stack


HEADER = 64 + 3 * 56
