"""The conversation with the door, and what follows from its answer: the second half of `program.py`."""

from __future__ import annotations

from atoll.base.assembly.machine import EQUAL, LESS, LESS_EQUAL, NOT_EQUAL, At, Machine
from atoll.cli import quick
from atoll.cli.thin.frame import (
    ADDRESS,
    AF_UNIX,
    AT_FDCWD,
    BLOCK,
    CLOEXEC,
    CMSG_CLOEXEC,
    CONTROL,
    COUNT,
    CWD,
    EAGAIN,
    ENDING,
    EUID,
    HEAD,
    HEAD_SIZE,
    IGNORED_BY_PYTHON,
    INFO,
    IOV,
    MADE,
    MSG,
    NOSIGNAL,
    NUMBERS,
    O_PATH,
    OLD,
    PEERCRED,
    PIDFD,
    PIPE,
    POLL,
    RCVTIMEO,
    RIGHTS,
    ROOT_MAX,
    SAID,
    SET,
    SETMASK,
    SIGCONT,
    SIGSTOP,
    SIGTSTP,
    SIGWINCH,
    SNDTIMEO,
    SOL_SOCKET,
    STREAM,
    TAIL_SIZE,
    TIME,
    UNBLOCK,
    WORD,
)
from atoll.cli.thin.parts import copy, copy_below, decimal


def connect(m: Machine) -> None:
    m.address("s3", "door")
    copy(m, "s4", "s3", ADDRESS + 2 + ROOT_MAX + len(quick.DOOR))
    m.call("socket", AF_UNIX, STREAM | CLOEXEC, 0)
    m.move("s2", "result")
    m.compare("s2", 0)
    m.jump_if(LESS, "let go")
    m.set("t0", int.from_bytes(quick._PATIENCE[:8], "little"))
    m.store("t0", "sp", TIME)
    m.set("t0", 0)
    m.store("t0", "sp", TIME + 8)
    m.call("setsockopt", "s2", SOL_SOCKET, SNDTIMEO, TIME, 16)
    m.call("setsockopt", "s2", SOL_SOCKET, RCVTIMEO, TIME, 16)
    m.call("connect", "s2", ADDRESS, 110)
    m.compare("result", 0)
    m.jump_if(NOT_EQUAL, "let go")
    m.set("t0", 12)
    m.store("t0", "sp", WORD)
    m.call("getsockopt", "s2", SOL_SOCKET, PEERCRED, NUMBERS, WORD)
    m.compare("result", 0)
    m.jump_if(NOT_EQUAL, "let go")
    m.load("t0", "sp", NUMBERS + 4, 4)
    m.load("t1", "sp", EUID)
    m.compare("t0", "t1")
    m.jump_if(NOT_EQUAL, "let go")


def describe(m: Machine) -> None:
    """The descriptors that go with the request, and its head: its size, version, the package's directory, how many
    words. s4 is the head's end."""
    m.call("pipe2", PIPE, CLOEXEC)
    m.compare("result", 0)
    m.jump_if(LESS, "let go")
    m.call("openat", AT_FDCWD, At("here"), O_PATH | CLOEXEC, 0)
    m.store("result", "sp", CWD)
    m.compare("result", 0)
    m.jump_if(LESS, "let go")
    m.set("t0", 16 + 5 * 4)
    m.store("t0", "sp", CONTROL)
    m.set("t0", SOL_SOCKET | RIGHTS << 32)
    m.store("t0", "sp", CONTROL + 8)
    m.set("t0", 0 | 1 << 32)
    m.store("t0", "sp", CONTROL + 16)
    m.set("t0", 2)
    m.store("t0", "sp", CONTROL + 24)
    m.frame("t1", CONTROL + 28)
    m.load("t0", "sp", CWD)
    m.store("t0", "t1", 0)
    m.load("t0", "sp", PIPE, 4)
    m.store("t0", "sp", CONTROL + 32)
    m.frame("s4", HEAD)
    m.add("s4", 4)
    m.address("s3", "version")
    copy(m, "s4", "s3", HEAD + 2048)
    m.add("s4", 1)
    m.load("s3", "s0", 8 * (MADE - 1))
    m.frame("t2", HEAD)
    m.add("t2", 4096)
    copy_below(m, "s4", "s3")
    m.add("s4", 1)
    m.load("s5", "sp", COUNT)
    decimal(m)
    m.add("s4", 1)
    m.frame("t0", HEAD)
    m.subtract("s4", "t0")
    m.store("s4", "sp", HEAD_SIZE)
    m.load("t1", "sp", TAIL_SIZE)
    m.add("s4", "t1")
    m.add("s4", -4)
    for place in range(4):
        m.store("s4", "t0", place, 1)
        m.shift_right("s4", 8)


