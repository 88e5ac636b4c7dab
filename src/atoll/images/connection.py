"""Connections: names to addresses, addresses to sockets, TLS and proxies on top.

Holds: `Connector`, `addresses`, `reach`. Does not hold: HTTP (`http.py`), what may be redirected where
(`transport.py`). A connection goes to an address that the caller's rule has seen: between the check and the
connection nobody can answer the same name differently. Several addresses are tried 250 ms apart, so that a broken
IPv6 route costs no more (RFC 8305, "Happy Eyeballs").
"""

from __future__ import annotations

import _socket
import os
import select
import time

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.images import http

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    from atoll.images.proxy import Proxy
    from atoll.images.url import Url
    from atoll.images.values import Tls

    Rule = Callable[[str], None]

_STAGGER = 0.25
_INPROGRESS = 115  # errno(3): EINPROGRESS
_MOST_ADDRESSES = 16


class NoSuchHost(OSError):
    """The name has no address."""


class Connector:
    """Makes connections for one registry. `tls` is its own trust; its client certificate is shown to `own` only."""

    def __init__(self, own: str, tls: Tls, *, timeout: float) -> None:
        self.own = own
        self.timeout = timeout
        self._tls = tls
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def connect(self, url: Url, proxy: Proxy | None, rule: Rule) -> Any:
        """A socket that leads to `url`'s host, with TLS if that is https. Behind a proxy names are the proxy's to
        resolve, so that `rule` sees literal addresses only. Raises OSError, ssl.SSLError and what `rule` raises."""
        with Rollback() as undo:
            if proxy is None:
                sock = dial(addresses(url.host, url.port), rule, self.timeout)
                undo.push(sock.close)
            else:
                if url.host.replace(".", "").isdecimal() or ":" in url.host:
                    rule(url.host)
                sock = dial(addresses(proxy.host, proxy.port), _any, self.timeout)
                undo.push(sock.close)
                if url.scheme == "https":
                    self._tunnel(sock, url, proxy)
            sock.settimeout(self.timeout)
            if url.scheme == "https":
                sock = self._secure(sock, url.host)
            undo.release()
            return sock

    def _tunnel(self, sock: Any, url: Url, proxy: Proxy) -> None:
        """CONNECT (RFC 9110, 9.3.6)."""
        host = f"[{url.host}]" if ":" in url.host else url.host
        target = f"{host}:{url.port}"
        given = {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}
        sock.settimeout(self.timeout)
        http.send(sock, "CONNECT", target, {"Host": target, **given})
        wire = http.Wire(sock)
        status = http.receive(wire, "HEAD", self.timeout).status
        if status // 100 != 2 or wire.buffer:
            raise errors.Denied(
                f"the proxy {proxy.host}:{proxy.port} answers {status} when asked for {target}",
                hint="see HTTPS_PROXY and NO_PROXY",
            )

    def _secure(self, sock: Any, host: str) -> Any:
        import socket

        own = host == self.own
        context = self._contexts.get(own)
        if context is None:
            context = self._contexts[own] = make_context(self._tls, own=own)
        # The TLS module wants the library's own socket class; the descriptor moves over.
        library = socket.socket(fileno=sock.detach())
        try:
            library.settimeout(self.timeout)
            return context.wrap_socket(library, server_hostname=host)
        except BaseException:
            library.close()
            raise


def make_context(tls: Tls, *, own: bool) -> ssl.SSLContext:
    """Whom to trust: the system's authorities and the registry's own; with `own` also the client certificate.

    Raises InvalidArgument for a file that cannot be used.
    """
    import ssl

    try:
        context = ssl.create_default_context()
        for path in tls.ca_files:
            context.load_verify_locations(path)
        if own and tls.insecure:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        for certificate, key in tls.client_certificates if own else ():
            context.load_cert_chain(certificate, key)
    except OSError as error:  # ssl.SSLError too
        where = getattr(error, "filename", None)
        raise errors.InvalidArgument(
            f"cannot use the certificates for {tls.name}: {where or ''} {error.strerror or error}".replace("  ", " "),
            hint="see docs/registries.md for where they are looked for",
        ) from error
    return context


