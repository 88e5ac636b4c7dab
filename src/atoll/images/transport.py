"""Requests for one registry: connections kept for the next one, redirects that leak nothing, failures in words.

Holds: `Transport`. Does not hold: what to ask for (`registry.py`), when to try again, HTTP (`http.py`).
Rules: a redirect never changes from https to http, never carries credentials to another origin, and never leads from
a public registry to a private address, nor from anywhere to a link-local one, where clouds keep their secrets. The
address that was checked is the one connected to.
"""

from __future__ import annotations

import _socket
import _thread
import select

from atoll import __version__
from atoll.base import errors, threads
from atoll.images import connection, http, proxy, settings
from atoll.images import url as urls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import Any

    from atoll.images.http import Response
    from atoll.images.url import Url
    from atoll.images.values import RegistryOptions

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 6
_MAX_IDLE = 8
_SLOWEST_STORE = 10 << 20  # bytes a second


class NotTrusted(errors.Denied):
    """TLS is spoken there, and one side does not accept the other's certificate."""


class Transport:
    """Connections to one registry and wherever it sends us. Safe to use from several threads."""

    def __init__(self, host: str, options: RegistryOptions, *, insecure: bool = False) -> None:
        self.host = host
        self.options = options
        self.stopped = False
        own = urls.split_port(host)[0].strip("[]").lower()
        self._own = own
        tls = settings.tls_for(options, "docker.io" if host == "registry-1.docker.io" else host, insecure=insecure)
        self._connector = connection.Connector(own, tls, timeout=options.connect_timeout)
        self._open: dict[int, tuple[Url, Any]] = {}
        self._idle: list[tuple[Url, Any]] = []
        self._lock = _thread.allocate_lock()
        self._halt = threads.Gate()
        self._reach: set[str] | None = None

    def exchange(
        self,
        method: str,
        url: str,
        headers: Mapping[str, str],
        body: bytes | Callable[[], Iterable[bytes]] | None = None,
        *,
        follow: bool = True,
    ) -> Response:
        """One request, redirects followed; the body is not read yet, and the response to be given back with `done`
        or `drop`. A request body that is not bytes is made anew for each attempt; `headers` hold its length.

        Raises Unavailable when there is no answer, Denied for a redirect that the rules forbid.
        """
        sent = {"User-Agent": f"atoll/{__version__}", **headers}
        place = self.split(url)
        origin = place.origin
        for _ in range(_MAX_REDIRECTS):
            response = self._once(method, place, sent, body)
            location = response.headers.get("Location")
            if not follow or response.status not in _REDIRECTS or not location:
                return response
            self.drop(response)
            place = self._joined(place, location)
            if place.origin != origin:
                sent.pop("Authorization", None)
        raise errors.Unavailable(f"registry {self.host}: more than {_MAX_REDIRECTS} redirects for {method} {place}")

    def done(self, response: Response) -> None:
        """Give a response back; its connection is used again if the body was read to its end."""
        with self._lock:
            entry = self._open.pop(id(response), None)
            if entry is not None and response.persistent and not self.stopped and len(self._idle) < _MAX_IDLE:
                self._idle.append(entry)
                return
        if entry is not None:
            entry[1].close()

    def drop(self, response: Response) -> None:
        """Close a response that was not read to its end."""
        with self._lock:
            entry = self._open.pop(id(response), None)
        if entry is not None:
            entry[1].close()

    def stop(self) -> None:
        """End all exchanges, from another thread: reads that wait fail at once."""
        with self._lock:
            if self.stopped:
                return
            self.stopped = True
            self._halt.open()
            for _, sock in self._open.values():
                try:
                    _socket.socket.shutdown(sock, _socket.SHUT_RDWR)
                except OSError:
                    pass  # it ended meanwhile

    def close(self) -> None:
        """Close the idle connections."""
        with self._lock:
            idle, self._idle = self._idle, []
        for _, sock in idle:
            sock.close()

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond `stop`."""
        if seconds > 0:
            self._halt.wait(seconds)

    def check_address(self, host: str, address: str) -> None:
        """Refuse a link-local address, and a private one when the registry itself is public."""
        reach = connection.reach(address)
        if reach == "public":
            return
        if self._reach is None:
            self._reach = connection.reaches(self._own)
        if reach == "link-local" or self._reach == {"public"}:
            raise errors.Denied(
                f"registry {self.host} sends us to {host} ({address}), a {reach} address",
                hint="refused, because a public registry has no business there",
            )

    def split(self, url: str) -> Url:
        """The parts of a URL that a registry gave. Raises Denied for a malformed one, and for what is not HTTP."""
        try:
            return urls.parse(url)
        except ValueError as error:
            raise errors.Denied(f"registry {self.host} names {url[:200]!r}, which is no address: {error}") from None

    def _once(
        self, method: str, url: Url, headers: Mapping[str, str], body: bytes | Callable[[], Iterable[bytes]] | None
    ) -> Response:
        """One request over an idle connection if there is a live one, otherwise over a new one."""
        if self.stopped:
            raise errors.Cancelled("the transfer was stopped")
        via = proxy.find(url)
        try:
            sock = self._take_idle(url) or self._connector.connect(url, via, self._rule(url))
        except (OSError, ValueError) as error:
            raise explain(self.host, error) from error
        entry, key = (url, sock), id(sock)
        with self._lock:
            self._open[key] = entry
        try:
            response = self._converse(sock, method, url, via, headers, body)
        except BaseException as error:
            with self._lock:
                self._open.pop(key, None)
            sock.close()
            if isinstance(error, OSError | ValueError):
                raise explain(self.host, error) from error
            raise
        with self._lock:
            del self._open[key]
            self._open[id(response)] = entry
        return response

    def _converse(
        self,
        sock: Any,
        method: str,
        url: Url,
        via: proxy.Proxy | None,
        headers: Mapping[str, str],
        body: bytes | Callable[[], Iterable[bytes]] | None,
    ) -> Response:
        sock.settimeout(self.options.read_timeout)
        target, sent = url.target, {"Host": url.authority, **headers}
        if via is not None and url.scheme == "http":
            target = str(url)
            if via.authorization:
                sent["Proxy-Authorization"] = via.authorization
        content = body() if callable(body) else body
        wire = http.Wire(sock)
        try:
            http.send(sock, method, target, sent, content)
        except (BrokenPipeError, ConnectionResetError):
            # A server that refuses a long body says so and closes; the reason is still to be read.
            response = http.receive(wire, method, 2.0)
            if response.status < 400:
                raise
            return response
        # Whoever takes a large body may hash and copy it before answering.
        length = int(headers.get("Content-Length", "0")) if callable(body) else 0
        return http.receive(wire, method, self.options.read_timeout + length / _SLOWEST_STORE)

    def _rule(self, url: Url) -> Callable[[str], None]:
        """Which addresses a URL's host may have."""
        if url.host == self._own:
            return lambda _: None
        return lambda address: self.check_address(url.host, address)

    def _take_idle(self, url: Url) -> Any:
        with self._lock:
            found = [one for one in self._idle if one[0].origin == url.origin]
            self._idle = [one for one in self._idle if one[0].origin != url.origin]
            live = None
            for entry in found:
                # Readable while nothing was asked: it was closed, or says something that belongs to no request.
                if live is None and not _readable(entry[1]):
                    live = entry[1]
                elif _readable(entry[1]):
                    entry[1].close()
                else:
                    self._idle.append(entry)
            return live

    def _joined(self, come_from: Url, location: str) -> Url:
        """Where a redirect leads, if it may."""
        try:
            target = urls.join(come_from, location)
        except ValueError as error:
            raise errors.Denied(
                f"registry {self.host} redirects to {location[:200]!r}, which is no address: {error}"
            ) from None
        if come_from.scheme == "https" and target.scheme == "http":
            raise errors.Denied(f"registry {self.host} redirects from https to plain http at {target.host}")
        return target


