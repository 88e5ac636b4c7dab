"""The agent: pid 1 of a guest, which has Atoll's own runtime make the container and its further processes.

Holds: `main`, `Agent` (the loop and the frames), `Session` (one process and its streams). Does not hold: what is set
up before the container (`setup.py`), the runtime. Steps are numbered as in `wire.py`.
The host trusts nothing of what is said here; so the agent is simple rather than careful of itself: whatever breaks it
ends the machine, and with it its one container.
"""

from __future__ import annotations

import os
import select
import sys

from atoll.base import errors, jsontext
from atoll.base.loop import POLLIN, POLLOUT, Loop, children, watch_children
from atoll.guest import lent, resume, setup, wire
from atoll.linux import process, tty
from atoll.runtime import create as runtime_create
from atoll.runtime import exec as runtime_exec
from atoll.spec import runtime as oci
from atoll.spec.rootfs import RootPlan
from atoll.vm.machine import WARM

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from atoll.runtime.plan import Created

QUEUE_MAX = 1 << 18
"""Bytes that wait for the port at most before the output of processes does."""
DRAIN_SECONDS = 0.1
ANSWER_MAX = 1 << 16
"""Bytes of an answer at most: a pipe holds them."""


class Session:
    """One process: its descriptors and what may still be sent of each stream."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.pid = 0
        self.pidfd = -1
        self.sync = -1
        self.console = -1
        self.held = -1
        self.stdin = -1
        self.outputs: dict[int, int] = {}
        self.room = {1: wire.WINDOW, 2: wire.WINDOW}
        self.input = bytearray()
        self.input_ends = False
        self.status: int | None = None
        self.failed = False


class Agent:
    """Serves one port. `say` queues a frame."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.terminal = os.isatty(port)
        self.loop = Loop()
        self.reader = wire.FrameReader(guest=False)
        self.sessions: dict[int, Session] = {}
        self.queue = bytearray()
        self.drain: float | None = None
        self.members: Any = None
        self.kills_before = 0  # of the machine that this one is a copy of
        self.loop.watch(port, POLLIN, self._port_ready)
        watch_children(self.loop, self._reap)

    def say(self, data: bytes) -> None:
        """Send a frame when the port takes it."""
        self.queue += data
        self._flush()

    def serve(self) -> NoReturn:
        """For ever: the machine ends with HALT, or with us."""
        self.say(wire.word(wire.HELLO, {"v": wire.VERSION}))
        while True:
            self.loop.turn(None if self.drain is None else DRAIN_SECONDS)
            if self.drain is not None:
                self._end_all()

    # -- the port

    def _port_ready(self, events: int) -> None:
        if events & POLLOUT:
            self._flush()
        if events & POLLIN:
            try:
                data = os.read(self.port, 1 << 16)
            except BlockingIOError:
                return
            if self.terminal:
                self.say(wire.frame(wire.TAKEN, payload=len(data).to_bytes(4, "big")))
            for kind, stream, session, payload in self.reader.feed(data):
                self._do(kind, stream, session, payload)
        elif events & select.POLLHUP and not events & POLLOUT:
            setup.pause()  # nobody has the other end just now

    def _flush(self) -> None:
        while self.queue:
            try:
                count = os.write(self.port, self.queue[: 1 << 15])
            except BlockingIOError:
                break
            del self.queue[:count]
        self.loop.change(self.port, POLLIN | POLLOUT if self.queue else POLLIN)
        self._hold()

    def _hold(self) -> None:
        """Read of the processes' output only what can be sent."""
        for session in self.sessions.values():
            for fd, stream in session.outputs.items():
                wanted = session.room[stream] > 0 and len(self.queue) < QUEUE_MAX
                if wanted != self.loop.watches(fd):
                    if wanted:
                        self.loop.watch(fd, POLLIN, self._reader(session, fd, stream))
                    else:
                        self.loop.forget(fd)

    def _do(self, kind: int, stream: int, number: int, payload: bytes) -> None:
        if kind == wire.SETUP:
            self._setup(wire.parse(payload))
        elif kind == wire.RUN:
            self._run(number, wire.parse(payload))
        elif kind == wire.HALT:
            setup.halt()
        elif kind == wire.HOLD:
            resume.hold(self, wire.parse(payload))
            self._hold()
        else:
            session = self.sessions.get(number)
            if session is not None:  # one that has ended meanwhile is fine
                self._tell(session, kind, stream, payload)

    def _tell(self, session: Session, kind: int, stream: int, payload: bytes) -> None:
        if kind == wire.INPUT:
            session.input += payload
            self._feed(session)
        elif kind == wire.INPUT_END:
            session.input_ends = True
            self._feed(session)
        elif kind == wire.CREDIT:
            session.room[stream] += wire.parse_credit(payload)
            self._hold()
        elif kind == wire.SIGNAL:
            try:
                process.pidfd_send_signal(session.pidfd, int.from_bytes(payload, "big"))
            except OSError:  # it has ended
                pass
        elif kind == wire.RESIZE and session.console >= 0:
            tty.set_window_size(
                session.console, int.from_bytes(payload[:2], "big"), int.from_bytes(payload[2:4], "big")
            )

    def _setup(self, message: dict[str, Any]) -> None:
        """4 and 5."""
        try:
            setup.renew(message)
            setup.mounts(message)
            if "pod" in message:
                from atoll.guest import pod

                pod.prepare(message["pod"])
                self.members = pod.Members()
        except (OSError, errors.AtollError) as error:
            self.say(wire.word(wire.FAILED, {"error": _error(error, "set the guest up").to_json()}))
            return
        self.say(wire.frame(wire.READY))

    # -- processes

    def _run(self, number: int, message: dict[str, Any]) -> None:
        """7: the container's process, or a further one."""
        session = Session(number)
        inside: list[int] = []
        if "ask" in message:
            self._answer(number, message)
            return
        try:
            terminal, stdin = message["terminal"] is True, message["stdin"] is True
            stdio = None if terminal else self._streams(session, inside, stdin=stdin)
            created = self._make(number, message, stdio)
        except (OSError, errors.AtollError) as error:
            for fd in [*session.outputs, *([session.stdin] if session.stdin >= 0 else [])]:
                os.close(fd)
            self.say(wire.word(wire.FAILED, {"error": _error(error, "run the program").to_json()}, number))
            return
        finally:
            for fd in inside:
                os.close(fd)
        self._attend(session, created)

    def _make(self, number: int, message: dict[str, Any], stdio: tuple[int, int, int] | None) -> Created:
        if (served := _files(message, stdio)) is not None:
            return served
        if number == wire.FIRST:
            return _first(message, stdio)
        if self.members is None:
            return _further(message, stdio, setup.CONTAINER)
        if "member" in message:
            first = self.sessions.get(wire.FIRST)
            if first is None:
                raise errors.FailedPrecondition("the pod's own container has ended")
            made: Created = self.members.create(number, message, stdio, first.pid)
            return made
        return _further(message, stdio, self.members.run_of(message["in"]) if "in" in message else setup.CONTAINER)

    def _answer(self, number: int, message: dict[str, Any]) -> None:
        """A question about a container of the pod: the answer is what a process would have written."""
        try:
            if message["ask"] == "size":
                from atoll.guest import sizing

                answer = sizing.keep(message)
            elif message["ask"] == "link":
                from atoll.guest import linking

                answer = linking.keep(message)
            elif self.members is None:
                raise errors.Unsupported("this machine is no pod's")
            else:
                answer = self.members.answer(message)
            said = jsontext.dumps(answer).encode()
            if len(said) > ANSWER_MAX:
                raise errors.Exhausted("the answer is longer than one may be")
        except (OSError, errors.AtollError) as error:
            self.say(wire.word(wire.FAILED, {"error": _error(error, "look at the container").to_json()}, number))
            return
        for at in range(0, len(said), wire.DATA_MAX):
            self.say(wire.frame(wire.OUTPUT, number, said[at : at + wire.DATA_MAX], 1))
        self.say(wire.word(wire.ENDED, {"code": 0}, number))

    def _streams(self, session: Session, inside: list[int], *, stdin: bool) -> tuple[int, int, int]:
        if stdin:
            source, session.stdin = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(session.stdin, False)
        else:
            source = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        inside.append(source)
        for stream in (1, 2):
            out, sink = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(out, False)
            session.outputs[out] = stream
            inside.append(sink)
        return inside[0], inside[1], inside[2]

    def _attend(self, session: Session, created: Created) -> None:
        session.pid, session.pidfd, session.sync = created.pid, created.pidfd, created.sync
        if created.console is not None:
            session.console = created.console
            os.set_blocking(session.console, False)
            session.outputs[os.dup(session.console)] = 1
            session.stdin = os.dup(session.console)
            # An init closes its console and opens it again: what it says then is still to come.
            session.held = tty.open_peer(session.console)
        self.sessions[session.number] = session
        self.loop.watch(session.sync, POLLIN, lambda _: self._heard(session))
        self._hold()
        self._reap()

    def _heard(self, session: Session) -> None:
        """8: the end of the socket is the program's execve, anything else the error of the last steps before it."""
        try:
            said = os.read(session.sync, wire.WORD_MAX)
        except ConnectionResetError:
            said = b""
        self.loop.forget(session.sync)
        os.close(session.sync)
        session.sync = -1
        if said:
            session.failed = True
            told = errors.from_json(wire.parse(said).get("error"))
            self.say(wire.word(wire.FAILED, {"error": told.to_json()}, session.number))
        else:
            self.say(wire.frame(wire.STARTED, session.number))

    def _reader(self, session: Session, fd: int, stream: int) -> Any:
        return lambda _: self._output(session, fd, stream)

    def _output(self, session: Session, fd: int, stream: int) -> None:
        try:
            data = os.read(fd, min(wire.DATA_MAX, session.room[stream]))
        except BlockingIOError:
            return
        except OSError:  # EIO: nobody has the terminal open
            data = b""
        if data:
            session.room[stream] -= len(data)
            self.say(wire.frame(wire.OUTPUT, session.number, data, stream))
            return
        self.loop.forget(fd)
        del session.outputs[fd]
        os.close(fd)

    def _feed(self, session: Session) -> None:
        """Give a process what input it takes."""
        fd = session.stdin
        if fd < 0:
            session.input.clear()
            return
        try:
            while session.input:
                count = os.write(fd, session.input)
                del session.input[:count]
                self.say(wire.credit(session.number, 0, count))
        except BlockingIOError:
            self.loop.watch(fd, POLLOUT, lambda _: self._feed(session))
            return
        except OSError:  # it reads no more
            self.say(wire.credit(session.number, 0, len(session.input)))
            session.input.clear()
            session.input_ends = True
        self.loop.forget(fd)
        if session.input_ends:
            os.close(fd)
            session.stdin = -1

    # -- the end

    def _reap(self) -> None:
        ended = dict(children())
        for session in self.sessions.values():
            if session.pid in ended:
                session.status = ended[session.pid]
                self.drain = DRAIN_SECONDS

    def _end_all(self) -> None:
        """9 and 10, for those whose process has ended and whose output is taken, or is not coming."""
        waiting = False
        for session in list(self.sessions.values()):
            if session.status is None:
                continue
            if session.sync >= 0:
                self._heard(session)
            held = any(not self.loop.watches(fd) for fd in session.outputs)
            if held or self._ready(session):
                waiting = True
                continue
            self._end(session)
        self.drain = DRAIN_SECONDS if waiting else None

    def _ready(self, session: Session) -> bool:
        """Whether there is output still to be taken: who holds it open besides may never write again."""
        for fd, stream in list(session.outputs.items()):
            if select.select([fd], [], [], 0)[0]:
                self._output(session, fd, stream)
                return True
        return False

    def _end(self, session: Session) -> None:
        del self.sessions[session.number]
        for fd in (*session.outputs, session.stdin, session.console, session.held, session.pidfd):
            if fd >= 0:
                self.loop.forget(fd)
                os.close(fd)
        status = session.status or 0
        signal = os.WTERMSIG(status) if os.WIFSIGNALED(status) else None
        code = 128 + signal if signal else os.WEXITSTATUS(status)
        message = {"code": code, "signal": signal, "oom": self._out_of_memory(session.number)}
        if self.members is not None:
            self.members.end_all() if session.number == wire.FIRST else self.members.ended(session.number)
        if session.number == wire.FIRST:
            setup.settle()
        self.say(wire.word(wire.ENDED, message, session.number))

    def _out_of_memory(self, number: int) -> bool:
        if number == wire.FIRST:
            return setup.oom_kills() > self.kills_before
        return self.members is not None and bool(self.members.out_of_memory(number))


