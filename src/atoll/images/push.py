"""A registry's repository as a destination: uploads of the distribution-spec 1.1 ("Push").

Holds: `RepositoryDestination`, the referrers tag of registries without the API. Does not hold: what belongs to an
image (`engine/images/push.py`), requests (`registry.py`).

    HEAD blob ── there: nothing to do
      └ POST uploads/?mount=…&from=…  for every repository known to have it ── 201: mounted
          └ 202, Location ── PUT with the whole blob               one request, whatever the size
                             broken off: GET Location, PATCH from the byte that arrived, PUT
                             413 (a proxy's limit): PATCH in pieces, PUT
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.images import remote
from atoll.images import url as urls
from atoll.images.listing import by_tag, referrers_tag
from atoll.images.registry import Registry
from atoll.images.source import Document
from atoll.images.values import RegistryOptions
from atoll.spec import digest as digests
from atoll.spec.image import OCI_INDEX, parse_document

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from atoll.images.http import Response
    from atoll.images.source import Read
    from atoll.spec.image import Descriptor
    from atoll.spec.reference import Reference

    Progress = Callable[[int], None]
    Mounts = Callable[[str], Sequence[str]]

_PIECE = 8 << 20  # of an upload that a proxy does not take at once
_BYTES = {"Content-Type": "application/octet-stream"}


class TooLarge(errors.Unsupported):
    """A body that the registry, or a proxy before it, does not take in one request."""


class RepositoryDestination:
    """`Destination` over a repository. `mounts(digest)` names repositories of the same registry that have a blob;
    `piece` bytes are sent a request, 0 for all at once. `put` is safe to call from several threads."""

    def __init__(
        self,
        reference: Reference,
        options: RegistryOptions | None = None,
        *,
        mounts: Mounts | None = None,
        piece: int = 0,
    ) -> None:
        place = remote.endpoints(reference, options or RegistryOptions())[-1]  # mirrors are for reading
        self.where = f"registry {reference.registry}"
        self.repository = place.repository
        self.registry = Registry(place.host, options, insecure=place.insecure)
        self.mounted: dict[str, str] = {}
        """Blobs that were mounted, and from which repository."""
        self._mounts = mounts or (lambda _: ())
        self._piece = piece
        self._scopes = (f"repository:{self.repository}:pull,push",)

    def has(self, digest: str, size: int) -> bool:
        """Whether the repository has it."""
        response = self.registry.request("HEAD", f"{self.repository}/blobs/{digest}", self._scopes)
        stated = response.headers.get("Content-Length")
        if response.status in (401, 403):
            raise self._refused(response, digest)
        self.registry.discard(response)
        return response.status == 200 and (not stated.isdecimal() or int(stated) == size)

    def put(self, blob: Descriptor, read: Read, progress: Progress) -> bool:
        """Upload it, or have it mounted: then False. Broken off, it goes on where the registry says that it stopped.

        Raises Corrupt when the bytes are not what the digest says, Denied, Unavailable.
        """
        location: str | None = None
        offset = failures = 0
        piece = self._piece
        while True:
            try:
                if location is None:
                    offset, location = 0, self._begin(blob.digest)
                    if location is None:
                        return False
                self._send(location, offset, piece, blob, read, progress)
                return True
            except TooLarge:
                if piece and piece <= _PIECE:
                    raise
                piece, location = _PIECE, None
            except errors.Unavailable:
                failures += 1
                if failures >= self.registry.options.attempts:
                    raise
                self.registry.pause(failures, "")
                location, offset = self._arrived(location, blob.size)

    def put_document(self, document: Document, at: str | None) -> None:
        """Put a manifest; where the registry does not know referrers, its subject's tag is brought up to date."""
        path = f"{self.repository}/manifests/{at or document.digest}"
        kind = {"Content-Type": document.media_type}
        response = self.registry.request("PUT", path, self._scopes, headers=kind, body=document.body)
        if response.status != 201:
            raise self._refused(response, at or document.digest)
        said = response.headers.get("Docker-Content-Digest")
        subject_known = bool(response.headers.get("OCI-Subject"))
        self.registry.discard(response)
        if digests.valid(said) and said != document.digest:
            raise errors.Corrupt(
                f"{self.where} stored {said}, not {document.digest}", hint="it alters what it is given"
            )
        parsed = parse_document(document.body, document.media_type, document.digest)
        subject = getattr(parsed, "subject", None)
        if subject is not None and not subject_known:
            self._note_referrer(document, subject.digest)

    def finish(self) -> None:
        """Everything is visible already."""

    def stop(self) -> None:
        """From another thread: uploads end at once."""
        self.registry.stop()

    def close(self) -> None:
        """Close the connections."""
        self.registry.close()

    # --- one upload ---------------------------------------------------------------------------------------------

    def _begin(self, digest: str) -> str | None:
        """Where to upload to; None when the blob was mounted instead."""
        session = None  # what a registry begins that has nothing to mount; the last one is used
        for other in self._mounts(digest):
            query = urls.query("", [("mount", digest), ("from", other)])
            scopes = (*self._scopes, f"repository:{other}:pull")
            try:
                response = self.registry.request("POST", f"{self.repository}/blobs/uploads/{query}", scopes, body=b"")
            except errors.Denied:  # no right to read the other one is no reason not to write this one
                continue
            if response.status == 201:
                self.registry.discard(response)
                self.mounted[digest] = other
                return None
            if response.status == 202:
                session = self._location(response)
            else:
                self.registry.discard(response)
        if session is not None:
            return session
        response = self.registry.request("POST", f"{self.repository}/blobs/uploads/", self._scopes, body=b"")
        if response.status != 202:
            raise self._refused(response, digest)
        return self._location(response)

    def _location(self, response: Response) -> str:
        """The URL of the session, as the answer names it; it may change with every answer."""
        location = response.headers.get("Location")
        self.registry.discard(response)
        base = urls.parse(f"{self.registry.base()}/v2/")
        try:
            place = urls.join(base, location)
        except ValueError as error:
            raise errors.Denied(f"{self.where}: the place for an upload is no address: {error}") from None
        if base.scheme == "https" and place.scheme == "http" and place.host != base.host:
            raise errors.Denied(f"{self.where} wants an upload sent to {place.host} over plain http")
        if place.host == base.host and place.scheme != base.scheme:
            place = place.replace(scheme=base.scheme, port=base.port)  # behind a proxy that ends TLS
        return str(place)

    def _send(self, location: str, offset: int, piece: int, blob: Descriptor, read: Read, progress: Progress) -> None:
        whole = offset == 0 and (not piece or blob.size <= piece)
        if not whole:
            step = piece or blob.size
            while offset < blob.size:
                end = min(offset + step, blob.size)
                headers = {**_BYTES, "Content-Range": f"{offset}-{end - 1}"}
                location = self._patch(location, headers, offset, end, blob, read, progress)
                offset = end
        start, end = (0, blob.size) if whole else (blob.size, blob.size)
        url = urls.query(location, [("digest", blob.digest)])
        response = self._body("PUT", url, dict(_BYTES), start, end, read, progress)
        if response.status not in (201, 204):
            raise self._refused(response, blob.digest)
        self.registry.discard(response)

    def _patch(
        self,
        location: str,
        headers: dict[str, str],
        start: int,
        end: int,
        blob: Descriptor,
        read: Read,
        progress: Progress,
    ) -> str:
        response = self._body("PATCH", location, headers, start, end, read, progress)
        if response.status != 202:
            raise self._refused(response, blob.digest)
        return self._location(response)

    def _body(
        self, method: str, url: str, headers: dict[str, str], start: int, end: int, read: Read, progress: Progress
    ) -> Response:
        def pieces() -> Iterator[bytes]:
            position = start
            for chunk in read(start) if end > start else ():
                chunk = chunk[: end - position]
                if chunk:
                    yield chunk
                position += len(chunk)
                progress(position)
                if position >= end:
                    break
            if position < end:
                raise errors.Corrupt(f"the stored content ends after {position} of {end} bytes")

        length = {"Content-Length": str(end - start)}
        response = self.registry.request(
            method, url, self._scopes, headers={**headers, **length}, body=pieces, repeat=False
        )
        if response.status in (404, 408, 416, 425, 429) or response.status >= 500:
            after = response.headers.get("Retry-After")
            error = self._refused(response, "upload")
            if after:
                self.registry.pause(1, after)
            raise errors.Unavailable(error.message, hint=error.hint)
        if response.status == 413:
            self.registry.discard(response)
            raise TooLarge(f"{self.where} does not take {end - start} bytes in one request")
        return response

    def _arrived(self, location: str | None, size: int) -> tuple[str | None, int]:
        """How far an upload came: its place now, and the bytes; (None, 0) to begin anew."""
        if location is None:
            return None, 0
        try:
            response = self.registry.request("GET", location, self._scopes)
        except errors.AtollError:
            return None, 0
        stated = response.headers.get("Range").removeprefix("bytes=")
        first, _, last = stated.partition("-")
        if response.status != 204 or first != "0" or not last.isdecimal() or not 0 < int(last) < size - 1:
            self.registry.discard(response)  # "0-0" is what an empty upload answers too
            return None, 0
        if not response.headers.get("Location"):
            self.registry.discard(response)
            return location, int(last) + 1
        return self._location(response), int(last) + 1

    def _refused(self, response: Response, at: str) -> errors.AtollError:
        error = self.registry.refused(response, self.repository, at, doing="push")
        if "digest" in error.message and "did not match" in error.message:
            return errors.Corrupt(
                f"{at}: {error.message}", hint="the stored content is damaged: see 'atoll system check'"
            )
        return error

    # --- referrers ----------------------------------------------------------------------------------------------

    def _note_referrer(self, document: Document, subject: str) -> None:
        """Add a manifest to the index under its subject's tag ("Referrers Tag Schema"). Two at once may lose one
        another's entry: the schema knows no better."""
        known = by_tag(self.registry, self.repository, subject)
        entries = jsontext.loads(known.body)["manifests"] if known else []
        if any(one.get("digest") == document.digest for one in entries):
            return
        manifest = jsontext.loads(document.body)
        entry = {
            "mediaType": document.media_type,
            "digest": document.digest,
            "size": len(document.body),
            "artifactType": manifest.get("artifactType") or manifest.get("config", {}).get("mediaType", ""),
        }
        if manifest.get("annotations"):
            entry["annotations"] = manifest["annotations"]
        index = {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [*entries, entry]}
        body = jsontext.dumps(index).encode()
        self.put_document(Document(body=body, media_type=OCI_INDEX, digest=digests.of(body)), referrers_tag(subject))