def _any(_: str) -> None:
    return


def addresses(host: str, port: int) -> list[tuple[int, Any]]:
    """(family, socket address) of a host, IPv6 and IPv4 in turn, at most 16. Raises NoSuchHost."""
    found = resolved(host, port)
    if not found:
        raise NoSuchHost(f"no such host: {host}")
    first = found[0][0]
    one, other = [x for x in found if x[0] == first], [x for x in found if x[0] != first]
    mixed = [x for pair in zip(one, other, strict=False) for x in pair]
    return [*mixed, *one[len(other) :], *other[len(one) :]][:_MOST_ADDRESSES]


def resolved(host: str, port: int) -> list[tuple[int, Any]]:
    """What the resolver says, in its order; empty when it knows nothing."""
    try:
        # As bytes: a text would load the IDNA tables, 5 ms, for what is ASCII by grammar.
        found = _socket.getaddrinfo(host.encode("ascii"), port, 0, _socket.SOCK_STREAM)
    except (_socket.gaierror, UnicodeError):
        return []
    known = (_socket.AF_INET, _socket.AF_INET6)
    return [(int(one[0]), one[4]) for one in found if one[0] in known]


def dial(candidates: list[tuple[int, Any]], rule: Rule, timeout: float) -> Any:
    """The first socket that connects; the others are closed. Every address goes through `rule` before any is used.

    Raises the last OSError, TimeoutError, and what `rule` raises.
    """
    for _, address in candidates:
        rule(address[0])
    deadline = time.monotonic() + timeout
    waiting: dict[int, _socket.socket] = {}
    problem: OSError = TimeoutError("timed out")
    remaining = list(candidates)
    poll = select.poll()
    try:
        while remaining or waiting:
            if remaining:
                family, address = remaining.pop(0)
                started = _start(family, address)
                if isinstance(started, OSError):
                    problem = started
                    continue
                waiting[started.fileno()] = started
                poll.register(started.fileno(), select.POLLOUT)
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for fd, _ in poll.poll(1000 * (min(left, _STAGGER) if remaining else left)):
                poll.unregister(fd)
                sock = waiting.pop(fd)
                code = sock.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR)
                if code == 0:
                    return sock
                sock.close()
                problem = OSError(code, os.strerror(code))
    finally:
        for sock in waiting.values():
            sock.close()
    raise problem


def _start(family: int, address: Any) -> _socket.socket | OSError:
    """A socket on its way to an address, or why there is none."""
    try:
        sock = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
    except OSError as error:
        return error
    try:
        sock.setsockopt(_socket.IPPROTO_TCP, _socket.TCP_NODELAY, 1)
        code = sock.connect_ex(address)
    except OSError as error:
        sock.close()
        return error
    if code in (0, _INPROGRESS):
        return sock
    sock.close()
    return OSError(code, os.strerror(code))


def unix(path: str, timeout: float) -> Any:
    """A socket to a daemon of this machine. Raises OSError."""
    sock = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        sock.settimeout(timeout)
        sock.connect(path)
    except BaseException:
        sock.close()
        raise
    return sock


def reach(address: str) -> str:
    """`public`, `private` (loopback too) or `link-local`, where clouds keep their secrets."""
    import ipaddress

    parsed = ipaddress.ip_address(address.partition("%")[0])
    for inner in ("ipv4_mapped", "sixtofour"):
        parsed = getattr(parsed, inner, None) or parsed
    if parsed.is_link_local:
        return "link-local"
    return "public" if parsed.is_global else "private"


def reaches(host: str) -> set[str]:
    """Every reach that a host's addresses have."""
    return {reach(address[0]) for _, address in resolved(host, 0)}
