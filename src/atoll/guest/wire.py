"""What a keeper and the agent in its guest say to one another, over a serial port: drawn once.

Holds: the drawing, frames and their limits, `FrameReader`. Does not hold: what either does (`keeper.py`, `agent.py`).

    keeper (host, in the jail)                             agent (pid 1 of the guest)
    ------------------------------------------------       --------------------------------------------------
                                                           1 boots, mounts what it needs, opens the port
     2 ◀──────────────────────────────── HELLO {"v": 1}    ... here a template is made: what follows comes anew
     3 SETUP {entropy, time, hostname, links, disks} ───▶  4 renews all that two copies must not share, mounts the
     5 ◀──────────────────────────────────────── READY       image
     6 RUN session {the container's or a process' spec} ▶  7 the runtime makes it
     8 ◀─────────── STARTED session, or FAILED {"error"}
       INPUT, INPUT_END, SIGNAL, RESIZE, CREDIT ───────▶     OUTPUT 1 and 2, CREDIT
    10 ◀─────────────────── ENDED {"code","signal","oom"}  9 the process has ended, and its output is taken
    11 HALT ────────────────────────────────────────────▶ 12 syncs file systems, ends the machine

Saving a machine that runs (`saving.py`, `resume.py`), between 8 and 10; neither says anything else meanwhile:

     a HOLD {"sync"} ───────────────────────────────────▶  b freezes the container, says all that it had to say
     d saves the machine ◀────────────────────────── HELD  c listens for nothing but RESUME
     e RESUME {"copy": false, "time"} to this one, and     f renews what two machines must not share if it is a copy,
       {"copy": true, all of SETUP} to each copy ───────▶    lets the container go on
     g streams flow ◀────────────────── RESUMED {"input"}  ("input": bytes given that no process has taken yet)

A frame is kind, stream, session (16 bit), length (32 bit), all big-endian, and the payload. Each direction of each
stream has a window of WINDOW bytes: what is beyond must wait for CREDIT, so that one reader who does not read never
holds up another's stream or a signal.

Where the port is a terminal (user-mode Linux), whose input stays away for ever once its buffer was full, the agent
says TAKEN (32 bits, the bytes that it has read), and the keeper has TERMINAL_WINDOW bytes under way at most.

Everything from the guest is hostile input: a guest that breaks framing, limits, windows or the order above is killed,
and so is one that does not answer in its time (HELLO_SECONDS, ANSWER_SECONDS). It costs its own container only.
"""

from __future__ import annotations

from _struct import Struct

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSION = 1
HEADER = Struct(">BBHI")
HELLO, SETUP, READY, RUN, STARTED, FAILED, INPUT, INPUT_END, SIGNAL, RESIZE, CREDIT, OUTPUT, ENDED, HALT = range(
    1, 15
)
HOLD, HELD, RESUME, RESUMED, TAKEN = range(15, 20)
TO_HOST = frozenset((HELLO, READY, STARTED, FAILED, CREDIT, OUTPUT, ENDED, HELD, RESUMED, TAKEN))
"""The kinds that a guest may send."""
DATA_MAX = 1 << 14
"""Most bytes of payload in INPUT and OUTPUT."""
WORD_MAX = 1 << 16
"""Most bytes of any other frame of a guest's."""
REQUEST_MAX = 32 << 20
"""Most bytes of a frame of the keeper's: SETUP carries files, RUN a whole spec."""
WINDOW = 1 << 17
"""Bytes of one stream that may be under way."""
SESSIONS_MAX = 1024
TERMINAL_WINDOW = 2048
"""Bytes to a guest whose port is a terminal: half of what that holds (N_TTY_BUF_SIZE)."""
FIRST = 0
"""The session of the container's own process."""
PORT = "org.atoll.agent"

HELLO_SECONDS = 120.0
"""How long a guest may take to boot: software emulation on a busy machine is slow."""
ANSWER_SECONDS = 60.0
"""How long it may take for anything else that it is asked."""


class Malformed(Exception):
    """The guest broke the framing, a limit, a window or the order: it is to be killed."""


def frame(kind: int, session: int = FIRST, payload: bytes | memoryview = b"", stream: int = 0) -> bytes:
    """One frame, ready to send. The caller keeps to the limits."""
    return HEADER.pack(kind, stream, session, len(payload)) + payload


def word(kind: int, message: dict[str, Any], session: int = FIRST) -> bytes:
    """A frame that carries a JSON object."""
    return frame(kind, session, jsontext.dumps(message).encode())


def credit(session: int, stream: int, count: int) -> bytes:
    """`count` bytes of a stream have been taken: as many more may come."""
    return frame(CREDIT, session, count.to_bytes(4, "big"), stream)


def parse(payload: bytes) -> dict[str, Any]:
    """The object in a frame. Raises Malformed."""
    try:
        message = jsontext.loads(payload)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"not JSON: {error}") from None
    if not isinstance(message, dict):
        raise Malformed("not an object")
    return message


def parse_credit(payload: bytes) -> int:
    """The bytes given back. Raises Malformed."""
    if len(payload) != 4:
        raise Malformed("a credit is a number of 32 bits")
    return int.from_bytes(payload, "big")


def parse_error(payload: bytes) -> errors.AtollError:
    """The error that a guest tells of, in words short enough to be shown. Raises Malformed."""
    told = errors.from_json(parse(payload).get("error"))
    hint = None if told.hint is None else _plain(told.hint)
    return type(told)(_plain(told.message), hint=hint)


def _plain(text: str) -> str:
    """Without what could steer the terminal of whoever reads it."""
    return "".join([c if c.isprintable() else "?" for c in text[:4096]])


class FrameReader:
    """Cuts a byte stream into frames, holding at most one frame and one `feed` beyond it. `guest`: only what a guest
    may send is let through, within its limits."""

    __slots__ = ("_buffer", "_guest")

    def __init__(self, *, guest: bool) -> None:
        self._buffer = bytearray()
        self._guest = guest

    def feed(self, data: bytes) -> list[tuple[int, int, int, bytes]]:
        """The frames (kind, stream, session, payload) completed by `data`. Raises Malformed; of no use after that."""
        buffer = self._buffer
        buffer += data
        frames: list[tuple[int, int, int, bytes]] = []
        position, end = 0, len(buffer)
        while end - position >= HEADER.size:
            kind, stream, session, length = HEADER.unpack_from(buffer, position)
            self._check(kind, stream, session, length)
            stop = position + HEADER.size + length
            if stop > end:
                break
            frames.append((kind, stream, session, bytes(buffer[position + HEADER.size : stop])))
            position = stop
        if position:
            del buffer[:position]
        return frames

    def _check(self, kind: int, stream: int, session: int, length: int) -> None:
        if not HELLO <= kind <= TAKEN or (self._guest and kind not in TO_HOST):
            raise Malformed(f"a frame of kind {kind}")
        if stream > 2 or session >= SESSIONS_MAX:
            raise Malformed(f"a frame of stream {stream}, session {session}")
        most = DATA_MAX if kind in (INPUT, OUTPUT) else WORD_MAX if self._guest else REQUEST_MAX
        if length > most:
            raise Malformed(f"a frame of {length} bytes")
