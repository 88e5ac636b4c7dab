"""HTTP for registries: one exchange, redirects that leak nothing, failures in words.

Holds: `Transport`. Does not hold: what to ask for (`registry.py`), when to try again.
Rules: a redirect never changes from https to http, never carries credentials to another origin, and never leads from
a public registry to a private address, nor from anywhere to a link-local one, where clouds keep their secrets.
"""

from __future__ import annotations

import socket
import ssl
import threading
from urllib.parse import SplitResult, urljoin, urlsplit

import urllib3
from urllib3.exceptions import HTTPError, IncompleteRead

from atoll import __version__
from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from urllib3.response import BaseHTTPResponse

    from atoll.images.values import RegistryOptions

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 6


class Transport:
    """Connections to one registry and wherever it sends us. Safe to use from several threads."""

    def __init__(self, host: str, options: RegistryOptions, *, verify: bool = True) -> None:
        self.host = host
        self.options = options
        self._open: set[BaseHTTPResponse] = set()
        self._lock = threading.Lock()
        self.stopped = threading.Event()
        timeout = urllib3.Timeout(connect=options.connect_timeout, read=options.read_timeout)
        self._pool = urllib3.PoolManager(
            num_pools=8,
            maxsize=8,
            timeout=timeout,
            retries=False,
            headers={"User-Agent": f"atoll/{__version__}"},
            **_trust(options, verify=verify),
        )

    def exchange(self, method: str, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        """One request, redirects followed; the body is not read yet, and to be given back with `done`.

        Raises Unavailable when there is no answer, Denied for a redirect that the rules forbid.
        """
        sent = dict(headers)
        origin = urlsplit(url)
        for _ in range(_MAX_REDIRECTS):
            response = self._once(method, url, sent)
            if response.status not in _REDIRECTS or "Location" not in response.headers:
                return response
            location = response.headers["Location"]
            self.drop(response)
            url, target = self._joined(url, location)
            if _origin(target) != _origin(origin):
                sent.pop("Authorization", None)
        raise errors.Unavailable(f"registry {self.host}: more than {_MAX_REDIRECTS} redirects for {method} {url}")

    def done(self, response: BaseHTTPResponse) -> None:
        """Give a response back; its connection is used again if the body was read to its end."""
        with self._lock:
            self._open.discard(response)
        response.release_conn()

    def drop(self, response: BaseHTTPResponse) -> None:
        """Close a response that was not read to its end."""
        with self._lock:
            self._open.discard(response)
        response.close()

    def stop(self) -> None:
        """End all exchanges, from another thread: reads that wait fail at once."""
        with self._lock:
            self.stopped.set()
            waiting = list(self._open)
        for response in waiting:
            try:
                response.shutdown()
            except (OSError, ValueError, RuntimeError, AttributeError):
                pass  # it ended meanwhile

    def check_address(self, url: SplitResult) -> None:
        """Refuse a host with a link-local address, and a private one when the registry itself is public."""
        own = {_reach(address) for address in _addresses(self.host.rpartition(":")[0] or self.host)}
        for address in _addresses(url.hostname or ""):
            reach = _reach(address)
            if reach == "link-local" or (reach == "private" and own == {"public"}):
                raise errors.Denied(
                    f"registry {self.host} sends us to {url.hostname} ({address}), a {reach} address",
                    hint="refused, because a public registry has no business there",
                )

    def _once(self, method: str, url: str, headers: Mapping[str, str]) -> BaseHTTPResponse:
        if self.stopped.is_set():
            raise errors.Cancelled("the pull was stopped")
        try:
            response = self._pool.request(
                method, url, headers=dict(headers), redirect=False, preload_content=False, decode_content=False
            )
        except HTTPError as error:
            raise explain(self.host, error) from error
        with self._lock:
            self._open.add(response)
        return response

    def _joined(self, url: str, location: str) -> tuple[str, SplitResult]:
        """Where a redirect leads, if it may."""
        try:
            joined = urljoin(url, location)
        except ValueError:
            raise errors.Denied(
                f"registry {self.host} redirects to {location[:200]!r}, which is no address"
            ) from None
        target = self.split(joined)
        self._check_redirect(self.split(url), target)
        return joined, target

    def split(self, url: str) -> SplitResult:
        """The parts of a URL that a registry gave. Raises Denied for a malformed one."""
        try:
            parts = urlsplit(url)
            _ = parts.port, parts.hostname
        except ValueError:
            raise errors.Denied(f"registry {self.host} names {url[:200]!r}, which is no address") from None
        return parts

    def _check_redirect(self, come_from: SplitResult, target: SplitResult) -> None:
        if target.scheme not in ("https", "http") or not target.hostname:
            raise errors.Denied(f"registry {self.host} redirects to {target.scheme}: which is not HTTP")
        if come_from.scheme == "https" and target.scheme == "http":
            raise errors.Denied(f"registry {self.host} redirects from https to plain http at {target.hostname}")
        if target.hostname != come_from.hostname:
            self.check_address(target)


def _trust(options: RegistryOptions, *, verify: bool) -> dict[str, object]:
    if not verify:
        urllib3.disable_warnings(urllib3.exceptions.InsecureRequestWarning)
        return {"cert_reqs": "CERT_NONE", "assert_hostname": False}
    if options.ca_file:
        context = ssl.create_default_context()
        context.load_verify_locations(options.ca_file)
        return {"ssl_context": context}
    return {"cert_reqs": "CERT_REQUIRED"}


def explain(host: str, error: BaseException) -> errors.AtollError:
    """What an HTTP library's failure means to a person. Unavailable ones may be tried again."""
    cause = _root_cause(error)
    words = str(cause)
    if isinstance(cause, ssl.SSLCertVerificationError):
        return errors.Denied(
            f"registry {host}: its certificate is not trusted: {cause.verify_message}",
            hint="install its authority's certificate, or list the registry as insecure",
        )
    if isinstance(cause, ssl.SSLError) and (
        "WRONG_VERSION" in words or "PACKET_LENGTH" in words or "record layer" in words
    ):
        return errors.Denied(
            f"registry {host}: server gave HTTP response to HTTPS client",
            hint="if plain HTTP is meant, list the registry as insecure",
        )
    if isinstance(cause, socket.gaierror):
        return errors.Unavailable(
            f"registry {host}: no such host: {cause.strerror}", hint="check the name and the network's DNS"
        )
    if isinstance(cause, ConnectionRefusedError):
        return errors.Unavailable(f"registry {host}: connection refused", hint="is it running at this address?")
    if isinstance(cause, TimeoutError) or "timed out" in words:
        return errors.Unavailable(f"registry {host}: no answer in time", hint="check the network, or try again later")
    if isinstance(cause, IncompleteRead | ConnectionError):
        return errors.Unavailable(f"registry {host}: the connection broke off: {words}", hint="try again later")
    return errors.Unavailable(f"registry {host}: {words or type(cause).__name__}", hint="try again later")


def _root_cause(error: BaseException) -> BaseException:
    """urllib3 wraps errors in errors; the innermost says what happened."""
    seen: set[int] = set()
    while id(error) not in seen:
        seen.add(id(error))
        inner = getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            inner = error.__cause__ or (error.args[1] if len(error.args) > 1 else None)
        if not isinstance(inner, BaseException):
            inner = error.__context__ if isinstance(error, HTTPError) else None
        if not isinstance(inner, BaseException):
            return error
        error = inner
    return error


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"https": 443, "http": 80}.get(url.scheme)


def _addresses(host: str) -> list[str]:
    try:
        return [str(info[4][0]) for info in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM)]
    except (OSError, UnicodeError):
        return []


def _reach(address: str) -> str:
    import ipaddress

    parsed = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(parsed, "ipv4_mapped", None)
    parsed = mapped or parsed
    if parsed.is_link_local:
        return "link-local"
    return "public" if parsed.is_global else "private"
