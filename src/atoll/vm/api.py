"""The HTTP API of a VMM, on a socket that it makes: one request a connection.

Holds: `Api`, `Request`. Does not hold: what is asked (`api_driver.py`, `firecracker.py`, `cloud_hypervisor.py`).
The VMM is the first thing that a guest takes over if it can: its answers are bounded in size and time, and nothing
in them is believed beyond "it was done" and "it was not".
"""

from __future__ import annotations

import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket
from select import POLLIN, poll

from atoll.base import errors, jsontext
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

ANSWER_MAX = 1 << 16
PAUSE = 0.005
"""Seconds between two looks for a socket that the VMM has still to make."""


class Request(Value):
    """`body` as JSON; None for none."""

    method: str
    path: str
    body: Any = None


class Api:
    """The API at `path`; `seconds` is the patience with each answer, and with the socket's appearance."""

    def __init__(self, path: str, seconds: float = 30.0) -> None:
        self._path, self._seconds = path, seconds

    def ask(self, request: Request) -> None:
        """Have it done. Raises Unavailable when it is refused or the VMM has gone, Timeout."""
        deadline = time.monotonic() + self._seconds
        end = self._connect(deadline)
        try:
            body = b"" if request.body is None else jsontext.dumps(request.body).encode()
            head = f"{request.method} {request.path} HTTP/1.1\r\nHost: localhost\r\nAccept: application/json\r\n"
            head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
            end.sendall(head.encode() + body)
            status, said = _answer(end, deadline)
        except OSError as error:
            raise errors.Unavailable(f"the virtual machine monitor has gone: {error.strerror}") from None
        finally:
            end.close()
        if not 200 <= status < 300:
            raise errors.Unavailable(f"the virtual machine monitor refused {request.path}: {_shown(said) or status}")

    def _connect(self, deadline: float) -> socket:
        while True:
            end = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
            try:
                end.connect(self._path)
                return end
            except OSError as error:
                end.close()
                if time.monotonic() > deadline:
                    raise errors.Timeout(f"the virtual machine monitor has no API: {error.strerror}") from None
                time.sleep(PAUSE)


def _answer(end: socket, deadline: float) -> tuple[int, bytes]:
    """Status and body of an HTTP/1.1 response whose length is told (RFC 9112)."""
    poller = poll()
    poller.register(end, POLLIN)
    data = b""
    while True:
        head, separator, body = data.partition(b"\r\n\r\n")
        if separator and len(body) >= _length(head):
            break
        if len(data) > ANSWER_MAX:
            raise errors.Unavailable("the virtual machine monitor says too much")
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise errors.Timeout("the virtual machine monitor does not answer")
        more = end.recv(ANSWER_MAX)
        if not more:
            raise errors.Unavailable("the virtual machine monitor has gone")
        data += more
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[0].startswith(b"HTTP/1.") or not words[1].isdigit():
        raise errors.Unavailable("the virtual machine monitor talks nonsense")
    return int(words[1][:3]), body


def _length(head: bytes) -> int:
    for line in head.lower().split(b"\r\n")[1:]:
        name, _, value = line.partition(b":")
        if name == b"content-length" and value.strip().isdigit():
            return min(int(value.strip()[:9]), ANSWER_MAX)
    return 0


def _shown(body: bytes) -> str:
    text = body.decode(errors="replace")
    try:
        found = jsontext.loads(body)
        text = str(found["fault_message"])  # Firecracker's Error
    except (ValueError, RecursionError, KeyError, TypeError):
        pass
    return "".join([c if c.isprintable() else " " for c in text[:300]]).strip()
