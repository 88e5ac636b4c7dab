"""A D-Bus client that is large enough to ask systemd for a scope: one connection, one call at a time.

Holds: `Bus`, the wire format (`marshal`, `unmarshal`). Does not hold: what is asked (`systemd.py`).
Source: the D-Bus Specification, "Message Protocol" and "Authentication Protocol". A value of type `v` is a pair of
its signature and itself, structs are tuples, arrays lists, dictionaries dicts.
"""

from __future__ import annotations

import os
import struct
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NUMBERS = {"y": "B", "b": "I", "n": "h", "q": "H", "i": "i", "u": "I", "x": "q", "t": "Q", "d": "d"}
_ALIGNMENT = {"n": 2, "q": 2, "i": 4, "u": 4, "b": 4, "s": 4, "o": 4, "a": 4, "x": 8, "t": 8, "d": 8, "(": 8, "{": 8}
_MOST = 1 << 27  # bytes of a message, by the specification
_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
_PATH, _INTERFACE, _MEMBER, _NAME, _REPLY_TO, _DESTINATION, _SENDER, _SIGNATURE = 1, 2, 3, 4, 5, 6, 7, 8


class Refused(Exception):
    """An error that the other side answered with: its D-Bus name and words."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(f"{words} ({name})")
        self.name = name


class Message:
    """What came: its kind, header fields by number, and body."""

    def __init__(self, kind: int, fields: dict[int, Any], body: list[Any]) -> None:
        self.kind, self.fields, self.body = kind, fields, body


class Bus:
    """A connection to a message bus. Raises OSError, ValueError for an answer out of shape."""

    def __init__(self, address: str, *, timeout: float = 30.0) -> None:
        self._socket = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
        self._socket.settimeout(timeout)
        self._timeout = timeout
        self._serial = 0
        self._waiting: list[Message] = []
        self._buffer = b""
        try:
            self._socket.connect(_path_of(address))
            self._authenticate()
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")
        except BaseException:
            self._socket.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()

    def _authenticate(self) -> None:
        # Without a name of ours: the bus takes the one that the kernel tells it, which is right from any namespace.
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        said = b""
        while said.count(b"\r\n") < 2:
            data = self._socket.recv(4096)
            if not data:
                raise ConnectionResetError(104, f"the bus refused us: {said.decode(errors='replace').strip()}")
            said += data
            if said.startswith(b"REJECTED"):
                raise PermissionError(13, "the bus does not know this user")
        _, second, self._buffer = said.split(b"\r\n", 2)
        if not second.startswith(b"OK"):
            raise PermissionError(13, f"the bus refused us: {second.decode(errors='replace')}")

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *values: Any
    ) -> list[Any]:
        """Call a method and return the values of its answer. Raises Refused."""
        self._serial += 1
        serial = self._serial
        fields = [(_PATH, ("o", path)), (_INTERFACE, ("s", interface)), (_MEMBER, ("s", member))]
        fields.append((_DESTINATION, ("s", destination)))
        if signature:
            fields.append((_SIGNATURE, ("g", signature)))
        body = marshal(signature, values)
        head = marshal("yyyyuua(yv)", (ord("l"), _CALL, 0, 1, len(body), serial, fields))
        self._socket.sendall(head + b"\0" * (-len(head) % 8) + body)
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._receive(deadline)
            if message.kind in (_RETURN, _ERROR) and message.fields.get(_REPLY_TO) == serial:
                if message.kind == _ERROR:
                    words = message.body[0] if message.body and isinstance(message.body[0], str) else ""
                    raise Refused(str(message.fields.get(_NAME)), words)
                return message.body
            if message.kind == _SIGNAL:
                self._waiting.append(message)

    def signal(self, member: str) -> list[Any]:
        """The next signal of that name, of those that came since the connection was made. Raises TimeoutError."""
        deadline = time.monotonic() + self._timeout
        while True:
            message = self._waiting.pop(0) if self._waiting else self._receive(deadline)
            if message.kind == _SIGNAL and message.fields.get(_MEMBER) == member:
                return message.body

    def _receive(self, deadline: float) -> Message:
        head = self._take(16, deadline)
        if head[:1] != b"l":
            raise ValueError("a message in the other byte order")
        kind = head[1]
        length, _, array = struct.unpack_from("<III", head, 4)
        if length + array > _MOST:
            raise ValueError("a message larger than any may be")
        rest = self._take((array + 7) & ~7, deadline)
        (pairs,) = unmarshal("a(yv)", head[12:] + rest, origin=12)
        fields = {number: value for number, (_, value) in pairs}
        body = self._take(length, deadline)
        return Message(kind, fields, unmarshal(fields.get(_SIGNATURE, ""), body))

    def _take(self, size: int, deadline: float) -> bytes:
        while len(self._buffer) < size:
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(110, "the bus did not answer in time")
            self._socket.settimeout(left)
            data = self._socket.recv(1 << 16)
            if not data:
                raise ConnectionResetError(104, "the bus closed the connection")
            self._buffer += data
        taken, self._buffer = self._buffer[:size], self._buffer[size:]
        return taken


def system_address() -> str:
    """Where the system's bus is."""
    return os.environ.get("DBUS_SYSTEM_BUS_ADDRESS") or "unix:path=/run/dbus/system_bus_socket"


