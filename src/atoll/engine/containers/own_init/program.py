"""The init, in the operations of `machine.py`: `init -- PROGRAM ARGUMENT…`.

Holds: `write`. Does not hold: how a machine says it.

    block every signal but those of faults       so that none is lost: each waits until it is asked for
    clone ── child: a process group of its own, the terminal's foreground; signals as they were; execve, along PATH
      │
    rt_sigtimedwait ─ SIGCHLD ─ wait4 until nobody is left; the child's end is the end, with its exit code
      ▲               others ── kill(child)
      └───────────────────┘

What is left behind at the end the kernel ends, as it does when the first process of a pid namespace goes. Exit codes
are a shell's: 128 and the signal; 127 for a program that is not there, 126 for one that cannot be run.
"""

from __future__ import annotations

from atoll.base.assembly.machine import (
    EQUAL,
    GREATER_EQUAL,
    LESS,
    LESS_EQUAL,
    NOT_EQUAL,
    At,
    Frame,
    Machine,
)

FRAME = 0x4000
OLD, ALL, WORD, BUFFER = Frame(0), Frame(8), Frame(16), Frame(64)
"""Where in the stack frame lie the signals as they were, those to wait for, a word for answers, a path."""
BUFFER_SIZE = 0x2000
_FAULTS = (4, 5, 6, 7, 8, 11, 31)  # ILL, TRAP, ABRT, BUS, FPE, SEGV, SYS: of its own, nobody could wait for them
MASK = ~sum(1 << number - 1 for number in _FAULTS) & (1 << 64) - 1
SIG_SETMASK, SIGCHLD, WNOHANG, TIOCSPGRP = 2, 17, 1, 0x5410
ENOENT, EACCES, ENOTDIR = 2, 13, 20
DEFAULT_PATH = b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SAID = b"init: cannot execute "


def write(m: Machine) -> None:
    """Write the program. s0 is its arguments, s1 its environment."""
    _begin(m)
    _wait(m)
    _child(m)
    _along_path(m)
    _fail(m)
    m.text("path", DEFAULT_PATH)
    m.text("said", SAID)
    m.text("newline", b"\n")


def _begin(m: Machine) -> None:
    """The kernel leaves on the stack: the number of words, the words, 0, the environment, 0 (execve(2))."""
    m.move("s0", "sp")
    m.add("sp", -FRAME)
    m.set("s5", 127)
    m.load("t0", "s0", 0)
    m.load("s3", "s0", 8)  # to be named, should there be no program
    m.compare("t0", 3)
    m.jump_if(LESS, "fail")
    m.move("s1", "t0")
    for _ in range(3):
        m.add("s1", "s1")
    m.add("s1", "s0")
    m.add("s1", 16)
    m.add("s0", 24)  # past the number, our name and `--`
    m.set("t0", MASK)
    m.store("t0", "sp", ALL)
    m.call("rt_sigprocmask", SIG_SETMASK, ALL, OLD, 8)
    m.call("clone", SIGCHLD, 0, 0, 0, 0)
    m.move("s2", "result")
    m.compare("s2", 0)
    m.jump_if(EQUAL, "child")
    m.jump_if(LESS, "cannot")


def _wait(m: Machine) -> None:
    """The parent. s2 is the child."""
    m.label("wait")
    m.call("rt_sigtimedwait", ALL, 0, 0, 8)
    m.move("s3", "result")
    m.compare("s3", SIGCHLD)
    m.jump_if(EQUAL, "reap")
    m.compare("s3", 0)
    m.jump_if(LESS_EQUAL, "wait")  # EINTR: it was stopped and continued
    m.call("kill", "s2", "s3")
    m.jump("wait")
    m.label("reap")
    m.call("wait4", -1, WORD, WNOHANG, 0)
    m.compare("result", 0)
    m.jump_if(LESS_EQUAL, "wait")
    m.compare("result", "s2")
    m.jump_if(NOT_EQUAL, "reap")
    m.load("t0", "sp", WORD, 4)
    m.move("s3", "t0")
    m.keep_bits("s3", 7)
    m.compare("s3", 0)
    m.jump_if(EQUAL, "exited")
    m.add("s3", 128)
    m.call("exit_group", "s3")
    m.label("exited")
    m.move("s3", "t0")
    m.shift_right("s3", 8)
    m.keep_bits("s3", 8)
    m.call("exit_group", "s3")


