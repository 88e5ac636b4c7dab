"""The keeper: pid 1 of the jail, which starts the VMM and stands for the guest's container on the host.

Holds: `main`, `Keeper` (the channel). Does not hold: how the VMM is started (`starting.py`), one process' streams
(`stand.py`). Steps are numbered as in `wire.py`.
To the monitor it is the container's first process: its standard streams are the container's, its signals go into the
guest, its exit code is the guest's. What it says on descriptor 3 is what an init says there: the program runs (the
end of the socket), or why not. It has no right left when the guest may speak; when it ends, however it ends, the
kernel ends the VMM with it, for it is the first process of their pid namespace.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import struct
import time
from _socket import AF_UNIX, CMSG_LEN, MSG_CMSG_CLOEXEC, SOCK_CLOEXEC, SOCK_SEQPACKET, socket

from atoll.base import errors, jsontext
from atoll.base.loop import POLLIN, POLLOUT, Loop, children
from atoll.guest import starting, wire
from atoll.guest.enter import FORWARDED, PACKET_MAX, SAID, WHY_MAX, leave_word
from atoll.guest.stand import CODES, DoorStand, FirstStand, Stand, tell
from atoll.vm.drivers import named

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from atoll.guest.saving import Saving
    from atoll.guest.shelf import Shelf
    from atoll.guest.starting import Started
    from atoll.vm import machine as machines
    from atoll.vm.qmp import Control

STANDS_MAX = 256
"""Processes in the guest that somebody on the host stands for, at most."""
CONSOLE_MAX = 2048
NOISE = " is not connected to host network"
"""What QEMU says of each of a machine's two networks that it has not."""
QUEUE_MAX = 2 * wire.REQUEST_MAX
"""Bytes for the guest that wait at most."""