def send(m: Machine) -> None:
    m.set("t0", 0)
    for place in (0, 8, 48):  # msg_name, msg_namelen, msg_flags
        m.store("t0", "sp", MSG + place)
    m.frame("t0", IOV)
    m.store("t0", "sp", MSG + 16)
    m.set("t0", 2)
    m.store("t0", "sp", MSG + 24)
    m.frame("t0", CONTROL)
    m.store("t0", "sp", MSG + 32)
    m.set("t0", 40)
    m.store("t0", "sp", MSG + 40)
    m.frame("t0", HEAD)
    m.store("t0", "sp", IOV)
    m.load("t0", "sp", HEAD_SIZE)
    m.store("t0", "sp", IOV + 8)
    m.load("t0", "s0", 8 * (MADE + 1))
    m.store("t0", "sp", IOV + 16)
    m.load("t0", "sp", TAIL_SIZE)
    m.store("t0", "sp", IOV + 24)
    m.call("sendmsg", "s2", MSG, NOSIGNAL)
    m.load("t0", "sp", HEAD_SIZE)
    m.compare("result", "t0")
    m.jump_if(LESS, "let go")
    # What did not fit into the socket at once, without the head and the descriptors: s4 is what went of the tail.
    m.move("s4", "result")
    m.subtract("s4", "t0")
    m.set("t0", 0)
    m.store("t0", "sp", MSG + 32)
    m.store("t0", "sp", MSG + 40)
    m.set("t0", 1)
    m.store("t0", "sp", MSG + 24)
    m.label("sending")
    m.load("t0", "sp", TAIL_SIZE)
    m.subtract("t0", "s4")
    m.compare("t0", 0)
    m.jump_if(LESS_EQUAL, "sent")
    m.store("t0", "sp", IOV + 8)
    m.load("t0", "s0", 8 * (MADE + 1))
    m.add("t0", "s4")
    m.store("t0", "sp", IOV)
    m.call("sendmsg", "s2", MSG, NOSIGNAL)
    m.compare("result", 0)
    m.jump_if(LESS_EQUAL, "let go")
    m.move("t0", "result")
    m.add("s4", "t0")
    m.jump("sending")
    m.label("sent")


def answer(m: Machine) -> None:
    """One byte, and a pidfd with it. After five seconds nobody shall begin any more."""
    _receive(m)
    m.compare("result", -EAGAIN)
    m.jump_if(NOT_EQUAL, "came")
    m.call("shutdown", "s2", 2)
    _receive(m)
    m.label("came")
    m.compare("result", 0)
    m.jump_if(LESS_EQUAL, "let go")
    m.load("t0", "sp", WORD, 1)
    m.compare("t0", ord("w"))
    m.jump_if(NOT_EQUAL, "let go")
    m.set("t0", -1)
    m.store("t0", "sp", PIDFD)
    m.load("t0", "sp", MSG + 40)
    m.compare("t0", 20)
    m.jump_if(LESS, "no pidfd")
    m.load("t0", "sp", CONTROL + 16, 4)
    m.store("t0", "sp", PIDFD)
    m.label("no pidfd")
    m.load("s4", "sp", CWD)
    m.call("close", "s4")
    m.load("s4", "sp", PIPE, 4)
    m.call("close", "s4")  # the other end says that we live
    m.set("t0", 0)
    m.store("t0", "sp", TIME)
    m.call("setsockopt", "s2", SOL_SOCKET, RCVTIMEO, TIME, 16)


