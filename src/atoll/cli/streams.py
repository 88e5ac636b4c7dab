"""Between the user's descriptors and a container's streams, until it ends or the user leaves.

Holds: `attend`, the loop of `run` and `exec` in the foreground. Does not hold: raw mode (`terminal.py`), the wire
(`isolation`).
"""

from __future__ import annotations

import errno
import os
import select
import time

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.cli.terminal import DetachKeys, RawTerminal
    from atoll.isolation.protocol import Attachment

_CHUNK = 65536
_NOT_PASSED = frozenset(
    (signals.SIGCHLD, signals.SIGPIPE, signals.SIGWINCH, signals.SIGKILL, signals.SIGSTOP, signals.SIGURG,
     signals.SIGCONT, signals.SIGTSTP, signals.SIGTTIN, signals.SIGTTOU, 4, 8, 11, 7)
)  # fmt: skip
_INTERRUPTS = (signals.SIGINT, signals.SIGTERM)
_PATIENCE = 3
LATER_MS = 50
"""How long a container runs before what is not urgent is done."""


class Ending(Value):
    """How it went: the exit code to pass on, the exit report (None if the user left), and who left: by the detach
    keys, by insisting on the interrupt, or because the terminal is gone (nothing can be said there any more)."""

    code: int
    report: tuple[tuple[str, object], ...] | None = None
    detached: bool = False
    abandoned: bool = False
    gone: bool = False


class SignalPipe:
    """From its making on, signals that are to be passed on end up in a pipe: also one that comes before there is a
    container to pass it to. `wake` is readable when there are some."""

    def __init__(self, *, pass_on: bool, window: bool) -> None:
        self.wake, self._into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signals.set_wakeup_fd(self._into)
        if pass_on:
            for number in range(1, 32):
                if number not in _NOT_PASSED:
                    signals.handle(number, _noted)
        if window:
            signals.handle(signals.SIGWINCH, _noted)

    def close(self) -> None:
        """Note no more."""
        signals.set_wakeup_fd(-1)
        os.close(self.wake)
        os.close(self._into)


def _noted(number: int, frame: object) -> None:
    """The wake-up descriptor carries the number; the loop acts on it."""


class _Session:
    def __init__(
        self,
        attachment: Attachment,
        arrived: SignalPipe,
        *,
        stdin: bool,
        stays: bool,
        keys: DetachKeys | None,
        raw: RawTerminal | None,
    ) -> None:
        self.attachment = attachment
        self.stays = stays
        self.wake = arrived.wake
        self.keys = keys
        self.raw = raw
        self.input_open = stdin
        self.broken = False
        self.gone = False
        self.interrupts = 0
        self.hidden: tuple[int, ...] = ()


def attend(
    attachment: Attachment,
    arrived: SignalPipe,
    *,
    stdin: bool,
    stays: bool = False,
    keys: DetachKeys | None = None,
    raw: RawTerminal | None = None,
    hidden: tuple[int, ...] = (),
    later: Callable[[], object] | None = None,
) -> Ending:
    """Copy until the exit report. With `raw` (a terminal) the size follows; with `keys` the user can leave. What
    comes on a stream in `hidden` (1, 2) is not shown. The end of our input is the process', unless its input `stays`
    for whoever attaches next (Docker's StdinOnce off).

    Signals that `arrived` go to the container's process; the third interrupt that it ignores abandons it. When nobody
    reads our output any more the container is killed, as a pipeline's other commands are. Raises the error of a
    failed start. `later` is called once it has gone on for a moment.
    """
    session = _Session(attachment, arrived, stdin=stdin, stays=stays, keys=keys, raw=raw)
    session.hidden = hidden
    return _loop(session, later)


