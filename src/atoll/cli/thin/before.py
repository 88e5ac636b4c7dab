"""Whether to ask at all, and where: the first half of `program.py`."""

from __future__ import annotations

from atoll.base.assembly.machine import EQUAL, LESS, LESS_EQUAL, NOT_EQUAL, Frame, Machine
from atoll.cli import quick
from atoll.cli.thin.frame import (
    ADDRESS,
    AF_UNIX,
    AT_FDCWD,
    BASIC,
    BLOCK,
    COUNT,
    EUID,
    F_GETFD,
    FRAME,
    HEAD,
    MADE,
    NOFOLLOW,
    OLD,
    ROOT_MAX,
    RUN,
    SET,
    STATX,
    TAIL_SIZE,
    TCGETS,
    XDG,
)
from atoll.cli.thin.parts import among, begins, copy, decimal


def begin(m: Machine) -> None:
    """The kernel leaves on the stack: the number of words, the words, 0, the environment, 0 (execve(2))."""
    m.move("s0", "sp")
    m.add("sp", -FRAME)
    m.load("t0", "s0", 0)
    m.move("s1", "t0")
    for _ in range(3):
        m.add("s1", "s1")
    m.add("s1", "s0")
    m.add("s1", 16)
    m.add("s0", 8)
    m.add("t0", -1 - MADE)
    m.store("t0", "sp", COUNT)
    m.compare("t0", 0)
    m.jump_if(LESS_EQUAL, "cold")


def suits(m: Machine) -> None:
    m.load("s3", "s0", 8 * (MADE + 1))
    among(m, "s3", "warm", "is warm", "cold")
    m.label("is warm")
    among(m, "s3", "groups", "a group", "not grouped")
    m.label("a group")
    m.load("s4", "s0", 8 * (MADE + 2))
    m.compare("s4", 0)
    m.jump_if(EQUAL, "cold")
    among(m, "s4", "grouped", "not grouped", "cold")
    m.label("not grouped")
    among(m, "s3", "attaching", "attaches", "suits")
    m.label("attaches")
    m.move("s4", "s0")
    m.add("s4", 8 * (MADE + 2))
    m.label("word")
    m.load("s3", "s4", 0)
    m.compare("s3", 0)
    m.jump_if(EQUAL, "suits")
    m.add("s4", 8)
    m.load("t0", "s3", 0, 1)
    m.compare("t0", ord("-"))
    m.jump_if(NOT_EQUAL, "word")
    m.load("t0", "s3", 1, 1)
    m.compare("t0", ord("-"))
    m.jump_if(EQUAL, "long")
    m.label("letters")
    m.load("t0", "s3", 0, 1)
    m.compare("t0", 0)
    m.jump_if(EQUAL, "word")
    _typing(m)
    m.add("s3", 1)
    m.jump("letters")
    m.label("long")
    m.load("t0", "s3", 2, 1)
    _typing(m)
    m.jump("word")
    m.label("typing")
    m.call("ioctl", 0, TCGETS, HEAD)
    m.compare("result", 0)
    m.jump_if(EQUAL, "cold")
    m.label("suits")


def _typing(m: Machine) -> None:
    for letter in b"ita":
        m.compare("t0", letter)
        m.jump_if(EQUAL, "typing")


