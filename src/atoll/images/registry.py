"""A registry: requests of the distribution-spec 1.1, authorised and repeated as needed; manifests and blobs.

Holds: `Registry`. Does not hold: tokens (`tokens.py`), redirects and TLS (`transport.py`), uploads (`push.py`), lists
(`listing.py`), mirrors (`remote.py`). Every body is bounded, everything that comes is hostile until its digest was
checked.
"""

from __future__ import annotations

import _thread
import time

from atoll.base import errors, jsontext
from atoll.images import auth, settings
from atoll.images import url as urls
from atoll.images.source import Document
from atoll.images.transport import NotTrusted, Transport, explain
from atoll.images.values import RegistryOptions
from atoll.spec import digest as digests
from atoll.spec.image import ACCEPT, MAX_MANIFEST_BYTES

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from atoll.images.http import Response

_CHUNK = 256 << 10
_RETRIED = (408, 425, 429, 500, 502, 503, 504)
_SMALL = 1 << 20
# A body that brings less than this many bytes within the window is as good as cut.
_SLOWEST, _WINDOW = 32 << 10, 45.0


class Registry:
    """One registry host. Safe to use from several threads; `stop` ends what they wait for."""

    def __init__(
        self,
        host: str,
        options: RegistryOptions | None = None,
        *,
        insecure: bool = False,
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.host = host
        self.options = options or RegistryOptions()
        self.address = "registry-1.docker.io" if host == "docker.io" else host
        self.insecure = insecure or settings.is_insecure(self.options, host)
        self.transport = Transport(self.address, self.options, insecure=self.insecure)
        self._lock = _thread.allocate_lock()
        self._sleep = sleep or self.transport.pause
        self._base: str | None = None
        self._guessed = False
        self._authorization: dict[tuple[str, ...], str] = {}

    # --- content ------------------------------------------------------------------------------------------------

    def manifest_digest(self, repository: str, at: str) -> str | None:
        """What a tag points at, by HEAD; None when this registry does not tell."""
        response = self.request("HEAD", f"{repository}/manifests/{at}", pull_scope(repository), headers=_ACCEPT)
        digest = response.headers.get("Docker-Content-Digest")
        ok = response.status == 200 and digests.valid(digest)
        self.discard(response)
        return digest if ok else None

    def manifest(self, repository: str, at: str) -> Document:
        """A manifest or index by tag or digest, at most 4 MiB.

        Raises NotFound and Denied in Docker's words, Corrupt when it is not what its digest says, Unavailable.
        """
        response = self.request("GET", f"{repository}/manifests/{at}", pull_scope(repository), headers=_ACCEPT)
        if response.status != 200:
            raise self.refused(response, repository, at)
        body = self.read(response, MAX_MANIFEST_BYTES)
        actual = digests.of(body)
        stated = response.headers.get("Docker-Content-Digest", actual)
        wanted = at if ":" in at else stated
        if digests.valid(wanted) and wanted != actual:
            raise errors.Corrupt(
                f"registry {self.host}: the manifest of {repository} has digest {actual}, not {wanted}"
            )
        return Document(body=body, media_type=response.headers.get("Content-Type"), digest=actual)

    def has_blob(self, repository: str, digest: str, size: int) -> bool:
        """Whether the repository has a blob, by HEAD. Raises Denied, Unavailable."""
        response = self.request("HEAD", f"{repository}/blobs/{digest}", pull_scope(repository))
        stated = response.headers.get("Content-Length")
        self.discard(response)
        if response.status in (401, 403):
            raise self.no_access(repository)
        return response.status == 200 and (not stated.isdecimal() or int(stated) == size)

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
            self.pause(failures, "")

    def _blob_once(self, repository: str, digest: str, start: int, size: int) -> Iterator[bytes]:
        path, scope = f"{repository}/blobs/{digest}", pull_scope(repository)
        response = self.request("GET", path, scope, headers={"Range": f"bytes={start}-"} if start else {})
        if response.status == 416 and start:  # it has fewer bytes, or cannot count: from the beginning, then
            self.discard(response)
            response = self.request("GET", path, scope)
        if response.status not in (200, 206):
            raise self.refused(response, repository, digest)
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
            if left == 0 and response.read1(1):
                raise errors.Corrupt(f"{digest}: more than the {size} bytes that its manifest announces")
            clean = True
        except OSError as error:
            raise explain(self.address, error) from error
        finally:
            (self.transport.done if clean else self.transport.drop)(response)

    def stop(self) -> None:
        """End all exchanges from another thread."""
        self.transport.stop()

    def close(self) -> None:
        """Close idle connections."""
        self.transport.close()

    # --- requests -----------------------------------------------------------------------------------------------

    def request(
        self,
        method: str,
        path: str,
        scopes: tuple[str, ...],
        *,
        headers: dict[str, str] | None = None,
        body: bytes | Callable[[], Iterable[bytes]] | None = None,
        repeat: bool = True,
    ) -> Response:
        """One answered request: authorised when asked to be, repeated when the registry is busy or away.

        `path` is below /v2/, or a whole URL of this registry (what it answered as Location). With `repeat` off a
        failure is the caller's to judge. Whatever the status, the response is to be read, discarded or refused.
        """
        whole = path.startswith(("http://", "https://"))
        url = path if whole else f"{self.base()}/v2/{path}"
        sent = {"Accept-Encoding": "identity", **(headers or {})}
        failures = 0
        renewed = False
        while True:
            known = self._authorization.get(scopes)
            trusted = urls.parse(url).origin == urls.parse(self.base()).origin
            given = {"Authorization": known} if known and trusted else {}
            try:
                response = self.transport.exchange(
                    method, url, {**sent, **given}, body, follow=method in ("GET", "HEAD")
                )
            except errors.Unavailable:
                if not whole and self._corrected():
                    url = f"{self.base()}/v2/{path}"
                    continue
                failures += 1
                if failures >= self.options.attempts or not repeat:
                    raise
                self.pause(failures, "")
                continue
            if response.status == 400 and not whole and self._corrected():
                self.discard(response)
                url = f"{self.base()}/v2/{path}"
                continue
            self._guessed = False
            if response.status == 401 and not renewed and trusted:
                renewed = True
                challenge = auth.parse_challenge(response.headers.all("WWW-Authenticate"))
                self.discard(response)
                if challenge is None or not self._authorise(challenge, scopes, known):
                    raise self.no_access(_repository_of(scopes), doing=_doing(scopes))
                continue
            if response.status not in _RETRIED or not repeat:
                return response
            failures += 1
            after = response.headers.get("Retry-After")
            if failures >= self.options.attempts:
                raise self.refused(response, _repository_of(scopes), path.rpartition("/")[2], doing=_doing(scopes))
            self.discard(response)
            self.pause(failures, after)

    def base(self) -> str:
        """https, or what an insecure or loopback registry speaks: found out once, without credentials. For a loopback
        registry it may be a guess until the first answer."""
        with self._lock:
            if self._base is None:
                self._base = self._probe()
            return self._base

    def _probe(self) -> str:
        secure, plain = f"https://{self.address}", f"http://{self.address}"
        local = urls.loopback(urls.split_port(self.address)[0])
        if self.options.offline and not local:
            raise errors.Unavailable(
                f"registry {self.host} is not asked: offline mode is on",
                hint="see 'offline' in atoll.toml; registries on this machine's loopback are asked",
            )
        if not local and not self.insecure:
            return secure
        # A loopback registry nearly always speaks HTTP; others are asked for TLS first, so that an insecure
        # entry for a registry with a private certificate does not send anything in the clear.
        if local and not self._guessed:
            self._guessed = True  # the first answer shows whether that was right
            return plain
        self._guessed = False
        first, second = (plain, secure) if local else (secure, plain)
        try:
            if self._answers(first):
                return first
        except (errors.Unavailable, errors.Denied) as problem:
            try:
                if self._answers(second):
                    return second
            except NotTrusted:  # it says more than that plain HTTP is not spoken there
                raise
            except (errors.Unavailable, errors.Denied):
                pass
            raise problem from None
        return second

    def settled(self) -> str:
        """As `base`, but asked for, not guessed: for those who go on without `request`."""
        with self._lock:
            if self._base is None or self._guessed:
                self._guessed = True
                self._base = self._probe()
            return self._base

    def _corrected(self) -> bool:
        """After a failure: whether plain HTTP was only guessed, and TLS is what is spoken there."""
        with self._lock:
            if not self._guessed:
                return False
            guess, self._base = self._base, self._probe()
            return self._base != guess

    def _answers(self, base: str) -> bool:
        """Whether something speaks HTTP there that is not a TLS server complaining (which answers 400)."""
        response = self.transport.exchange("GET", f"{base}/v2/", {}, follow=False)
        complained = response.status == 400 and base.startswith("http:")
        self.discard(response)
        return not complained

    def _authorise(self, challenge: auth.Challenge, scopes: tuple[str, ...], known: str | None) -> bool:
        """Get what the challenge asks for. False when there is nothing more to offer."""
        from atoll.images import credentials, tokens

        base = self.base()
        with self._lock:
            current = self._authorization.get(scopes)
            if current is not None and current != known:
                return True  # another thread has just renewed it
            found = self.options.credentials or credentials.find(
                self.host, _repository_of(scopes), self.options.auth_files
            )
            if found and found.registry_token and known is None:
                self._authorization[scopes] = f"Bearer {found.registry_token}"
                return True
            if challenge.scheme == "basic":
                if found is None or known is not None:
                    return False
                self._authorization[scopes] = auth.basic(found)
                return True
            token = tokens.fetch(self, challenge, scopes, found, secure=base.startswith("https"))
            self._authorization[scopes] = f"Bearer {token.token}"
            return True

    # --- answers ------------------------------------------------------------------------------------------------

    def read(self, response: Response, limit: int = _SMALL) -> bytes:
        """A bounded body, within a bounded time; the response is given back."""
        deadline = time.monotonic() + self.options.read_timeout
        parts, total = [], 0
        try:
            while chunk := response.read1(min(_CHUNK, limit + 1)):
                parts.append(chunk)
                total += len(chunk)
                if total > limit:
                    raise errors.Corrupt(f"registry {self.host}: a document of more than {limit} bytes")
                if time.monotonic() > deadline:
                    raise errors.Unavailable(f"registry {self.host}: a document did not come to its end in time")
        except OSError as error:
            self.transport.drop(response)
            raise explain(self.address, error) from error
        except errors.AtollError:
            self.transport.drop(response)
            raise
        self.transport.done(response)
        return b"".join(parts)

    def discard(self, response: Response) -> None:
        """Done with a response whose body does not matter; a short one is read, to keep the connection."""
        length = response.headers.get("Content-Length")
        if response.ended or (length.isdecimal() and int(length) <= 1 << 16):
            try:
                while response.read1(_CHUNK):
                    pass
            except OSError:
                pass  # then the connection is not used again
        self.transport.done(response)

    def pause(self, failures: int, retry_after: str) -> None:
        """Exponential backoff with a spread, or what the registry asks for, within reason."""
        import random

        wait = self.options.backoff * 2 ** (failures - 1) * random.uniform(0.7, 1.3)
        if retry_after:
            wait = min(_seconds(retry_after), self.options.max_retry_after)
        self._sleep(wait)

    def refused(self, response: Response, repository: str, at: str, *, doing: str = "pull") -> errors.AtollError:
        """The error for a status that is not success, with the registry's own words."""
        status = response.status
        try:
            code, message = _registry_words(self.read(response))
        except errors.AtollError:
            code, message = "", ""
        name = f"{repository}@{at}" if ":" in at else f"{repository}:{at}"
        shown = f"{self.host}/{name}"
        if status == 404 or code in ("MANIFEST_UNKNOWN", "NAME_UNKNOWN", "BLOB_UNKNOWN"):
            what = "manifest unknown" if "BLOB" not in code else "blob unknown"
            return errors.NotFound(f"manifest for {shown} not found: {what}: {message or 'not in this registry'}")
        if status in (401, 403):
            return self.no_access(repository, doing=doing, words=message)
        if status == 429:
            return errors.Unavailable(
                f"registry {self.host}: too many requests: {message or 'rate limit reached'}",
                hint="wait, or log in to get a higher limit",
            )
        words = f": {message}" if message else ""
        if status >= 500:
            return errors.Unavailable(f"registry {self.host}: status {status}{words}", hint="try again later")
        if status in (405, 501) and doing != "pull":
            return errors.Unsupported(f"registry {self.host} does not allow to {doing}{words}")
        return errors.Unavailable(f"registry {self.host}: unexpected status {status} for {shown}{words}")

    def no_access(self, repository: str, *, doing: str = "pull", words: str = "") -> errors.Denied:
        """What a person whose credentials do not suffice is told, in Docker's words."""
        name = repository.removeprefix("library/") if self.host == "docker.io" else f"{self.host}/{repository}"
        hint = "check the name, or log in with 'atoll login'"
        if not repository:
            return errors.Denied(f"registry {self.host}: access denied{': ' + words if words else ''}", hint=hint)
        if doing != "pull":
            why = words or "requested access to the resource is denied"
            return errors.Denied(f"{doing} access denied for {name}: {why}", hint=hint)
        return errors.Denied(
            f"pull access denied for {name}, repository does not exist or may require 'atoll login'", hint=hint
        )


_ACCEPT = {"Accept": ", ".join(ACCEPT)}


def pull_scope(repository: str) -> tuple[str, ...]:
    """What a token must allow for reading a repository."""
    return (f"repository:{repository}:pull",)


def _repository_of(scopes: tuple[str, ...]) -> str:
    kind, _, rest = scopes[0].partition(":") if scopes else ("", "", "")
    return rest.rpartition(":")[0] if kind == "repository" else ""


def _doing(scopes: tuple[str, ...]) -> str:
    return "push" if scopes and "push" in scopes[0].rpartition(":")[2] else "pull"


def _registry_words(body: bytes) -> tuple[str, str]:
    """Code and message of the first error of a registry's answer."""
    try:
        first = jsontext.loads(body)["errors"][0]
        return str(first.get("code", "")), "".join(c for c in str(first.get("message", ""))[:300] if c.isprintable())
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return "", ""


def _range_start(response: Response, wanted: int) -> int:
    """Where a partial answer begins: at most at what was asked for."""
    stated = response.headers.get("Content-Range").strip().removeprefix("bytes").strip()
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