def _receive(m: Machine) -> None:
    m.frame("t0", WORD)
    m.store("t0", "sp", IOV)
    m.set("t0", 1)
    m.store("t0", "sp", IOV + 8)
    m.store("t0", "sp", MSG + 24)
    m.frame("t0", CONTROL)
    m.store("t0", "sp", MSG + 32)
    m.set("t0", 64)
    m.store("t0", "sp", MSG + 40)
    m.call("recvmsg", "s2", MSG, CMSG_CLOEXEC)


def attend(m: Machine) -> None:
    """Pass signals on until the exit code comes; end as the command ended. They stay blocked, and are read (s3)."""
    m.set("s5", 0)
    for number in quick._HELD:
        if number in IGNORED_BY_PYTHON:
            continue
        m.call("rt_sigaction", number, 0, NUMBERS, 8)
        m.load("t0", "sp", NUMBERS)
        m.compare("t0", 1)  # what was ignored stays ignored (nohup)
        m.jump_if(EQUAL, f"ignored {number}")
        m.set("t1", 1 << number - 1)
        m.add("s5", "t1")
        m.label(f"ignored {number}")
    m.store("s5", "sp", SET)
    m.call("signalfd4", -1, SET, 8, CLOEXEC)
    m.move("s3", "result")
    m.set("t0", 0)
    m.store("t0", "sp", ENDING)
    m.label("poll")
    for place, register in ((0, "s2"), (8, "s3")):
        m.set("t0", 1 << 32)  # POLLIN
        m.add("t0", register)
        m.store("t0", "sp", POLL + place)
    m.call("ppoll", POLL, 2, 0, 0, 8)
    m.compare("result", 0)
    m.jump_if(LESS_EQUAL, "poll")
    m.load("t0", "sp", POLL + 6, 1)
    m.compare("t0", 0)
    m.jump_if(NOT_EQUAL, "ended")
    m.call("read", "s3", INFO, 128)
    m.compare("result", 0)
    m.jump_if(LESS_EQUAL, "poll")
    m.load("s5", "sp", INFO, 4)
    m.compare("s5", SIGTSTP)
    m.jump_if(EQUAL, "pause")
    m.compare("s5", SIGWINCH)
    m.jump_if(EQUAL, "forward")
    m.store("s5", "sp", ENDING)
    m.label("forward")
    m.load("s4", "sp", PIDFD)
    m.call("pidfd_send_signal", "s4", "s5", 0, 0)
    m.jump("poll")
    # The command stands still with us. In an orphaned group the kernel stops nobody, so neither do we.
    m.label("pause")
    m.load("s4", "sp", PIDFD)
    m.call("pidfd_send_signal", "s4", SIGSTOP, 0, 0)
    m.set("t0", 1 << SIGTSTP - 1)
    m.store("t0", "sp", WORD)
    m.call("getpid")
    m.move("s5", "result")
    m.call("kill", "s5", SIGTSTP)
    m.call("rt_sigprocmask", UNBLOCK, WORD, 0, 8)
    m.call("rt_sigprocmask", BLOCK, WORD, 0, 8)
    m.call("pidfd_send_signal", "s4", SIGCONT, 0, 0)
    m.jump("poll")
    m.label("ended")
    m.call("read", "s2", WORD, 1)
    m.compare("result", 1)
    m.jump_if(NOT_EQUAL, "killed")
    m.load("s5", "sp", WORD, 1)
    m.call("exit_group", "s5")
    m.label("killed")
    m.load("s5", "sp", ENDING)
    m.compare("s5", 0)
    m.jump_if(EQUAL, "nobody knows")
    m.call("getpid")
    m.move("s4", "result")
    m.call("kill", "s4", "s5")
    m.call("rt_sigprocmask", SETMASK, OLD, 0, 8)
    m.label("nobody knows")
    m.call("write", 2, At("said"), len(SAID))
    m.call("exit_group", 137)


def cold(m: Machine) -> None:
    """Be the interpreter that runs the command itself."""
    m.label("let go")
    m.call("rt_sigprocmask", SETMASK, OLD, 0, 8)
    m.label("cold")
    m.address("t0", "module")
    m.store("t0", "s0", 8 * MADE)
    m.load("s3", "s0", 8)
    m.move("s4", "s0")
    m.add("s4", 8)
    m.call("execve", "s3", "s4", "s1")
    m.call("exit_group", 125)
