"""What comes more than once in `program.py`: strings and numbers."""

from __future__ import annotations

from atoll.base.assembly.machine import EQUAL, GREATER_EQUAL, LESS, NOT_EQUAL, Machine


def fresh(m: Machine) -> str:
    """Part of a label that no other place has."""
    return f"{m.size()}: "


def among(m: Machine, word: str, table: str, found: str, missing: str) -> None:
    """Whether the string that a register leads to is one of a table's, which ends with an empty one."""
    mark = fresh(m)
    m.address("t0", table)
    m.label(mark + "next")
    m.move("t2", word)
    m.label(mark + "letter")
    m.load("t1", "t0", 0, 1)
    m.load("t3", "t2", 0, 1)
    m.compare("t1", "t3")
    m.jump_if(NOT_EQUAL, mark + "skip")
    m.compare("t1", 0)
    m.jump_if(EQUAL, found)
    m.add("t0", 1)
    m.add("t2", 1)
    m.jump(mark + "letter")
    m.label(mark + "skip")
    m.load("t1", "t0", 0, 1)
    m.add("t0", 1)
    m.compare("t1", 0)
    m.jump_if(NOT_EQUAL, mark + "skip")
    m.load("t1", "t0", 0, 1)
    m.compare("t1", 0)
    m.jump_if(NOT_EQUAL, mark + "next")
    m.jump(missing)


def begins(m: Machine, word: str, start: bytes, yes: str) -> None:
    """Whether a string begins with these bytes."""
    mark = fresh(m)
    for place, letter in enumerate(start):
        m.load("t0", word, place, 1)
        m.compare("t0", letter)
        m.jump_if(NOT_EQUAL, mark + "no")
    m.jump(yes)
    m.label(mark + "no")


def copy(m: Machine, to: str, source: str, limit: int) -> None:
    """A string with its zero, to which `to` leads then; one that goes beyond the frame's `limit` is not for us."""
    m.frame("t2", limit)
    copy_below(m, to, source)


def copy_below(m: Machine, to: str, source: str) -> None:
    """The same, with the limit in t2."""
    mark = fresh(m)
    m.label(mark + "copy")
    m.load("t1", source, 0, 1)
    m.store("t1", to, 0, 1)
    m.compare("t1", 0)
    m.jump_if(EQUAL, mark + "copied")
    m.add(source, 1)
    m.add(to, 1)
    m.compare(to, "t2")
    m.jump_if(GREATER_EQUAL, "let go")
    m.jump(mark + "copy")
    m.label(mark + "copied")


def decimal(m: Machine) -> None:
    """s5, below ten thousand million, in digits and a zero where s4 leads, which is led to that zero."""
    mark = fresh(m)
    m.set("t2", 0)
    for power in range(9, -1, -1):
        m.set("t0", ord("0"))
        m.set("t1", 10**power)
        m.label(f"{mark}{power}")
        m.compare("s5", "t1")
        m.jump_if(LESS, f"{mark}{power} done")
        m.subtract("s5", "t1")
        m.add("t0", 1)
        m.set("t2", 1)
        m.jump(f"{mark}{power}")
        m.label(f"{mark}{power} done")
        if power:
            m.compare("t2", 0)
            m.jump_if(EQUAL, f"{mark}{power} skipped")
        m.store("t0", "s4", 0, 1)
        m.add("s4", 1)
        m.label(f"{mark}{power} skipped")
    m.set("t0", 0)
    m.store("t0", "s4", 0, 1)
