"""URLs as registries give them, read strictly; enough of RFC 3986 for HTTP.

Holds: `Url`, `parse`, `join`, `quote`, `loopback`. Does not hold: requests. `urllib.parse` would cost a command that
finds nothing new 9 ms (it imports `re`), and takes more than a registry has any reason to send.
"""

from __future__ import annotations

from atoll.base.value import Value

_PORTS = {"https": 443, "http": 80}
_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-._")
_IPV6 = frozenset("0123456789abcdef:.")
_PLAIN = frozenset(b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~")


class Url(Value):
    """An http or https URL. `host` is lower case and without brackets, `target` the path with the query."""

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """Host and port as the Host header has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> tuple[str, str, int]:
        """What credentials are bound to."""
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority}{self.target}"


def parse(text: str) -> Url:
    """An absolute http or https URL; a fragment is dropped. Raises ValueError saying what is wrong."""
    if not text.isascii() or not text.isprintable() or " " in text or "\\" in text:
        raise ValueError("it holds characters that no address has")
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower()
    if not colon or scheme not in _PORTS:
        raise ValueError("it is not HTTP")
    rest = rest.partition("#")[0]
    end = min([at for at in (rest.find("/"), rest.find("?")) if at >= 0], default=len(rest))
    authority, target = rest[:end], rest[end:]
    if "@" in authority:
        raise ValueError("it holds a name or password")
    host, port = split_port(authority)
    number = _PORTS[scheme]
    if port:
        if not port.isdecimal() or len(port) > 5 or not 0 < int(port) < 65536:
            raise ValueError(f"{port!r} is not a port")
        number = int(port)
    return Url(scheme=scheme, host=_host(host.lower()), port=number, target=_target(target))


def _host(host: str) -> str:
    if host.startswith("["):
        inner = host[1:-1]
        if not host.endswith("]") or ":" not in inner or not _IPV6.issuperset(inner):
            raise ValueError(f"{host!r} is not an address in brackets")
        return inner
    if not host or not _HOST.issuperset(host) or ".." in host or host.startswith("."):
        raise ValueError(f"{host!r} is not a host")
    return host


def _target(target: str) -> str:
    return target if target.startswith("/") else "/" + target


def split_port(authority: str) -> tuple[str, str]:
    """Host (in brackets if it is so written) and port ("" if there is none)."""
    if authority.startswith("["):
        host, bracket, tail = authority.partition("]")
        return host + bracket, tail.removeprefix(":")
    host, _, port = authority.partition(":")
    return host, port


def join(base: Url, location: str) -> Url:
    """Where a Location or a Link leads, seen from `base`. Raises ValueError."""
    if location.startswith("//"):
        return parse(f"{base.scheme}:{location}")
    if location.startswith("/"):
        return parse(f"{base.scheme}://{base.authority}{location}")
    if "://" in location.partition("?")[0] or ":" in location.partition("/")[0].partition("?")[0]:
        return parse(location)
    from urllib.parse import urljoin  # a path relative to the last one: rare, and not worth a second set of rules

    return parse(urljoin(str(base), location))


def quote(text: str, *, safe: str = "") -> str:
    """Percent-encoded for a query."""
    kept = _PLAIN | frozenset(safe.encode())
    return "".join([chr(byte) if byte in kept else f"%{byte:02X}" for byte in text.encode()])


def query(url: str, pairs: list[tuple[str, str]]) -> str:
    """The URL with these parameters appended to whatever query it has."""
    words = "&".join([f"{key}={quote(value)}" for key, value in pairs])
    return f"{url}{'&' if '?' in url else '?'}{words}" if words else url


def loopback(host: str) -> bool:
    """Whether a host (no port) is this machine by its very name."""
    name = host.strip("[]").lower()
    return name in ("localhost", "::1") or (name.startswith("127.") and name.replace(".", "").isdecimal())