def _readable(sock: Any) -> bool:
    poll = select.poll()
    poll.register(sock.fileno(), select.POLLIN)
    return bool(poll.poll(0))


def explain(host: str, error: BaseException) -> errors.AtollError:
    """What a connection's failure means to a person. Unavailable ones may be tried again."""
    words = str(error)
    if type(error).__module__ == "ssl":
        return _explain_tls(host, error)
    if isinstance(error, ValueError):
        return errors.InvalidArgument(f"registry {host}: {words}")
    if isinstance(error, connection.NoSuchHost):
        return errors.Unavailable(f"registry {host}: {words}", hint="check the name and the network's DNS")
    if isinstance(error, ConnectionRefusedError):
        return errors.Unavailable(f"registry {host}: connection refused", hint="is it running at this address?")
    if isinstance(error, TimeoutError) or "timed out" in words:
        return errors.Unavailable(f"registry {host}: no answer in time", hint="check the network, or try again later")
    if isinstance(error, ConnectionError):
        return errors.Unavailable(f"registry {host}: the connection broke off: {words}", hint="try again later")
    return errors.Unavailable(f"registry {host}: {words or type(error).__name__}", hint="try again later")


def _explain_tls(host: str, error: BaseException) -> errors.AtollError:
    import ssl

    words = str(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        return NotTrusted(
            f"registry {host}: its certificate is not trusted: {error.verify_message}",
            hint="install its authority's certificate, or list the registry as insecure",
        )
    if "WRONG_VERSION" in words or "PACKET_LENGTH" in words or "record layer" in words:
        return errors.Denied(
            f"registry {host}: server gave HTTP response to HTTPS client",
            hint="if plain HTTP is meant, list the registry as insecure",
        )
    if "CERTIFICATE_REQUIRED" in words or "HANDSHAKE_FAILURE" in words or "BAD_CERTIFICATE" in words:
        return NotTrusted(
            f"registry {host}: it does not accept our side of TLS: {words}",
            hint="a client certificate may be needed: see docs/registries.md",
        )
    return errors.Unavailable(f"registry {host}: TLS: {words}", hint="try again later")
