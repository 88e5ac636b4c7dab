"""Scripts that measure: each does one thing so many times between two readings of the clock.

Holds: `MEASURES`, `measure`, `neighbour`. Does not hold: what the numbers mean (`../measures/inside.py`). Every
repetition of a measure costs the interpreter the same everywhere. Files lie in the working directory.
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.compare.program import life, records
from atoll.compare.program.main import AT_FDCWD

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.compare.program.main import Context
    from atoll.compare.program.script import Variable

O_RDWR, O_CREAT, O_TRUNC = 2, 0o100, 0o1000
CHUNK = 1 << 16
FILE = 256 * CHUNK
PAGE = 4096
_STRIDE = 2531 * PAGE  # odd in pages: it comes to every page of the file before it comes to one again
_MEMORY = 16 << 20
_PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS = 3, 0x22
_SIGKILL = 9


class Measure(Value):
    """One thing that is timed: its bit, how often a round does it, and the bytes that each time moves."""

    name: str
    bit: int
    count: int
    size: int = 0


CPU = Measure(name="cpu", bit=0, count=20_000_000)
CALL = Measure(name="system call", bit=1, count=20_000)
FORK = Measure(name="fork", bit=2, count=50)
META = Measure(name="file metadata", bit=3, count=200)
WRITE = Measure(name="sequential write", bit=4, count=FILE // CHUNK, size=CHUNK)
READ = Measure(name="sequential read", bit=5, count=FILE // CHUNK, size=CHUNK)
RANDOM = Measure(name="random I/O", bit=6, count=1000, size=PAGE)
STREAM = Measure(name="loopback throughput", bit=7, count=512, size=CHUNK)
ECHO = Measure(name="loopback latency", bit=8, count=500)
MEMORY = Measure(name="new memory", bit=9, count=_MEMORY // PAGE, size=PAGE)
MEASURES = (CPU, CALL, FORK, META, WRITE, READ, RANDOM, STREAM, ECHO, MEMORY)


def measure(c: Context) -> None:
    """The measures of the mask, so many rounds."""
    c.tell(records.READY, 0, 0)
    c.s.repeat(c.numbers[1], lambda: _round(c))


def neighbour(c: Context) -> None:
    """Several processes that do it until the time is over, and end then whatever happens to others: each looks at the
    clock itself, and a round is bounded."""
    s = c.s
    until, now, worker, status = (s.variable() for _ in range(4))
    s.copy(c.silent, 1)
    c.clock(until)
    s.add(until, c.numbers[2])

    def begin() -> None:
        s.call("clone", 17, to=worker)
        s.if_equal(worker, 0, work)

    work, wait, end = s.new_label(), s.new_label(), s.new_label()
    s.repeat(c.numbers[1], begin)
    c.tell(records.READY, 0, 0)
    s.label(wait)
    s.call("wait4", -1, int(status), 0, 0, to=worker)
    s.if_less(worker, 0, end)
    s.go(wait)
    s.label(work)
    again = s.label()
    _round(c)
    c.clock(now)
    s.if_less(now, until, again)
    s.label(end)


def _round(c: Context) -> None:
    """Each measure of the mask once. Those of files and of the loopback share what is made for them."""
    s = c.s
    fd, listener, server = s.variable(), s.variable(), s.variable()
    address = s.variable(2)
    counter = s.variable()
    _timed(c, CPU, lambda: s.spin(CPU.count))
    _timed(c, CALL, lambda: _often(c, counter, CALL.count, lambda: s.call("getppid")))
    _timed(c, FORK, lambda: _often(c, counter, FORK.count, lambda: _fork(c)))
    _timed(c, META, lambda: _often(c, counter, META.count, lambda: _metadata(c)))
    with_file, no_file = s.new_label(), s.new_label()
    for one in (WRITE, READ, RANDOM):
        _if_wanted(c, one, with_file)
    s.go(no_file)
    s.label(with_file)
    s.call("openat", AT_FDCWD, s.text(b"data"), O_RDWR | O_CREAT | O_TRUNC, 0o600, to=fd)
    s.call("unlinkat", AT_FDCWD, s.text(b"data"), 0)
    # Always written: the others need something to read; it is told of only where that was asked for.
    _timed(c, WRITE, lambda: _written(c, fd, counter), always=True)
    _timed(c, READ, lambda: _read(c, fd, counter))
    _timed(c, RANDOM, lambda: _random(c, fd, counter))
    s.call("close", fd)
    s.label(no_file)
    with_net, no_net = s.new_label(), s.new_label()
    for one in (STREAM, ECHO):
        _if_wanted(c, one, with_net)
    s.go(no_net)
    s.label(with_net)
    _begin_server(c, listener, server, address)
    _timed(c, STREAM, lambda: _stream(c, address, counter))
    _timed(c, ECHO, lambda: _echo(c, address, counter))
    s.call("kill", server, _SIGKILL)
    s.call("wait4", server, 0, 0, 0)
    s.call("close", listener)
    s.label(no_net)
    _timed(c, MEMORY, lambda: _touch(c, counter))


def _if_wanted(c: Context, one: Measure, there: str) -> None:
    from atoll.compare.program.script import Place

    wanted = c.s.variable()
    c.s.copy(wanted, c.numbers[0])
    c.s.keep(wanted, 1 << one.bit)
    c.s.if_less(0, wanted, Place(there))


def _timed(c: Context, one: Measure, body: Callable[[], None], *, always: bool = False) -> None:
    s = c.s
    before, after, skip = s.variable(), s.variable(), s.new_label()
    if not always:
        go = s.new_label()
        _if_wanted(c, one, go)
        s.go(skip)
        s.label(go)
    c.clock(before)
    body()
    c.clock(after)
    s.subtract(after, before)
    s.if_less(0, c.silent, skip)
    if always:
        told = s.new_label()
        _if_wanted(c, one, told)
        s.go(skip)
        s.label(told)
    c.tell(records.TIMED, one.bit, after)
    s.label(skip)


def _often(c: Context, counter: Variable, times: int, body: Callable[[], None]) -> None:
    s = c.s
    s.copy(counter, 0)
    again = s.label()
    body()
    s.add(counter, 1)
    s.if_less(counter, times, again)


def _fork(c: Context) -> None:
    status = c.s.variable()
    c.s.in_child(lambda: None, status)


def _metadata(c: Context) -> None:
    """Make a file, look at it, remove it. Another worker of a neighbour may do so with the same name."""
    s = c.s
    fd, name = s.variable(), s.text(b"meta")
    s.call("openat", AT_FDCWD, name, O_RDWR | O_CREAT, 0o600, to=fd)
    s.call("fstat", fd, s.buffer)
    s.call("close", fd)
    s.call("unlinkat", AT_FDCWD, name, 0)


def _written(c: Context, fd: Variable, counter: Variable) -> None:
    s = c.s
    _often(c, counter, WRITE.count, lambda: s.call("write", fd, s.buffer, CHUNK))
    s.call("fdatasync", fd)


def _read(c: Context, fd: Variable, counter: Variable) -> None:
    s = c.s
    s.call("lseek", fd, 0, 0)
    _often(c, counter, READ.count, lambda: s.call("read", fd, s.buffer, CHUNK))


def _random(c: Context, fd: Variable, counter: Variable) -> None:
    s = c.s
    offset = s.variable()

    def both() -> None:
        s.add(offset, _STRIDE)
        s.keep(offset, FILE - PAGE)
        s.call("pread64", fd, s.buffer, PAGE, offset)
        s.call("pwrite64", fd, s.buffer, PAGE, offset)

    _often(c, counter, RANDOM.count, both)


def _begin_server(c: Context, listener: Variable, server: Variable, address: Variable) -> None:
    """A child that serves at a port of the loopback that the kernel chooses."""
    s = c.s
    length, parent, child = s.variable(), s.new_label(), s.new_label()
    s.copy(address, life.AF_INET | 0x0100007F << 32)  # 127.0.0.1, in the order of the network
    life.listen(c, listener, address)
    s.copy(length, 16)
    s.call("getsockname", listener, int(address), int(length))
    s.call("clone", 17, to=server)
    s.if_equal(server, 0, child)
    s.go(parent)
    s.label(child)
    life.serving(c, listener)
    s.label(parent)


def _connected(c: Context, address: Variable, to: Variable) -> None:
    s = c.s
    one = s.variable()
    s.copy(one, 1)
    s.call("socket", life.AF_INET, life.SOCK_STREAM, 0, to=to)
    s.call("setsockopt", to, life.IPPROTO_TCP, life.TCP_NODELAY, int(one), 4)
    s.call("connect", to, int(address), 16)


def _stream(c: Context, address: Variable, counter: Variable) -> None:
    s = c.s
    connection = s.variable()
    _connected(c, address, connection)
    s.put(s.buffer, ord("T"), byte=True)
    _often(
        c,
        counter,
        STREAM.count,
        lambda: s.call("sendto", connection, s.buffer, CHUNK, life.MSG_NOSIGNAL, 0, 0),
    )
    s.call("shutdown", connection, 1)
    s.call("read", connection, s.buffer, 1)  # until the other end has read all, and closes
    s.call("close", connection)


def _echo(c: Context, address: Variable, counter: Variable) -> None:
    s = c.s
    connection = s.variable()
    _connected(c, address, connection)

    def once() -> None:
        s.put(s.buffer, ord("E"), byte=True)
        s.call("sendto", connection, s.buffer, 1, life.MSG_NOSIGNAL, 0, 0)
        s.call("read", connection, s.buffer, 1)

    _often(c, counter, ECHO.count, once)
    s.call("close", connection)


def _touch(c: Context, counter: Variable) -> None:
    """New memory, a word in each page, given back."""
    s = c.s
    area, at = s.variable(), s.variable()
    s.call("mmap", 0, _MEMORY, _PROT_READ_WRITE, _MAP_PRIVATE_ANONYMOUS, -1, 0, to=area)
    none = s.new_label()
    s.if_less(area, 0, none)
    s.copy(at, area)

    def page() -> None:
        s.put(at, counter)
        s.add(at, PAGE)

    _often(c, counter, MEMORY.count, page)
    s.call("munmap", area, _MEMORY)
    s.label(none)