class Keeper:
    """Serves the channel into one guest. `code` is set at the end of the container, and what is `known` besides."""

    def __init__(self, config: dict[str, Any], started: Started, end: socket) -> None:
        self.config, self.started, self.end = config, started, end
        self.loop = Loop()
        self.code: int | None = None
        self.known: dict[str, Any] = {}
        self._reader = wire.FrameReader(guest=True)
        self._stands: dict[int, Stand] = {}
        self._expected = wire.HELLO
        self._deadline: float | None = time.monotonic() + wire.HELLO_SECONDS
        self._queue = bytearray()
        self._console = bytearray()
        self._door: socket | None = None
        self._last = wire.FIRST
        self._terminal = config.get("terminal_port") is True
        self._window = wire.TERMINAL_WINDOW if self._terminal else wire.REQUEST_MAX
        self.saving: Saving | None = None
        self.shelf: Shelf | None = None
        self.resumes = False
        self._broken = 0

    def serve(self) -> int:
        """Until the container's process has ended; its exit code. Raises Malformed, AtollError for a guest that
        breaks the rules, ends, or does not answer."""
        port = self.started.port.fileno()
        os.set_blocking(port, False)
        self.loop.watch(port, POLLIN, self._port_ready)
        self.loop.watch(self.started.console, POLLIN, lambda _: self._console_ready())
        self.watch_control()
        if self.config.get("resumed"):
            from atoll.guest import saving

            self._expected = 0
            saving.resume(self, self._setup())
        elif self.started.restored:
            self._in_order(wire.HELLO)
        while self.code is None:
            left = None if self._deadline is None else self._deadline - time.monotonic()
            if left is not None and left <= 0:
                raise errors.Timeout("the guest does not answer")
            self.loop.turn(left)
        return self.code

    # -- the guest

    def say(self, data: bytes) -> None:
        """Send a frame when the port takes it, and the guest listens."""
        if self.saving is not None:
            self.saving.kept += data
            _check_queue(self.saving.kept)
        else:
            self.say_now(data)

    def say_now(self, data: bytes) -> None:
        """Send a frame when the port takes it. Raises Malformed for a guest that takes nothing any more: what it is
        owed would fill our memory."""
        self._queue += data
        _check_queue(self._queue)
        self._flush()

    def _flush(self) -> None:
        port = self.started.port.fileno()
        try:
            while self._queue and self._window:
                count = os.write(port, self._queue[: min(1 << 16, self._window)])
                del self._queue[:count]
                if self._terminal:
                    self._window -= count
        except BlockingIOError:
            pass
        except OSError as error:  # it has ended: what it said before is still to be read
            self.met_nobody(error)
            self._queue.clear()
        self.loop.change(port, POLLIN | POLLOUT if self._queue and self._window else POLLIN)

    def _port_ready(self, events: int) -> None:
        if events & POLLOUT:
            self._flush()
        if not events & ~POLLOUT:
            return
        try:
            data = os.read(self.started.port.fileno(), 1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise errors.Unavailable("the machine has ended")
        for kind, stream, session, payload in self._reader.feed(data):
            self._heard(kind, stream, session, payload)

    def _heard(self, kind: int, stream: int, session: int, payload: bytes) -> None:
        if kind in (wire.HELLO, wire.READY):
            if kind != self._expected:
                raise wire.Malformed(f"a frame of kind {kind} out of order")
            self._in_order(kind)
            return
        if kind == wire.TAKEN and self._terminal:
            self._window += wire.parse_credit(payload)
            if self._window > wire.TERMINAL_WINDOW:
                raise wire.Malformed("it has taken more than it was given")
            self._flush()
            return
        if kind == wire.FAILED and self._expected == wire.READY:
            raise wire.parse_error(payload)
        if kind in (wire.HELD, wire.RESUMED):
            from atoll.guest import saving

            saving.heard(self, kind, payload)
            return
        stand = self._stands.get(session)
        if stand is None:
            raise wire.Malformed(f"a frame of kind {kind} for session {session}, which there is not")
        if session == wire.FIRST and kind in (wire.STARTED, wire.FAILED):
            self._deadline = None
        stand.heard(kind, stream, payload)
        if stand.gone:
            self._forget_gone()

    def _in_order(self, kind: int) -> None:
        """3 after 2, 6 after 5."""
        self._deadline = time.monotonic() + wire.ANSWER_SECONDS
        if kind == wire.HELLO:
            self._expected = wire.READY
            self.say(wire.word(wire.SETUP, self._setup()))
            return
        self._expected = 0
        if self.config.get("hold"):
            self._hold()
            return
        first = FirstStand(self, self.end, stdin=self.config["stdin"], terminal=self.config["terminal"])
        self._stands[wire.FIRST] = first
        self.say(wire.word(wire.RUN, self._container()))
        first.begin()
        self._open_door()

    def _hold(self) -> None:
        """A machine to look at what a container has left by (`isolation/files/machine.py`): nothing of the image
        runs; it ends when its input does."""
        self._deadline = None
        self.end.close()
        self._open_door()
        self.loop.watch(0, POLLIN, lambda _: self._let_go())

    def _let_go(self) -> None:
        if not os.read(0, 1 << 12):
            self.loop.forget(0)
            self._deadline = time.monotonic() + wire.ANSWER_SECONDS
            self.say(wire.frame(wire.HALT))

    def go_on(self, taken: int) -> None:
        """A saved machine has been taken over: its container's process runs, with `taken` bytes of input to take."""
        self.expect(None)
        first = FirstStand(self, self.end, stdin=self.config["stdin"], terminal=self.config["terminal"])
        self._stands[wire.FIRST] = first
        first.go_on(taken)
        first.begin()
        self._open_door()

    def expect(self, seconds: float | None) -> None:
        """The guest is to answer within so many seconds; None: there is nothing that it must."""
        self._deadline = None if seconds is None else time.monotonic() + seconds

    def runs(self) -> bool:
        """Whether the container's program does."""
        first = self._stands.get(wire.FIRST)
        return first is not None and first.started

    def end_first(self, code: int) -> None:
        """The machine has done its work: the container ends with `code` when its output is written."""
        self._stands[wire.FIRST].end(code)

    def control(self) -> Control:
        """The VMM's protocol; its events are not taken until `watch_control`."""
        from atoll.vm.qmp import Control

        self.loop.forget(self.started.control.fileno())
        return Control(self.started.control)

    def talk(self) -> machines.Control:
        """The conversation with the VMM, whichever it is; as `control`."""
        if named(self.config["driver"]).saves:
            return self.control()
        assert self.started.talk is not None
        return self.started.talk

    def watch_control(self) -> None:
        """Take the VMM's events."""
        self.loop.watch(self.started.control.fileno(), POLLIN, lambda _: self._control_ready())

    def _container(self) -> dict[str, Any]:
        """With a network it has the guest's, which is the one of its own on the host."""
        wanted: dict[str, Any] = self.config["container"]
        if self.started.links:
            linux = wanted["spec"]["linux"]
            linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "network"]
            sysctl = linux.get("sysctl") or {}
            linux["sysctl"] = {name: value for name, value in sysctl.items() if not name.startswith("net.")}
        return wanted

    def _setup(self) -> dict[str, Any]:
        import binascii

        entropy = binascii.b2a_base64(os.urandom(64), newline=False).decode()
        return {
            **self.config["setup"],
            "entropy": entropy,
            "time": time.time_ns(),
            "links": self.started.links,
            "sysctl": self.config["container"]["spec"]["linux"].get("sysctl") or {},
        }

    def _console_ready(self) -> None:
        """What the guest's kernel writes: the last of it is kept, to be told if the guest fails."""
        data = os.read(self.started.console, 4096)
        if not data:
            self.loop.forget(self.started.console)
        self._console = (self._console + data)[-CONSOLE_MAX:]

    def _control_ready(self) -> None:
        """Events of the VMM's: none is needed; its end shows at the port as well."""
        try:
            if self.started.control.recv(1 << 16):
                return
        except OSError:
            pass
        self.loop.forget(self.started.control.fileno())

    def last_words(self) -> str | None:
        """The end of the guest's console, fit to be shown; None without any. It may have come after all else."""
        os.set_blocking(self.started.console, False)
        try:
            self._console = (self._console + os.read(self.started.console, 1 << 16))[-CONSOLE_MAX:]
        except OSError:
            pass
        lines = bytes(self._console).decode(errors="replace").splitlines()
        told = [line for line in lines if line.strip() and NOISE not in line]
        shown = ["".join([c for c in line if c.isprintable()]) for line in told]
        return f"its console said: {' | '.join(shown[-3:])}" if shown else None

    # -- this side

    def signal(self, number: int) -> None:
        """A signal to the container's process; before there is one it ends the machine, as it would an init."""
        first = self._stands.get(wire.FIRST)
        if first is not None:
            # A pod's own container heeds no signal: to end it is to end the machine, in order.
            first.signal(9 if self.config.get("pod") and number == 15 else number)
        elif number in (1, 2, 3, 15):
            raise errors.Cancelled(f"ended by signal {number} before its program ran")

    def met_nobody(self, error: OSError) -> None:
        """A write of our own failed so: the SIGPIPE that came with EPIPE (write(2)) is no word to the container."""
        self._broken += isinstance(error, BrokenPipeError)

    def heard_signal(self, number: int) -> None:
        """One that reached this process."""
        if number == _signal.SIGPIPE and self._broken:
            self._broken -= 1
        else:
            self.signal(number)

    def _open_door(self) -> None:
        self._door = self.started.door
        self.loop.watch(self._door.fileno(), POLLIN, lambda _: self._admit())

    def _admit(self) -> None:
        assert self._door is not None
        fd, _ = self._door._accept()  # type: ignore[attr-defined]
        peer = socket(AF_UNIX, SOCK_SEQPACKET, 0, fd)
        self.loop.watch(fd, POLLIN, lambda _: self._introduced(peer))

    def _introduced(self, peer: socket) -> None:
        """What a stand-in wants run, with its three descriptors."""
        self.loop.forget(peer.fileno())
        data, ancillary, _, _ = peer.recvmsg(PACKET_MAX << 1, CMSG_LEN(20), MSG_CMSG_CLOEXEC)
        fds = struct.unpack(f"{len(ancillary[0][2]) // 4}i", ancillary[0][2]) if ancillary else ()
        if data and len(fds) == 1:
            from atoll.guest import saving

            saving.begin(self, peer, jsontext.loads(data), fds[0])
            return
        if not data or len(fds) not in (3, 4, 5):
            peer.close()
            return
        if len(self._stands) >= STANDS_MAX:
            error = errors.Exhausted(f"{STANDS_MAX} processes are attached to this machine")
            tell(peer, {"is": "failed", "error": error.to_json()})
            peer.close()
            return
        process = jsontext.loads(data)
        message = {"process": process, "terminal": process.get("terminal") is True, "stdin": True}
        if "files" in process:
            message = {"files": process["files"], "terminal": False, "stdin": True}
        if "pod" in process or "size" in process or "link" in process:
            from atoll.guest import linking, shelf, sizing

            try:
                if "size" in process:
                    message = sizing.request(self, process["size"])
                elif "link" in process:
                    message = linking.request(self, process, fds[3:])
                else:
                    self.shelf = self.shelf or shelf.Shelf(self.control)
                    message = self.shelf.request(process["pod"], fds[3:])
            except (errors.AtollError, OSError) as error:
                told = error if isinstance(error, errors.AtollError) else errors.from_os_error(error, "ask the guest")
                tell(peer, {"is": "failed", "error": told.to_json()})
                peer.close()
                for fd in fds[:3]:
                    os.close(fd)
                return
            finally:
                self.watch_control()
        number, terminal = self._free_number(), message["terminal"]
        stand = DoorStand(self, number, fds[:3], peer, stdin=message["stdin"], terminal=terminal)
        self._stands[number] = stand
        self.say(wire.word(wire.RUN, message, number))
        stand.begin()

    def _free_number(self) -> int:
        while True:
            self._last = self._last % (wire.SESSIONS_MAX - 1) + 1
            if self._last not in self._stands:
                return self._last

    def _forget_gone(self) -> None:
        for number in [number for number, stand in self._stands.items() if stand.gone]:
            del self._stands[number]


