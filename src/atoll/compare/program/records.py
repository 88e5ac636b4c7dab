"""What the program writes to its standard output, and reading it: records of four words, some with bytes behind them.

Holds: `Record`, `parse`, the kinds. Does not hold: what writes them (`main.py`). All of it is hostile input: it comes
out of an image's container.
"""

from __future__ import annotations

from struct import unpack_from

from atoll.base import errors
from atoll.base.value import Value

MAGIC = 0x52504D434C4C5441  # "ATLLCMPR"
SIZE = 32
BEGUN, READY, TIMED, CALLS, TRIED, FILE, NAMES = range(1, 8)
"""Kinds: the first instruction; ready to serve; a measure (its number, nanoseconds); what each system call number
answered (first number, length; the bytes); a trial (its number, the answer); a file (its place among those asked for,
its length or minus an error number; its bytes); uname(2) (0, length; the bytes)."""
_WITH_BYTES = frozenset((CALLS, FILE, NAMES))
_MOST = 1 << 20


class Record(Value):
    """One record."""

    kind: int
    number: int
    value: int
    content: bytes = b""


def parse(output: bytes) -> list[Record]:
    """The records of a run; a last one that is not whole is left out. What is not a record (an engine's own words on
    the same stream) is skipped. Raises Corrupt for lengths beyond what is written."""
    found = []
    mark = MAGIC.to_bytes(8, "little")
    at = output.find(mark)
    while at >= 0 and at + SIZE <= len(output):
        kind, number, value = unpack_from("<QQq", output, at + 8)
        at += SIZE
        content = b""
        if kind in _WITH_BYTES and value > 0:
            if value > _MOST:
                raise errors.Corrupt(f"the program inside tells of {value} bytes")
            content = output[at : at + value]
            if len(content) < value:
                break
            at += value
        found.append(Record(kind=kind, number=number, value=value, content=content))
        at = output.find(mark, at)
    return found
