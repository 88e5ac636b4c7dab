"""The wire between commands, spawner and monitors: one framing, drawn once.

Holds: the drawing, frames and their limits, `FrameReader`, version rules. Does not hold: the requests themselves
(`requests.py`), sockets and who may speak (`sockets.py`).

    command                            spawner                  monitor, forked by the spawner
     1 connect ──────────────────────▶ 2 accept, same uid?
                                       3 fork ────────────────▶ 4 owns the connection alone
     5 request {"do","v",…} ──────────────────────────────────▶ 6 refuse a newer v; take the caller's rlimits
                                                                7 runtime.create: the init waits at its fifo
                                                                8 record it, listen on <run>/attach.sock
    10 ◀────────────────────────────────────── {"is":"created"} 9
    11 {"do":"start"} ────────────────────────────────────────▶ 12 open the fifo, wait until the program is exec'd
    14 ◀─────────────────── {"is":"started"} or {"is":"error"} 13
       streams 0 (in), 1 and 2 (out), until
    17 ◀──────────────────────── {"is":"exit","exit":n,…}       15 output drained  16 exit.json, runtime.delete
    18 clean up, {"do":"cleaned"} ───────────────────────────▶ 19 end; without 18 run the clean-up command first

- 5 may come any time after 1, so that a command connects first and prepares its request meanwhile. An exec session
  is the same with {"do":"exec"}, without 8, 11 and 12. Without a spawner the command starts the monitor itself and
  1 to 4 are a socket pair.
- Another command attaches by connecting to <run>/attach.sock: {"do":"attach"} → {"is":"attached"}, then as above.
- A command that finds a container without a monitor asks as in 5, with {"do":"adopt"} → {"is":"adopted"} or, where
  somebody keeps it after all, {"is":"kept"}; `takeover.py` draws it.
- At any time a command sends {"do":"resize","rows","cols"}, {"do":"signal","signal"}, {"do":"close-stdin"},
  {"do":"promise"} (it will clean up: 18) or {"do":"detach"}; a monitor answers what it cannot do with
  {"is":"warning","error"} and goes on.
- Input has a window: a command sends at most WINDOW bytes of stream 0 beyond what {"is":"credit","bytes"} gave back,
  so that a container that does not read never holds up the control frames behind its input.
- A frame is Docker's: one byte stream, three zero bytes, the length as a big-endian 32-bit number, the payload.
  Stream 8 (no stream of Docker's) carries control as JSON objects. Whoever breaks framing, limits or window is
  dropped; a monitor loses that client and nothing else.
- Versions: a monitor understands requests of its own version and the one before, and refuses newer ones by
  {"is":"error"}, upon which a command asks again in the version before its own. {"is":"attached","v"} says the
  monitor's, and a command refuses a newer one. Unknown keys and unknown "is" are passed over.
"""

from __future__ import annotations

from _struct import Struct

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
OLDEST = 1
"""The first version that there was."""

ATTACH_SOCKET = "attach.sock"
"""In a container's run directory: where its monitor listens."""
NETWORK_SOCKET = "network.sock"
"""There, too: where an ordinary user's command waits for the container's network namespace (`creator.py`)."""

STDIN, STDOUT, STDERR, CONTROL = 0, 1, 2, 8

HEADER = Struct(">B3xI")
DATA_MAX = 1 << 16
"""Most bytes of payload in a frame of a data stream."""
CONTROL_MAX = 1 << 16
"""Most bytes of a control frame, but for the first one of a connection."""
REQUEST_MAX = 16 << 20
"""Most bytes of the first frame: an image's environment may be large, and the request carries it."""
WINDOW = 1 << 18
"""Bytes of input that a command may have under way."""
FDS_MAX = 8
"""Most descriptors that come with a request."""


class Malformed(Exception):
    """The peer broke the framing, a limit or the shape of a message; it is to be dropped."""


def frame(stream: int, payload: bytes | bytearray | memoryview) -> bytes:
    """One frame, ready to send. The caller keeps to the limits."""
    return HEADER.pack(stream, len(payload)) + payload


def control(message: dict[str, Any]) -> bytes:
    """A control frame."""
    return frame(CONTROL, jsontext.dumps(message).encode())


def parse_control(payload: bytes) -> dict[str, Any]:
    """The message of a control frame. Raises Malformed."""
    try:
        message = jsontext.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"control frame: {error}") from None
    if not isinstance(message, dict):
        raise Malformed("control frame: not an object")
    return message


def check_version(message: dict[str, Any]) -> None:
    """Refuse a request of a newer protocol. Raises Unsupported, or Malformed without a version."""
    version = message.get("v")
    if not isinstance(version, int) or isinstance(version, bool) or version < 1:
        raise Malformed("request without a protocol version")
    if version > VERSION:
        raise errors.Unsupported(
            f"the request speaks version {version} of the monitor protocol, this monitor {VERSION} at most",
            hint="use the newest installed atoll for this container",
        )


def check_monitor(version: int) -> None:
    """Refuse a container that a newer Atoll keeps company. Raises Unsupported."""
    if version > VERSION:
        raise errors.Unsupported(
            f"a newer Atoll keeps this container: its monitor speaks version {version}, we {VERSION} at most",
            hint="use the newest installed atoll for this container",
        )


class FrameReader:
    """Cuts a byte stream into frames, holding at most one frame and one `feed` beyond it.

    `limit` bounds a control frame; set it to REQUEST_MAX for the first frame of a connection.
    """

    __slots__ = ("_buffer", "limit")

    def __init__(self, limit: int = CONTROL_MAX) -> None:
        self._buffer = bytearray()
        self.limit = limit

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames completed by `data`, in order. Raises Malformed; the reader is of no use after that."""
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, bytes]] = []
        position, end = 0, len(buffer)
        while end - position >= 8:
            stream, length = HEADER.unpack_from(buffer, position)
            self._check(stream, length, buffer[position + 1 : position + 4])
            stop = position + 8 + length
            if stop > end:
                break
            frames.append((stream, bytes(buffer[position + 8 : stop])))
            position = stop
        if position:
            del buffer[:position]
        return frames

    def _check(self, stream: int, length: int, padding: bytearray) -> None:
        if padding != b"\0\0\0":
            raise Malformed("frame header without its zeros")
        if stream == CONTROL:
            if length > self.limit:
                raise Malformed(f"control frame of {length} bytes")
        elif stream > STDERR:
            raise Malformed(f"frame of unknown stream {stream}")
        elif length > DATA_MAX:
            raise Malformed(f"data frame of {length} bytes")

    @property
    def partial(self) -> bool:
        """Whether the stream stopped within a frame."""
        return bool(self._buffer)