def environment(m: Machine) -> None:
    """Of a name that is there twice the first counts, as for `posix.environ`. s4 ends where the environment does."""
    m.set("t0", 0)
    m.store("t0", "sp", RUN)
    m.store("t0", "sp", XDG)
    m.move("s4", "s1")
    m.label("variable")
    m.load("s3", "s4", 0)
    m.compare("s3", 0)
    m.jump_if(EQUAL, "environment read")
    m.add("s4", 8)
    begins(m, "s3", b"ATOLL_TIMING=", "cold")
    begins(m, "s3", b"ATOLL_SPAWNER=off\0", "cold")
    begins(m, "s3", b"ATOLL_RUN_ROOT=", "its run root")
    begins(m, "s3", b"XDG_RUNTIME_DIR=", "its runtime directory")
    m.jump("variable")
    for label, name, size in (("its run root", RUN, 15), ("its runtime directory", XDG, 16)):
        m.label(label)
        m.load("t0", "sp", name)
        m.compare("t0", 0)
        m.jump_if(NOT_EQUAL, "variable")
        m.add("s3", size)
        m.store("s3", "sp", name)
        m.jump("variable")
    m.label("environment read")
    # The words and the environment lie one after another, each ended by a zero: how much from the first word to
    # before the last zero?
    m.add("s4", -8)
    m.load("s3", "s4", 0)
    m.compare("s3", 0)
    m.jump_if(NOT_EQUAL, "last word")
    m.add("s4", -8)  # no environment: the last argument
    m.load("s3", "s4", 0)
    m.label("last word")
    m.load("t0", "s3", 0, 1)
    m.compare("t0", 0)
    m.jump_if(EQUAL, "its end")
    m.add("s3", 1)
    m.jump("last word")
    m.label("its end")
    m.load("t0", "s0", 8 * (MADE + 1))
    m.subtract("s3", "t0")
    m.store("s3", "sp", TAIL_SIZE)


def hold_signals(m: Machine) -> None:
    """What comes from now on waits. Standard streams that are closed would take the numbers of ours."""
    m.set("t0", sum(1 << number - 1 for number in quick._HELD))
    m.store("t0", "sp", SET)
    m.call("rt_sigprocmask", BLOCK, SET, OLD, 8)
    m.load("t0", "sp", OLD)
    m.compare("t0", 0)
    m.jump_if(NOT_EQUAL, "let go")
    for fd in (0, 1, 2):
        m.call("fcntl", fd, F_GETFD, 0)
        m.compare("result", 0)
        m.jump_if(LESS, "let go")


def root(m: Machine) -> None:
    """The run root after the two bytes of the socket's family; s4 is its end."""
    m.call("geteuid")
    m.store("result", "sp", EUID)
    m.set("t0", AF_UNIX)
    m.store("t0", "sp", ADDRESS)
    m.frame("s4", ADDRESS)
    m.add("s4", 2)
    m.load("s3", "sp", RUN)
    m.compare("s3", 0)
    m.jump_if(EQUAL, "usual root")
    m.load("t0", "s3", 0, 1)
    m.compare("t0", 0)
    m.jump_if(NOT_EQUAL, "copy root")
    m.label("usual root")
    m.address("s3", "run root")
    m.load("t0", "sp", EUID)
    m.compare("t0", 0)
    m.jump_if(EQUAL, "copy root")
    m.load("s3", "sp", XDG)
    m.compare("s3", 0)
    m.jump_if(EQUAL, "temporary root")
    m.load("t0", "s3", 0, 1)
    m.compare("t0", ord("/"))
    m.jump_if(NOT_EQUAL, "temporary root")
    copy(m, "s4", "s3", ADDRESS + 2 + ROOT_MAX - 8)
    m.address("s3", "below runtime")
    m.jump("copy root")
    m.label("temporary root")
    m.address("s3", "temporary")
    copy(m, "s4", "s3", ADDRESS + 2 + ROOT_MAX)
    m.load("s5", "sp", EUID)
    decimal(m)
    m.jump("root")
    m.label("copy root")
    copy(m, "s4", "s3", ADDRESS + 2 + ROOT_MAX)
    m.label("root")
    # A directory, ours, that nobody else may write to or read.
    m.call("statx", AT_FDCWD, Frame(ADDRESS + 2), NOFOLLOW, BASIC, STATX)
    m.compare("result", 0)
    m.jump_if(NOT_EQUAL, "let go")
    m.load("t0", "sp", STATX + 20, 4)  # stx_uid
    m.load("t1", "sp", EUID)
    m.compare("t0", "t1")
    m.jump_if(NOT_EQUAL, "let go")
    m.load("t0", "sp", STATX + 28, 1)  # stx_mode
    m.add("t0", "t0")
    m.add("t0", "t0")
    m.keep_bits("t0", 8)
    m.compare("t0", 0)
    m.jump_if(NOT_EQUAL, "let go")
    m.load("t0", "sp", STATX + 29, 1)
    m.shift_right("t0", 4)
    m.compare("t0", 4)
    m.jump_if(NOT_EQUAL, "let go")
