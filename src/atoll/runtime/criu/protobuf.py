"""Protocol buffers, as much as CRIU's messages use: varints, texts, messages within messages.

Holds: `encode` by a table of fields, `decode` into numbers. Pure.
Source: protobuf.dev "Encoding". A field given as None is left out; a list is a repeated field.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK = (1 << 64) - 1


def encode(fields: dict[int, Any]) -> bytes:
    """A message from its fields by number: int, bool, str, bytes, a dictionary (a message) or a list of these."""
    out = bytearray()
    for number, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            _put(out, number, one)
    return bytes(out)


def _put(out: bytearray, number: int, value: Any) -> None:
    if value is None:
        return
    if isinstance(value, int):  # bool is one
        out += _varint(number << 3 | _VARINT) + _varint(int(value) & _MASK)  # negative ones take ten bytes
        return
    raw = encode(value) if isinstance(value, dict) else value.encode() if isinstance(value, str) else value
    out += _varint(number << 3 | _BYTES) + _varint(len(raw)) + raw


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def decode(data: bytes) -> dict[int, Any]:
    """The fields of a message by number: int, or bytes for texts and messages; the last of a repeated one. Raises
    ValueError."""
    found: dict[int, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _read(data, at)
        kind = tag & 7
        if kind == _VARINT:
            value, at = _read(data, at)
            found[tag >> 3] = value - (1 << 64) if value >> 63 else value
            continue
        size = {_FIXED64: 8, _FIXED32: 4}.get(kind)
        if kind == _BYTES:
            size, at = _read(data, at)
        if size is None or at + size > len(data):
            raise ValueError("a message out of shape")
        found[tag >> 3] = data[at : at + size]
        at += size
    return found


def _read(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(data) and shift < 70:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK, at
        shift += 7
    raise ValueError("a number that does not end")