def _first(message: dict[str, Any], stdio: tuple[int, int, int] | None) -> Created:
    try:
        return runtime_create.create(
            container_id=str(message["id"]),
            spec=lent.enter(oci.Spec.from_json(message["spec"])),
            root=RootPlan.from_json(message["root"]),
            bundle=setup.BUNDLE,
            run=setup.CONTAINER,
            stdio=stdio,
            terminal=message["terminal"] is True,
            cache=setup.FILTERS,
            start=True,
        )
    finally:
        lent.leave()


def _files(message: dict[str, Any], stdio: tuple[int, int, int] | None) -> Created | None:
    """A job on the container's files, if it is one."""
    if "files" not in message or stdio is None:
        return None
    from atoll.guest import files as served

    return served.begin(message["files"], stdio)


def _further(message: dict[str, Any], stdio: tuple[int, int, int] | None, run: str) -> Created:
    wanted = oci.Spec.from_json({"ociVersion": oci.VERSION, "process": message["process"]}).process
    if wanted is None:
        raise errors.InvalidArgument("a process without a process")
    return runtime_exec.exec_process(run=run, process_spec=wanted, stdio=stdio, terminal=message["terminal"] is True)


def _error(error: Exception, what: str) -> errors.AtollError:
    if isinstance(error, OSError):
        return errors.from_os_error(error, what)
    assert isinstance(error, errors.AtollError)
    return error


def main() -> NoReturn:
    """1: become the agent. Never returns; a fault is written to the console, and ends the machine."""
    try:
        setup.first()
        if os.environ.get(WARM):
            from atoll.guest.warming import warm_up

            warm_up()
        Agent(setup.open_port()).serve()
    except BaseException as error:  # noqa: BLE001 - pid 1 must not end: the kernel would panic without a word
        sys.stderr.write(f"agent: {type(error).__name__}: {error}\n")
        import traceback

        traceback.print_exc()
        setup.halt()
