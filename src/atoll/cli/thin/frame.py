"""Where in the stack frame of `program.py` things lie, and the numbers of the kernel's that it uses.

Source: the headers below include/uapi/ that the man pages of the calls name; equal on all machines.
"""

from __future__ import annotations

from atoll.base.assembly.machine import Frame

FRAME = 0x4000
# Where in the stack frame things lie. Signal masks: as they were, those to take or to change.
OLD, SET = Frame(0), Frame(8)
WORD, PIPE, CWD, PIDFD, COUNT, EUID, ENDING = [Frame(16 + 8 * place) for place in range(7)]
RUN, XDG, HEAD_SIZE, TAIL_SIZE = [Frame(72 + 8 * place) for place in range(4)]
TIME, IOV, MSG, CONTROL, POLL = Frame(112), Frame(128), Frame(160), Frame(216), Frame(288)
NUMBERS, STATX, ADDRESS, INFO, HEAD = Frame(320), Frame(384), Frame(640), Frame(832), Frame(1024)
ROOT_MAX = 90
AT_FDCWD, NOFOLLOW, BASIC = -100, 0x100, 0x7FF
CLOEXEC, O_PATH = 0o2000000, 0o10000000
AF_UNIX, STREAM, SOL_SOCKET, PEERCRED, RCVTIMEO, SNDTIMEO, RIGHTS = 1, 1, 1, 17, 20, 21, 1
NOSIGNAL, CMSG_CLOEXEC, EAGAIN = 0x4000, 0x40000000, 11
BLOCK, UNBLOCK, SETMASK = 0, 1, 2
TCGETS, F_GETFD = 0x5401, 1
SIGSTOP, SIGCONT, SIGTSTP, SIGWINCH = 19, 18, 20, 28
IGNORED_BY_PYTHON = (13, 25)
MADE = 6
"""How many words `bin/atoll` puts before the user's."""
SAID = b"atoll: the process that ran this command was killed\n"