def _loop(session: _Session, later: Callable[[], object] | None) -> Ending:
    poller = select.poll()
    poller.register(session.attachment.fileno(), select.POLLIN)
    poller.register(session.wake, select.POLLIN)
    watching, patience = False, None if later is None else LATER_MS
    while session.attachment.waiting():  # came together with an answer that was waited for: poll would not tell
        ending = _received(session)
        if ending is not None:
            return ending
    until = time.monotonic() + LATER_MS / 1000
    while True:
        wanted = session.input_open and session.attachment.room > 0
        if wanted != watching:
            watching = _watch_input(poller, session, on=wanted)
        ready = poller.poll(patience)
        if later is not None and (not ready or time.monotonic() >= until):
            later()
            later = patience = None
        for fd, _ in ready:
            if fd == session.wake:
                ending = _signalled(session)
            elif fd == 0:
                ending = _typed(session)
                watching = watching and session.input_open
                if not session.input_open:
                    _watch_input(poller, session, on=False)
            else:
                ending = _received(session)
            if ending is not None:
                return ending


def _watch_input(poller: select.poll, session: _Session, *, on: bool) -> bool:
    if on:
        poller.register(0, select.POLLIN)
    else:
        try:
            poller.unregister(0)
        except KeyError:
            pass
    return on


def _received(session: _Session) -> Ending | None:
    for stream, data in session.attachment.receive():
        if stream == 8:
            ending = _told(jsontext.loads(data), session)
            if ending is not None:
                return ending
        elif not session.broken:
            _show(session, stream, data)
    if session.gone:
        return _hung_up(session)
    if session.attachment.ended:
        word = "the container's monitor was killed; the container goes on by itself, and this input has ended"
        return Ending(code=125, report=(("error", word),))
    return None


def _told(message: Any, session: _Session) -> Ending | None:
    word = message.get("is")
    if word == "error":
        raise errors.from_json(message.get("error"))
    if word == "exit":
        return Ending(code=141 if session.broken else int(message["exit"]), report=tuple(message.items()))
    return None


def _show(session: _Session, stream: int, data: bytes) -> None:
    if stream in session.hidden:
        return
    try:
        files.write_all(2 if stream in (2, 3) else 1, data)
    except BrokenPipeError:
        session.broken = True
        try:
            session.attachment.signal(signals.SIGKILL)
        except errors.AtollError:
            pass
    except BlockingIOError:  # somebody made our output non-blocking: wait for it, as a program would
        select.select([], [2 if stream in (2, 3) else 1], [])
        _show(session, stream, data)
    except OSError as error:
        if session.raw is None or error.errno != errno.EIO:
            raise
        session.gone = True


def _hung_up(session: _Session) -> Ending:
    """The terminal is gone: the container's process is told as ours would be, and left to decide."""
    try:
        session.attachment.signal(signals.SIGHUP)
    except errors.AtollError:
        pass
    session.attachment.detach()
    return Ending(code=128 + signals.SIGHUP, gone=True)


def _typed(session: _Session) -> Ending | None:
    try:
        data = os.read(0, min(_CHUNK, session.attachment.room))
    except BlockingIOError:
        return None
    except OSError:
        if session.raw is not None:
            return _hung_up(session)
        data = b""
    if session.keys is not None and data:
        data, leave = session.keys.feed(data)
        if leave:
            if data:
                session.attachment.send_stdin(data)
            session.attachment.detach()
            return Ending(code=0, detached=True)
        if not data:
            return None
    if data:
        session.attachment.send_stdin(data)
    else:
        session.input_open = False
        if not session.stays:
            session.attachment.close_stdin()
    return None


def _signalled(session: _Session) -> Ending | None:
    for number in os.read(session.wake, 256):
        if number == signals.SIGWINCH:
            _resize(session)
            continue
        if number == signals.SIGHUP and session.raw is not None:
            return _hung_up(session)
        if number in _INTERRUPTS:
            session.interrupts += 1
            if session.interrupts >= _PATIENCE:
                return Ending(code=128 + number, abandoned=True)
        try:
            session.attachment.signal(number)
        except errors.AtollError:
            pass  # it has just ended: the report is on its way
    return None


def _resize(session: _Session) -> None:
    from atoll.cli import terminal

    if session.raw is not None:
        now = terminal.size(session.raw.fd)
        if now is not None:
            session.attachment.resize(*now)