def _child(m: Machine) -> None:
    """Signals are still blocked, so that taking the terminal's foreground does not stop it (tcsetpgrp(3)). Without a
    terminal that fails, and nothing is lost."""
    m.label("child")
    m.call("getpid")
    m.store("result", "sp", WORD)
    m.call("setpgid", 0, 0)
    m.call("ioctl", 0, TIOCSPGRP, WORD)
    m.call("rt_sigprocmask", SIG_SETMASK, OLD, 0, 8)
    m.load("s3", "s0", 0)
    m.move("t0", "s3")
    m.label("letter")
    m.load("t1", "t0", 0, 1)
    m.compare("t1", 0)
    m.jump_if(EQUAL, "search")
    m.add("t0", 1)
    m.compare("t1", ord("/"))
    m.jump_if(NOT_EQUAL, "letter")
    m.call("execve", "s3", "s0", "s1")
    m.compare("result", -ENOENT)
    m.jump_if(EQUAL, "fail")
    m.jump("cannot")


def _along_path(m: Machine) -> None:
    """A name without a slash: each directory of PATH, the first program that runs. s4 is where in PATH it is."""
    m.label("search")
    m.move("s4", "s1")
    m.label("variable")
    m.load("t0", "s4", 0)
    m.compare("t0", 0)
    m.jump_if(EQUAL, "no variable")
    m.add("s4", 8)
    for place, letter in enumerate(b"PATH="):
        m.load("t1", "t0", place, 1)
        m.compare("t1", letter)
        m.jump_if(NOT_EQUAL, "variable")
    m.move("s4", "t0")
    m.add("s4", 5)
    m.jump("directory")
    m.label("no variable")
    m.address("s4", "path")
    # The directory, a slash unless it is empty (which means this one), the name.
    m.label("directory")
    m.frame("t0", BUFFER)
    m.move("t2", "t0")
    m.add("t2", BUFFER_SIZE)
    m.label("copy directory")
    m.load("t1", "s4", 0, 1)
    m.compare("t1", 0)
    m.jump_if(EQUAL, "slash")
    m.compare("t1", ord(":"))
    m.jump_if(EQUAL, "slash")
    m.store("t1", "t0", 0, 1)
    m.add("t0", 1)
    m.add("s4", 1)
    m.compare("t0", "t2")
    m.jump_if(GREATER_EQUAL, "fail")
    m.jump("copy directory")
    m.label("slash")
    m.frame("t3", BUFFER)
    m.compare("t0", "t3")
    m.jump_if(EQUAL, "name")
    m.set("t1", ord("/"))
    m.store("t1", "t0", 0, 1)
    m.add("t0", 1)
    m.label("name")
    m.move("t3", "s3")
    m.label("copy name")
    m.compare("t0", "t2")
    m.jump_if(GREATER_EQUAL, "fail")
    m.load("t1", "t3", 0, 1)
    m.store("t1", "t0", 0, 1)
    m.add("t0", 1)
    m.add("t3", 1)
    m.compare("t1", 0)
    m.jump_if(NOT_EQUAL, "copy name")
    m.call("execve", BUFFER, "s0", "s1")
    m.compare("result", -ENOENT)
    m.jump_if(EQUAL, "next")
    m.compare("result", -ENOTDIR)
    m.jump_if(EQUAL, "next")
    m.compare("result", -EACCES)
    m.jump_if(NOT_EQUAL, "cannot")
    m.set("s5", 126)  # there may be another one further on
    m.label("next")
    m.load("t1", "s4", 0, 1)
    m.compare("t1", 0)
    m.jump_if(EQUAL, "fail")
    m.add("s4", 1)
    m.jump("directory")


def _fail(m: Machine) -> None:
    """Say what could not be executed (s3), and end with s5."""
    m.label("cannot")
    m.set("s5", 126)
    m.label("fail")
    m.call("write", 2, At("said"), len(SAID))
    m.move("s4", "s3")
    m.label("length")
    m.load("t1", "s4", 0, 1)
    m.add("s4", 1)
    m.compare("t1", 0)
    m.jump_if(NOT_EQUAL, "length")
    m.move("t0", "s4")
    m.set("s4", 0)
    m.label("count")
    m.add("t0", -1)
    m.compare("t0", "s3")
    m.jump_if(EQUAL, "counted")
    m.add("s4", 1)
    m.jump("count")
    m.label("counted")
    m.call("write", 2, "s3", "s4")
    m.call("write", 2, At("newline"), 1)
    m.call("exit_group", "s5")