def user_address() -> str:
    """Where this user's bus is. Raises Unavailable."""
    address = os.environ.get("DBUS_SESSION_BUS_ADDRESS")
    if address:
        return address
    folder = os.environ.get("XDG_RUNTIME_DIR")
    if not folder:
        raise errors.Unavailable("this user has no bus: neither DBUS_SESSION_BUS_ADDRESS nor XDG_RUNTIME_DIR is set")
    return f"unix:path={folder}/bus"


def _path_of(address: str) -> str:
    """The first unix address of a list. Raises ValueError."""
    for one in address.split(";"):
        transport, _, rest = one.partition(":")
        keys = dict([pair.partition("=")[::2] for pair in rest.split(",")])
        if transport == "unix" and "path" in keys:
            return _unescaped(keys["path"])
        if transport == "unix" and "abstract" in keys:
            return "\0" + _unescaped(keys["abstract"])
    raise ValueError(f"no unix address in {address!r}")


def _unescaped(text: str) -> str:
    head, *parts = text.split("%")
    raw = head.encode() + b"".join([bytes((int(part[:2], 16),)) + part[2:].encode() for part in parts])
    return os.fsdecode(raw)


# --- the wire format ----------------------------------------------------------------------------------------------


def marshal(signature: str, values: Any) -> bytes:
    """Values as bytes, little-endian, from an 8-byte boundary on. Raises struct.error, ValueError."""
    out = bytearray()
    for kind, value in zip(complete(signature), values, strict=True):
        _put(out, kind, value)
    return bytes(out)


def unmarshal(signature: str, data: bytes, *, origin: int = 0) -> list[Any]:
    """The values of a signature; `data` begins `origin` bytes after an 8-byte boundary. Raises ValueError."""
    reader = _Reader(b"\0" * origin + data, origin)
    try:
        return [reader.take(kind) for kind in complete(signature)]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        raise ValueError(f"a message that ends too early: {error}") from None


def complete(signature: str) -> list[str]:
    """The single complete types of a signature: `a{sv}(ii)u` is three. Raises ValueError."""
    found, index = [], 0
    while index < len(signature):
        end = _end_of(signature, index)
        found.append(signature[index:end])
        index = end
    return found


def _end_of(signature: str, index: int) -> int:
    while signature[index : index + 1] == "a":
        index += 1
    first = signature[index : index + 1]
    if first not in ("(", "{"):
        if first not in _NUMBERS and first not in ("s", "o", "g", "v"):
            raise ValueError(f"no signature: {signature!r}")
        return index + 1
    depth = 0
    for at in range(index, len(signature)):
        depth += (signature[at] in "({") - (signature[at] in ")}")
        if depth == 0:
            return at + 1
    raise ValueError(f"no signature: {signature!r}")


def _pad(out: bytearray, kind: str) -> None:
    out.extend(b"\0" * (-len(out) % _ALIGNMENT.get(kind[0], 1)))


def _put(out: bytearray, kind: str, value: Any) -> None:
    _pad(out, kind)
    if kind in _NUMBERS:
        out.extend(struct.pack("<" + _NUMBERS[kind], value))
    elif kind in ("s", "o"):
        raw = value.encode()
        out.extend(struct.pack("<I", len(raw)) + raw + b"\0")
    elif kind == "g":
        raw = value.encode()
        out.extend(bytes((len(raw),)) + raw + b"\0")
    elif kind == "v":
        _put(out, "g", value[0])
        _put(out, value[0], value[1])
    elif kind[0] == "a":
        at = len(out)
        out.extend(b"\0\0\0\0")
        _pad(out, kind[1:])  # not counted in the length
        start = len(out)
        for one in value.items() if isinstance(value, dict) else value:
            _put(out, kind[1:], one)
        struct.pack_into("<I", out, at, len(out) - start)
    else:
        for inner, one in zip(complete(kind[1:-1]), value, strict=True):
            _put(out, inner, one)


class _Reader:
    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at

    def take(self, kind: str) -> Any:
        """One value of a complete type."""
        self.at += -self.at % _ALIGNMENT.get(kind[0], 1)
        if kind in _NUMBERS:
            (value,) = struct.unpack_from("<" + _NUMBERS[kind], self.data, self.at)
            self.at += struct.calcsize("<" + _NUMBERS[kind])
            return bool(value) if kind == "b" else value
        if kind in ("s", "o", "g"):
            size = self.data[self.at] if kind == "g" else struct.unpack_from("<I", self.data, self.at)[0]
            self.at += 1 if kind == "g" else 4
            raw = self.data[self.at : self.at + size]
            if len(raw) != size:
                raise ValueError("a text longer than its message")
            self.at += size + 1
            return raw.decode()
        if kind == "v":
            inner = self.take("g")
            return inner, self.take(inner)
        if kind[0] == "a":
            return self._array(kind[1:])
        return tuple([self.take(inner) for inner in complete(kind[1:-1])])

    def _array(self, kind: str) -> Any:
        (size,) = struct.unpack_from("<I", self.data, self.at)
        self.at += 4
        self.at += -self.at % _ALIGNMENT.get(kind[0], 1)
        end, found = self.at + size, []
        if end > len(self.data):
            raise ValueError("an array longer than its message")
        while self.at < end:
            found.append(self.take(kind))
        return dict(found) if kind[0] == "{" else found
