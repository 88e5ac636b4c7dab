"""Scripts about beginning and ending, a server, and reading files.

Holds: `begun`, `stay`, `serve`, `serving` (the server's loop, for measures on the loopback too), `files`.
"""

from __future__ import annotations

from atoll.compare.program import records
from atoll.compare.program.main import AT_FDCWD, WORD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.program.main import Context
    from atoll.compare.program.script import Variable

AF_INET, SOCK_STREAM, IPPROTO_TCP, TCP_NODELAY, SOL_SOCKET, SO_REUSEADDR = 2, 1, 6, 1, 1, 2
MSG_NOSIGNAL = 0x4000
SIG_BLOCK = 0
_ENDS = 1 << 15 - 1 | 1 << 2 - 1  # SIGTERM, SIGINT
_CHUNK = 1 << 16
_FILE = 1 << 16
ANSWER = b"HTTP/1.0 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nyes"


def begun(c: Context) -> None:
    """The first instruction that can be seen from outside."""
    c.tell(records.BEGUN, 0, 0)


def stay(c: Context) -> None:
    """Until SIGTERM. Blocked and waited for: the first process of a pid namespace gets no signal that it does not
    handle."""
    s = c.s
    mask = s.variable()
    s.copy(mask, _ENDS)
    s.call("rt_sigprocmask", SIG_BLOCK, int(mask), 0, 8)
    c.tell(records.READY, 0, 0)
    got = s.variable()
    wait = s.label()
    s.call("rt_sigtimedwait", int(mask), 0, 0, 8, to=got)
    s.if_less(got, 0, wait)


def serve(c: Context) -> None:
    """A server, one connection after another."""
    s = c.s
    listener = s.variable()
    address = s.variable(2)
    s.copy(address, c.numbers[0])
    listen(c, listener, address)
    c.tell(records.READY, 0, 0)
    serving(c, listener)


def listen(c: Context, listener: Variable, address: Variable) -> None:
    """A TCP socket that listens at a `struct sockaddr_in`; the process ends with code 3 where that cannot be."""
    s = c.s
    one, failed, well = s.variable(), s.variable(), s.new_label()
    s.copy(one, 1)
    s.call("socket", AF_INET, SOCK_STREAM, 0, to=listener)
    s.call("setsockopt", listener, SOL_SOCKET, SO_REUSEADDR, int(one), 4)
    s.call("bind", listener, int(address), 16, to=failed)
    s.if_equal(failed, 0, well)
    s.call("exit_group", 3)
    s.label(well)
    s.call("listen", listener, 64)


def serving(c: Context, listener: Variable) -> None:
    """By a connection's first byte: `G` is answered as HTTP, `E` is echoed, anything else is read to its end."""
    s = c.s
    connection, size, kind, one = s.variable(), s.variable(), s.variable(), s.variable()
    s.copy(one, 1)
    accept = s.label()
    s.call("accept4", listener, 0, 0, 0, to=connection)
    s.if_less(connection, 0, accept)
    s.call("setsockopt", connection, IPPROTO_TCP, TCP_NODELAY, int(one), 4)
    more, done, answer, echo = s.new_label(), s.new_label(), s.new_label(), s.new_label()
    s.label(more)
    s.call("read", connection, s.buffer, _CHUNK, to=size)
    s.if_less(size, 1, done)
    s.get(kind, s.buffer, byte=True)
    s.if_equal(kind, ord("G"), answer)
    s.if_equal(kind, ord("E"), echo)
    s.go(more)
    s.label(echo)
    s.call("sendto", connection, s.buffer, size, MSG_NOSIGNAL, 0, 0)
    s.go(more)
    s.label(answer)
    s.call("sendto", connection, s.text(ANSWER), len(ANSWER), MSG_NOSIGNAL, 0, 0)
    s.label(done)
    s.call("close", connection)
    s.go(accept)


def files(c: Context) -> None:
    """uname(2), and the beginning of each file that is named, as far as it can be read."""
    s = c.s
    at, path, fd, size, got, index = (s.variable() for _ in range(6))
    s.call("uname", s.buffer)
    c.tell(records.NAMES, 0, 6 * 65)
    s.call("write", 1, s.buffer, 6 * 65)
    s.copy(at, s.stack)
    s.add(at, 4 * WORD)  # past the count, our name, the letter and the number
    following, end, read = s.new_label(), s.new_label(), s.new_label()
    s.label(following)
    s.get(path, at)
    s.if_equal(path, 0, end)
    s.call("openat", AT_FDCWD, path, 0, 0, to=fd)
    s.copy(size, fd)
    told = s.new_label()
    s.if_less(fd, 0, told)
    s.copy(size, 0)
    place, room = s.variable(), s.variable()
    s.label(read)
    s.copy(place, s.buffer)
    s.add(place, size)
    s.copy(room, _FILE)
    s.subtract(room, size)
    s.call("read", fd, place, room, to=got)
    closing, whole = s.new_label(), s.new_label()
    s.if_less(got, 0, closing)
    s.if_equal(got, 0, whole)
    s.add(size, got)
    s.if_less(size, _FILE, read)
    s.go(whole)
    s.label(closing)
    s.if_less(0, size, whole)
    s.copy(size, got)
    s.label(whole)
    s.call("close", fd)
    s.label(told)
    c.tell(records.FILE, index, size)
    s.if_less(size, 1, skipped := s.new_label())
    s.call("write", 1, s.buffer, size)
    s.label(skipped)
    s.add(index, 1)
    s.add(at, WORD)
    s.go(following)
    s.label(end)
