"""The user's own terminal: raw while a container has it, restored whatever happens, its size passed on.

Holds: `RawTerminal`, `DetachKeys`, `is_terminal`, `size`. Source: termios(3), cfmakeraw.
"""

from __future__ import annotations

import os
import termios

from atoll.base import errors
from atoll.linux import tty

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

_IFLAG, _OFLAG, _CFLAG, _LFLAG, _CC = 0, 1, 2, 3, 6


def is_terminal(fd: int) -> bool:
    """Whether a descriptor is a terminal; a closed one is not."""
    try:
        return os.isatty(fd)
    except OSError:
        return False


def size(fd: int) -> tuple[int, int] | None:
    """(rows, columns), or None where there is no terminal or it does not know."""
    try:
        rows, columns = tty.window_size(fd)
    except OSError:
        return None
    return (rows, columns) if rows and columns else None


class RawTerminal:
    """A block in which the terminal `fd` hands every byte on as it is typed; its settings come back at the end."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._before: list[object] | None = None

    def __enter__(self) -> Self:
        before = termios.tcgetattr(self.fd)
        raw = [*before[:_CC], list(before[_CC])]
        raw[_IFLAG] &= ~(
            termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP | termios.INLCR | termios.IGNCR
            | termios.ICRNL | termios.IXON
        )  # fmt: skip
        raw[_OFLAG] &= ~termios.OPOST
        raw[_LFLAG] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
        raw[_CFLAG] = raw[_CFLAG] & ~(termios.CSIZE | termios.PARENB) | termios.CS8
        raw[_CC][termios.VMIN], raw[_CC][termios.VTIME] = 1, 0
        termios.tcsetattr(self.fd, termios.TCSADRAIN, raw)
        self._before = before
        return self

    def restore(self) -> None:
        """Give the terminal its settings back; twice is fine, and so is a terminal that is gone."""
        if self._before is not None:
            before, self._before = self._before, None
            try:
                termios.tcsetattr(self.fd, termios.TCSADRAIN, before)  # type: ignore[arg-type]
            except (termios.error, OSError):
                pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.restore()


class DetachKeys:
    """Finds the detach sequence in what is typed. Bytes of a sequence that turns out not to be one are passed on."""

    def __init__(self, keys: bytes) -> None:
        self.keys = keys
        self._held = b""

    def feed(self, data: bytes) -> tuple[bytes, bool]:
        """(what to pass on, whether the sequence is complete; then nothing after it counts)."""
        if not self.keys:
            return data, False
        out = bytearray()
        for byte in data:
            self._held += bytes((byte,))
            while not self.keys.startswith(self._held):
                # Not the sequence after all: its first byte was typed for the container; look again from the next.
                out.append(self._held[0])
                self._held = self._held[1:]
            if self._held == self.keys:
                self._held = b""
                return bytes(out), True
        return bytes(out), False


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q`, or single characters, as Docker takes them; empty turns detaching off.

    Raises InvalidArgument.
    """
    keys = bytearray()
    for key in text.split(",") if text else []:
        if len(key) == 1 and key.isascii():
            keys.append(ord(key))
            continue
        letter = key.lower().removeprefix("ctrl-")
        if (
            not key.lower().startswith("ctrl-")
            or len(letter) != 1
            or letter not in "abcdefghijklmnopqrstuvwxyz@[\\]^_"
        ):
            raise errors.InvalidArgument(f"invalid detach key {key!r}", hint="write e.g. ctrl-p,ctrl-q")
        keys.append(ord(letter.upper()) & 0x1F)
    return bytes(keys)