def _check_queue(queue: bytes | bytearray) -> None:
    if len(queue) > QUEUE_MAX:
        raise wire.Malformed("it does not take what it is told")


def watch_signals(keeper: Keeper, vmm: int, server: int = 0) -> None:
    """Signals become events: those for the container are passed on, the VMM's end is the machine's. So is that of
    its server of volumes: a guest would wait for its files for ever."""
    out, into = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    _signal.set_wakeup_fd(into, warn_on_full_buffer=False)
    for number in (*FORWARDED, _signal.SIGCHLD):
        _signal.signal(number, _nothing)

    def woken(_: int) -> None:
        for number in os.read(out, 512):
            if number != _signal.SIGCHLD:
                keeper.heard_signal(number)
        ended = [pid for pid, _ in children()]
        if vmm in ended:
            raise errors.Unavailable("the virtual machine monitor has ended")
        if server and server in ended:
            raise errors.Unavailable("the server of its volumes has ended")

    keeper.loop.watch(out, POLLIN, woken)


def _nothing(signum: int, frame: object) -> None:
    """A handler that does nothing, so that the signal reaches the wake-up descriptor."""


def main() -> NoReturn:
    """Keep one machine. Never returns."""
    code = 125
    end = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, SAID)
    os.set_inheritable(SAID, False)
    keeper: Keeper | None = None
    last = -1
    try:
        config, links, taps, last = starting.told(end)
        started = starting.start(config, links, taps)
        keeper = Keeper(config, started, end)
        watch_signals(keeper, started.pid, started.server)
        code = keeper.serve()
        leave_word(last, keeper.known)
    except wire.Malformed as error:
        code = _failed(end, errors.Denied(f"the guest broke the rules of its channel, and was killed: {error}"), last)
    except errors.AtollError as error:
        hint = error.hint or (keeper.last_words() if keeper is not None else None)
        code = _failed(end, type(error)(error.message, hint=hint), last)
    except OSError as error:
        code = _failed(end, errors.from_os_error(error, "keep the virtual machine"), last)
    finally:
        os._exit(code)


def _failed(end: socket, error: errors.AtollError, last: int = -1) -> int:
    """Told where an init would tell it; once the program runs nobody listens there any more: then it is our last
    word, which the container's record keeps."""
    if end.fileno() >= 0:
        tell(end, {"error": error.to_json()})
        return CODES.get(error.kind, 125)
    leave_word(last, {"error": str(error)[:WHY_MAX]})
    return 137
