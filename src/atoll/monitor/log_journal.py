"""A container's log in systemd's journal, by its native protocol.

Holds: `Journal`, `entry`. Does not hold: which fields an entry has but for the message's own (the plan says), reading
(`engine/containers/journal_log.py`, by journalctl).

One datagram to the socket is one entry: `KEY=value`, a line each, or for a value that holds a newline the key alone,
its length as 64 bits little-endian, the value, a newline. What is too long for a datagram goes as a sealed memfd
whose descriptor is the datagram (systemd's NATIVE_PROTOCOL documentation, memfd_create(2)).

A line longer than 48 KiB becomes several entries (CONTAINER_PARTIAL_MESSAGE=true, as Docker marks them). A journald
that does not read holds a container up for half a second each time that it writes, no more: then what it wrote is
lost and counted, so that a journal that hangs does not take containers along.
"""

from __future__ import annotations

import errno
import os
from _socket import (
    AF_UNIX,
    SCM_RIGHTS,
    SO_SNDBUF,
    SO_SNDTIMEO,
    SOCK_CLOEXEC,
    SOCK_DGRAM,
    SOL_SOCKET,
    socket,
)
from _struct import pack
from fcntl import F_ADD_SEALS, F_SEAL_GROW, F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_WRITE, fcntl

from atoll.base import files

SOCKET = "/run/systemd/journal/socket"
PARTIAL = 48 << 10
"""Most bytes of output in one entry (journald's own LineMax)."""
SEND_SECONDS = 0.5
SEND_BUFFER = 8 << 20
PRIORITY = {1: b"6", 2: b"3"}
"""Informational for standard output, error for standard error: Docker's and podman's."""
_MARK = ("CONTAINER_PARTIAL_MESSAGE", b"true")


def entry(fields: list[tuple[str, bytes]]) -> bytes:
    """The datagram of one entry."""
    parts = []
    for key, value in fields:
        if b"\n" in value:
            parts += [key.encode(), b"\n", pack("<Q", len(value)), value, b"\n"]
        else:
            parts += [key.encode(), b"=", value, b"\n"]
    return b"".join(parts)


class Journal:
    """Sends output to the journal's socket at `path`, line by line. `fields` stand in every entry."""

    def __init__(self, path: str, fields: tuple[tuple[str, str], ...]) -> None:
        self.path = path or SOCKET
        self._fields = entry([(key, value.encode("utf-8", "replace")) for key, value in fields])
        self._socket: socket | None = None
        self._held: dict[int, bytes] = {}

    def write(self, stream: int, data: bytes, now_ns: int) -> None:
        """Log output of a stream (1 or 2); when it happened is for journald to say. Raises OSError; what of `data`
        was not sent is lost."""
        held = self._held.pop(stream, b"")
        *lines, rest = (held + data).split(b"\n")
        for line in lines:
            for start in range(0, max(1, len(line)), PARTIAL):
                piece = line[start : start + PARTIAL]
                self._send(stream, piece, partial=start + PARTIAL < len(line))
        while len(rest) >= PARTIAL:
            self._send(stream, rest[:PARTIAL], partial=True)
            rest = rest[PARTIAL:]
        if rest:
            self._held[stream] = rest

    def close(self) -> None:
        """Send what is held back and close. Raises OSError."""
        try:
            for stream in sorted(self._held):
                self._send(stream, self._held.pop(stream), partial=True)
        finally:
            self._hang_up()

    def _hang_up(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _send(self, stream: int, line: bytes, *, partial: bool) -> None:
        own = [("PRIORITY", PRIORITY.get(stream, b"6")), *([_MARK] if partial else []), ("MESSAGE", line)]
        data = self._fields + entry(own)
        try:
            self._deliver(data)
        except OSError as error:
            self._hang_up()
            if error.errno not in (errno.ECONNREFUSED, errno.ENOTCONN, errno.EPIPE):
                raise
            self._deliver(data)  # journald was started anew

    def _deliver(self, data: bytes) -> None:
        if self._socket is None:
            self._socket = self._connect()
        try:
            self._socket.send(data)
        except OSError as error:
            if error.errno not in (errno.EMSGSIZE, errno.ENOBUFS):
                raise
            self._deliver_file(self._socket, data)

    def _connect(self) -> socket:
        peer = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC)
        try:
            peer.setsockopt(SOL_SOCKET, SO_SNDBUF, SEND_BUFFER)
            peer.setsockopt(SOL_SOCKET, SO_SNDTIMEO, pack("ll", 0, int(SEND_SECONDS * 1_000_000)))
            peer.connect(self.path)
        except BaseException:
            peer.close()
            raise
        return peer

    def _deliver_file(self, peer: socket, data: bytes) -> None:
        fd = os.memfd_create("journal-entry", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        try:
            files.write_all(fd, data)
            fcntl(fd, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE)
            peer.sendmsg([], [(SOL_SOCKET, SCM_RIGHTS, pack("i", fd))])
        finally:
            os.close(fd)
