"""A registry: the pull half of the distribution-spec 1.1.

Holds: `Registry` (manifests, blobs), tokens, retries. Does not hold: redirects and TLS (`transport.py`), what to do
with content (`pull.py`). Every body is bounded, everything that comes is hostile until its digest was checked.
"""

from __future__ import annotations

import threading
import time
from urllib.parse import urlencode, urlsplit

from urllib3.exceptions import HTTPError

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.images import auth
from atoll.images.transport import Transport, explain
from atoll.images.values import RegistryOptions
from atoll.spec import digest as digests
from atoll.spec.image import ACCEPT, MAX_MANIFEST_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from urllib3.response import BaseHTTPResponse

    from atoll.images.values import Credentials

_CHUNK = 256 << 10
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_SMALL = 1 << 20
# A body that brings less than this many bytes within the window is as good as cut.
_SLOWEST, _WINDOW = 32 << 10, 45.0


class Fetched(Value):
    """A manifest as it came, its digest computed from its bytes."""

    body: bytes
    media_type: str
    digest: str


class Registry:
    """One registry host. Safe to use from several threads; `stop` ends what they wait for."""

    def __init__(
        self, host: str, options: RegistryOptions | None = None, *, sleep: Callable[[float], object] | None = None
    ) -> None:
        self.host = host
        self.options = options or RegistryOptions()
        self.address = "registry-1.docker.io" if host == "docker.io" else host
        self._lock = threading.Lock()
        self._insecure = host in self.options.insecure or _name_of(host) in self.options.insecure
        self._transport = Transport(self.address, self.options, verify=not self._insecure)
        self._sleep = sleep or self._transport.stopped.wait
        self._base: str | None = None
        self._authorization: dict[str, str] = {}

    # --- content ------------------------------------------------------------------------------------------------

    def manifest_digest(self, repository: str, at: str) -> str | None:
        """What a tag points at, by HEAD; None when this registry does not tell."""
        response = self._ask("HEAD", f"{repository}/manifests/{at}", repository, accept=True)
        digest = response.headers.get("Docker-Content-Digest", "")
        ok = response.status == 200 and digests.valid(digest)
        self._transport.done(response)
        return digest if ok else None

    def manifest(self, repository: str, at: str) -> Fetched:
        """A manifest or index by tag or digest, at most 4 MiB.

        Raises NotFound and Denied in Docker's words, Corrupt when it is not what its digest says, Unavailable.
        """
        response = self._ask("GET", f"{repository}/manifests/{at}", repository, accept=True)
        if response.status != 200:
            raise self._refused(response, repository, at)
        body = self._read_small(response, MAX_MANIFEST_BYTES)
        actual = digests.of(body)
        stated = response.headers.get("Docker-Content-Digest", actual)
        wanted = at if ":" in at else stated
        if digests.valid(wanted) and wanted != actual:
            raise errors.Corrupt(
                f"registry {self.host}: the manifest of {repository} has digest {actual}, not {wanted}"
            )
        return Fetched(body=body, media_type=response.headers.get("Content-Type", ""), digest=actual)

    def blob(self, repository: str, digest: str, offset: int, size: int) -> Iterator[tuple[int, bytes]]:
        """A blob's bytes from `offset` on as (position, chunk), through cuts and delays.

        When the connection breaks, the request is repeated from where it stopped; attempts are counted anew after
        each real progress. A registry without ranges starts from zero: what is known is then passed over.
        Raises NotFound, Denied, Unavailable, Corrupt (more bytes than announced).
        """
        position = offset
        failures = 0
        while position < size:
            before = position
            try:
                for chunk in self._blob_once(repository, digest, position, size):
                    yield position, chunk
                    position += len(chunk)
                if position >= size:
                    return
                problem: errors.AtollError = errors.Unavailable(
                    f"registry {self.host}: the connection ended after {position} of {size} bytes of {digest}"
                )
            except errors.Unavailable as error:
                problem = error
            failures = 1 if position - before >= _SLOWEST else failures + 1
            if failures >= self.options.attempts:
                raise problem
            self._pause(failures, None)

    def _blob_once(self, repository: str, digest: str, start: int, size: int) -> Iterator[bytes]:
        headers = {"Range": f"bytes={start}-"} if start else {}
        response = self._ask("GET", f"{repository}/blobs/{digest}", repository, headers=headers)
        if response.status not in (200, 206):
            raise self._refused(response, repository, digest)
        skip = start if response.status == 200 else start - _range_start(response, start)
        clean = False
        try:
            window_end, window_bytes = time.monotonic() + _WINDOW, 0
            left = size - start
            while left > 0:
                chunk = response.read1(_CHUNK)  # what has come: nothing waits in memory
                if not chunk:
                    break
                window_bytes += len(chunk)
                now = time.monotonic()
                if now > window_end:
                    if window_bytes < _SLOWEST:
                        raise errors.Unavailable(
                            f"registry {self.host}: only {window_bytes} bytes in {_WINDOW:.0f} s of {digest}"
                        )
                    window_end, window_bytes = now + _WINDOW, 0
                if skip:
                    passed = min(skip, len(chunk))
                    skip -= passed
                    chunk = chunk[passed:]
                if len(chunk) > left:
                    raise errors.Corrupt(f"{digest}: more than the {size} bytes that its manifest announces")
                left -= len(chunk)
                if chunk:
                    yield chunk
            if left == 0 and response.read(1):
                raise errors.Corrupt(f"{digest}: more than the {size} bytes that its manifest announces")
            clean = True
        except (HTTPError, OSError) as error:
            raise explain(self.address, error) from error
        finally:
            (self._transport.done if clean else self._transport.drop)(response)

    def stop(self) -> None:
        """End all exchanges from another thread."""
        self._transport.stop()

    # --- requests -----------------------------------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        repository: str,
        *,
        accept: bool = False,
        headers: dict[str, str] | None = None,
    ) -> BaseHTTPResponse:
        """One answered request: authorised when asked to be, repeated when the registry is busy or away."""
        url = f"{self._find_base()}/v2/{path}"
        sent = {**({"Accept": ", ".join(ACCEPT)} if accept else {}), **(headers or {})}
        failures = 0
        renewed = False
        while True:
            known = self._authorization.get(repository)
            try:
                response = self._transport.exchange(
                    method, url, {**sent, **({"Authorization": known} if known else {})}
                )
            except errors.Unavailable:
                failures += 1
                if failures >= self.options.attempts:
                    raise
                self._pause(failures, None)
                continue
            if response.status == 401 and not renewed:
                renewed = True
                challenge = auth.parse_challenge(response.headers.getlist("WWW-Authenticate"))
                self._discard(response)
                if challenge is None or not self._authorise(challenge, repository, known):
                    raise self._no_access(repository)
                continue
            if response.status not in _RETRIED:
                return response
            failures += 1
            after = response.headers.get("Retry-After")
            if failures >= self.options.attempts:
                raise self._refused(response, repository, path.rpartition("/")[2])
            self._discard(response)
            self._pause(failures, after)

    def _find_base(self) -> str:
        """https, or what an insecure or loopback registry speaks: found out once, without credentials."""
        with self._lock:
            if self._base is None:
                self._base = self._probe()
            return self._base

    def _probe(self) -> str:
        secure, plain = f"https://{self.address}", f"http://{self.address}"
        if not _is_loopback(self.address) and not self._insecure:
            return secure
        # A loopback registry nearly always speaks HTTP; others are asked for TLS first, so that an insecure
        # entry for a registry with a private certificate does not send anything in the clear.
        first, second = (plain, secure) if _is_loopback(self.address) else (secure, plain)
        try:
            if self._answers(first):
                return first
        except (errors.Unavailable, errors.Denied) as problem:
            try:
                if self._answers(second):
                    return second
            except (errors.Unavailable, errors.Denied):
                pass
            raise problem from None
        return second

    def _answers(self, base: str) -> bool:
        """Whether something speaks HTTP there that is not a TLS server complaining (which answers 400)."""
        response = self._transport.exchange("GET", f"{base}/v2/", {})
        complained = response.status == 400 and base.startswith("http:")
        self._discard(response)
        return not complained

    def _authorise(self, challenge: auth.Challenge, repository: str, known: str | None) -> bool:
        """Get what the challenge asks for. False when there is nothing more to offer."""
        with self._lock:
            current = self._authorization.get(repository)
            if current is not None and current != known:
                return True  # another thread has just renewed it
            credentials = self._credentials()
            if challenge.scheme == "basic":
                if credentials is None or known is not None:
                    return False
                self._authorization[repository] = auth.basic(credentials)
                return True
            token = self._token(challenge, repository, credentials)
            self._authorization[repository] = f"Bearer {token}"
            return True

    def _token(self, challenge: auth.Challenge, repository: str, credentials: Credentials | None) -> str:
        """The token flow: the realm is where the registry says, but over TLS if the registry is, and not inside."""
        realm = self._transport.split(challenge.realm)
        if realm.scheme not in ("https", "http") or not realm.hostname:
            raise errors.Denied(f"registry {self.host} names {challenge.realm!r} as the place for tokens")
        if realm.scheme == "http" and (self._base or "").startswith("https"):
            raise errors.Denied(f"registry {self.host} wants credentials sent to {realm.hostname} over plain http")
        if realm.hostname != urlsplit(self._base or "").hostname:
            self._transport.check_address(realm)
        query = urlencode(
            [("service", challenge.service)] * bool(challenge.service) + [("scope", f"repository:{repository}:pull")]
        )
        url = f"{challenge.realm}{'&' if realm.query else '?'}{query}"
        headers = {"Authorization": auth.basic(credentials)} if credentials else {}
        response = self._transport.exchange("GET", url, headers)
        if response.status in (401, 403):
            self._discard(response)
            raise errors.Denied(
                f"registry {self.host}: the name or password is wrong"
                if credentials
                else self._no_access(repository).message,
                hint=f"check the credentials kept for {self.host}"
                if credentials
                else "log in with docker or podman login",
            )
        if response.status != 200:
            raise self._refused(response, repository, "token")
        try:
            answer = jsontext.loads(self._read_small(response, _SMALL))
            token = answer.get("token") or answer["access_token"]
        except (ValueError, KeyError, AttributeError):
            raise errors.Corrupt(f"registry {self.host}: the answer of {realm.hostname} holds no token") from None
        if not isinstance(token, str) or not token.isascii() or not token.isprintable() or " " in token:
            raise errors.Corrupt(f"registry {self.host}: the token of {realm.hostname} is malformed")
        return token

    def _credentials(self) -> Credentials | None:
        if self.options.credentials is not None:
            return self.options.credentials
        paths = self.options.auth_files
        return auth.find(self.host, auth.usual_files() if paths is None else paths)

    # --- answers ------------------------------------------------------------------------------------------------

    def _read_small(self, response: BaseHTTPResponse, limit: int) -> bytes:
        """A bounded body, within a bounded time."""
        deadline = time.monotonic() + self.options.read_timeout
        parts, total = [], 0
        try:
            while chunk := response.read(min(_CHUNK, limit + 1)):
                parts.append(chunk)
                total += len(chunk)
                if total > limit:
                    raise errors.Corrupt(f"registry {self.host}: a document of more than {limit} bytes")
                if time.monotonic() > deadline:
                    raise errors.Unavailable(f"registry {self.host}: a document did not come to its end in time")
        except (HTTPError, OSError) as error:
            self._transport.drop(response)
            raise explain(self.address, error) from error
        except errors.AtollError:
            self._transport.drop(response)
            raise
        self._transport.done(response)
        return b"".join(parts)

    def _discard(self, response: BaseHTTPResponse) -> None:
        """Done with a response whose body does not matter; a short one is read, to keep the connection."""
        length = response.headers.get("Content-Length", "")
        if length.isdecimal() and int(length) <= 1 << 16:
            response.drain_conn()
            self._transport.done(response)
        else:
            self._transport.drop(response)

    def _pause(self, failures: int, retry_after: str | None) -> None:
        """Exponential backoff with a spread, or what the registry asks for, within reason."""
        import random

        wait = self.options.backoff * 2 ** (failures - 1) * random.uniform(0.7, 1.3)
        if retry_after:
            wait = min(_seconds(retry_after), self.options.max_retry_after)
        self._sleep(wait)

    def _refused(self, response: BaseHTTPResponse, repository: str, at: str) -> errors.AtollError:
        """The error for a status that is not success, with the registry's own words."""
        status = response.status
        try:
            code, message = _registry_words(self._read_small(response, _SMALL))
        except errors.AtollError:
            code, message = "", ""
        name = f"{repository}@{at}" if ":" in at else f"{repository}:{at}"
        shown = (self.host if self.host != "docker.io" else "docker.io") + "/" + name
        if status == 404 or code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"):
            what = "manifest unknown" if "BLOB" not in code else "blob unknown"
            return errors.NotFound(f"manifest for {shown} not found: {what}: {message or 'not in this registry'}")
        if status in (401, 403):
            return self._no_access(repository)
        if status == 429:
            return errors.Unavailable(
                f"registry {self.host}: too many requests: {message or 'rate limit reached'}",
                hint="wait, or log in to get a higher limit",
            )
        words = f": {message}" if message else ""
        if status >= 500:
            return errors.Unavailable(f"registry {self.host}: status {status}{words}", hint="try again later")
        return errors.Unavailable(f"registry {self.host}: unexpected status {status} for {shown}{words}")

    def _no_access(self, repository: str) -> errors.Denied:
        name = repository.removeprefix("library/") if self.host == "docker.io" else f"{self.host}/{repository}"
        return errors.Denied(
            f"pull access denied for {name}, repository does not exist or may require 'docker login'",
            hint="check the name, or log in with docker or podman login",
        )


def _registry_words(body: bytes) -> tuple[str, str]:
    """Code and message of the first error of a registry's answer."""
    try:
        first = jsontext.loads(body)["errors"][0]
        return str(first.get("code", "")), "".join(c for c in str(first.get("message", ""))[:300] if c.isprintable())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "", ""


def _range_start(response: BaseHTTPResponse, wanted: int) -> int:
    """Where a partial answer begins: at most at what was asked for."""
    stated = response.headers.get("Content-Range", "").strip().removeprefix("bytes").strip()
    first = stated.partition("-")[0]
    if not first.isdecimal():
        return wanted
    if int(first) > wanted:
        raise errors.Corrupt(f"a partial answer from {first}, asked for from {wanted}")
    return int(first)


def _seconds(retry_after: str) -> float:
    """Retry-After in seconds: a number or a date (RFC 9110, 10.2.3)."""
    if retry_after.strip().isdecimal():
        return float(retry_after)
    from email.utils import parsedate_to_datetime

    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return 1.0


def _name_of(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_loopback(host: str) -> bool:
    name = _name_of(host)
    return name == "localhost" or name == "::1" or (name.startswith("127.") and name.replace(".", "").isdecimal())
