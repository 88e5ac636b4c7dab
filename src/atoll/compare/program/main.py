"""The program's beginning: which script is asked for, its numbers, and how results are written.

Holds: `Context` (what all scripts use), `write`. Does not hold: the scripts (`life.py`, `timed.py`, `calls.py`,
`trials.py`). The command line is a letter and up to five decimal numbers:

    begun                 b                               the first instruction: says so, and ends
    stay                  w                               says so, and waits for SIGTERM
    serve                 s ADDRESS                       a server at a socket address (its first eight bytes)
    timed                 t MEASURES ROUNDS               the measures of a mask of bits, so many rounds of each
    neighbour             n MEASURES WORKERS NANOSECONDS  the same without an end until then, by several processes
    calls                 c FIRST LAST                    what every system call number answers
    trials                e PID                           known ways out
    files                 f 0 PATH…                       what files contain
"""

from __future__ import annotations

from atoll.compare.program import records
from atoll.compare.program.script import Script, Variable

AT_FDCWD = -100
CLOCK_MONOTONIC = 1
WORD = 8
PARAMETERS = 5


class Context:
    """A script with what every part of it uses: numbers of the command line, a record to write, clocks."""

    def __init__(self, machine: str) -> None:
        self.s = Script(machine)
        self.numbers = [self.s.variable() for _ in range(PARAMETERS)]
        self._record = self.s.variable(4)
        self._now = self.s.variable(2)
        self.letter = self.s.variable()
        self.silent = self.s.variable()  # not 0: a neighbour, which writes nothing

    def word(self, variable: Variable, index: int) -> Variable:
        """One of several words in a row."""
        return Variable(variable + WORD * index)

    def tell(self, kind: int, number: int, value: int) -> None:
        """Write a record."""
        for index, one in enumerate((records.MAGIC, kind, number, value)):
            self.s.copy(self.word(self._record, index), one)
        self.s.call("write", 1, int(self._record), records.SIZE)

    def clock(self, to: Variable) -> None:
        """Nanoseconds of the monotonic clock (without the vDSO: the same everywhere), seconds times 10⁹ by doubling
        and adding."""
        s = self.s
        s.call("clock_gettime", CLOCK_MONOTONIC, int(self._now))
        seconds, double = self.word(self._now, 0), s.variable()
        s.copy(to, self.word(self._now, 1))
        s.copy(double, seconds)
        for bit in range(30):
            if 10**9 >> bit & 1:
                s.add(to, double)
            s.add(double, double)


def write(c: Context) -> None:
    """All of the program."""
    from atoll.compare.program import calls, life, timed, trials

    _numbers(c)
    for letter, part in (
        ("b", life.begun),
        ("w", life.stay),
        ("s", life.serve),
        ("t", timed.measure),
        ("n", timed.neighbour),
        ("c", calls.probe),
        ("e", trials.run),
        ("f", life.files),
    ):
        there, past = c.s.new_label(), c.s.new_label()
        c.s.if_equal(c.letter, ord(letter), there)
        c.s.go(past)
        c.s.label(there)
        part(c)
        c.s.call("exit_group", 0)
        c.s.label(past)
    c.s.call("exit_group", 2)


def _numbers(c: Context) -> None:
    """The letter, then decimal numbers as far as there are digits."""
    s = c.s
    at, word, byte = s.variable(), s.variable(), s.variable()
    begin = s.new_label()
    s.copy(at, s.stack)
    s.add(at, 2 * WORD)  # past the count of words and our name
    s.get(word, at)
    no_letter = s.new_label()
    s.if_equal(word, 0, no_letter)
    s.get(c.letter, word, byte=True)
    s.label(no_letter)
    for number in c.numbers:
        following = s.new_label()
        s.add(at, WORD)
        s.get(word, at)
        s.if_equal(word, 0, begin)
        digit = s.label()
        s.get(byte, word, byte=True)
        s.if_less(byte, ord("0"), following)
        s.if_less(ord("9"), byte, begin)  # a word: the numbers are over
        s.subtract(byte, ord("0"))
        s.add(number, number)  # ten times is eight times and twice
        s.add(byte, number)
        s.add(number, number)
        s.add(number, number)
        s.add(number, byte)
        s.add(word, 1)
        s.go(digit)
        s.label(following)
    s.label(begin)
