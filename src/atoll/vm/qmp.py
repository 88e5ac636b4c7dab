"""QEMU's machine protocol (QMP): one JSON object a line, over a socket that we made.

Holds: `Control`. Does not hold: what is asked (`guest/keeper.py`, `template.py`). Source: docs/interop/qmp-spec.txt.
The VMM is the first thing that a guest takes over if it can: its answers are bounded in size, number and time, and
nothing in them is believed beyond "it was done" and "it was not".
"""

from __future__ import annotations

import time
from _socket import SCM_RIGHTS, SOL_SOCKET
from _struct import pack
from select import POLLIN, poll

from atoll.base import errors, jsontext
from atoll.vm import machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

LINE_MAX = 1 << 16
LINES_MAX = 256
"""Lines that may come before an answer: a machine that is restored tells of a few dozen events."""


class Control(machine.Control):
    """One connection; `seconds` is the patience with each answer."""

    def __init__(self, connection: socket, seconds: float = 30.0) -> None:
        self._connection = connection
        self._seconds = seconds
        self._buffer = bytearray()

    def greet(self) -> None:
        """Take its greeting and leave negotiation. Raises AtollError."""
        self._line(time.monotonic() + self._seconds)
        self.ask("qmp_capabilities")

    def resize(self, memory: int) -> None:
        """By the balloon (virtio-balloon), which the guest fills as it can. Raises as `ask`."""
        self.ask("balloon", value=memory << 20)

    def give(self, name: str, fd: int) -> None:
        """Hand it a copy of a descriptor, which its commands call `name`. Raises as `ask`."""
        self.ask("getfd", fds=(fd,), fdname=name)

    def ask(self, command: str, fds: tuple[int, ...] = (), **arguments: Any) -> Any:
        """What a command returns. Raises Unavailable when it fails, is not answered, or the VMM has gone."""
        message = {"execute": command, **({"arguments": arguments} if arguments else {})}
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))] if fds else []
        try:
            self._connection.sendmsg([jsontext.dumps(message).encode() + b"\n"], rights)
        except OSError as error:
            raise errors.Unavailable(f"the virtual machine monitor has gone: {error.strerror}") from None
        deadline = time.monotonic() + self._seconds
        for _ in range(LINES_MAX):
            said = self._line(deadline)
            if "return" in said:
                return said["return"]
            if "error" in said:
                raise errors.Unavailable(f"the virtual machine monitor refused {command!r}: {_shown(said['error'])}")
        raise errors.Unavailable(
            f"the virtual machine monitor did not answer {command!r}, but talked of other things"
        )

    def wait_for(self, command: str, key: str, good: str, pending: tuple[str, ...], seconds: float) -> None:
        """Ask again and again until `key` of what it returns is `good`. Raises Unavailable for any word that is not
        `pending`, Timeout."""
        deadline = time.monotonic() + seconds
        while True:
            found = self.ask(command)
            word = found.get(key) if isinstance(found, dict) else None
            if word == good:
                return
            if word is not None and word not in pending:
                raise errors.Unavailable(f"the virtual machine monitor says {_shown(word)} to {command!r}")
            if time.monotonic() > deadline:
                raise errors.Timeout(f"the virtual machine monitor was not done within {seconds:.0f} s")
            time.sleep(0.002)

    def _line(self, deadline: float) -> dict[str, Any]:
        poller = poll()
        poller.register(self._connection, POLLIN)
        while b"\n" not in self._buffer:
            if len(self._buffer) > LINE_MAX:
                raise errors.Unavailable("the virtual machine monitor says too much")
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                raise errors.Timeout("the virtual machine monitor does not answer")
            try:
                data = self._connection.recv(LINE_MAX)
            except OSError:
                data = b""
            if not data:
                raise errors.Unavailable("the virtual machine monitor has gone")
            self._buffer += data
        line, _, rest = self._buffer.partition(b"\n")
        self._buffer = bytearray(rest)
        try:
            said = jsontext.loads(bytes(line))
        except (ValueError, RecursionError):
            said = None
        if not isinstance(said, dict):
            raise errors.Unavailable("the virtual machine monitor talks nonsense")
        return said


def _shown(word: Any) -> str:
    text = str(word.get("desc")) if isinstance(word, dict) else str(word)
    return "".join([c if c.isprintable() else "?" for c in text[:300]])
