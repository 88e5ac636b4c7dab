"""Uploads: whole, in pieces, mounted, gone on with; documents; the referrers' tag."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator

import pytest

from atoll.base import errors
from atoll.images import listing
from atoll.images.push import RepositoryDestination
from atoll.images.registry import Registry
from atoll.images.source import Document
from atoll.images.values import RegistryOptions
from atoll.spec import reference as references
from atoll.spec.image import OCI_INDEX, OCI_MANIFEST, Descriptor
from unit.images.memory import Memory, sha256

QUICK = RegistryOptions(auth_files=(), certs_dirs=(), backoff=0.001, connect_timeout=2, read_timeout=5, attempts=4)
DATA = os.urandom(3 << 20)
BLOB = Descriptor(media_type="x", digest=sha256(DATA), size=len(DATA))


def read(offset: int) -> Iterator[bytes]:
    while offset < len(DATA):
        yield DATA[offset : offset + 100_000]
        offset += 100_000


def destination(server: Memory, name: str = "app", **how: object) -> RepositoryDestination:
    return RepositoryDestination(references.parse(f"{server.host}/{name}:v1"), QUICK, **how)


def put(target: RepositoryDestination) -> tuple[bool, list[int]]:
    steps: list[int] = []
    moved = target.put(BLOB, read, steps.append)
    return moved, steps


def test_a_whole_blob_in_one_request_and_not_twice():
    with Memory() as server:
        target = destination(server)
        assert not target.has(BLOB.digest, BLOB.size)
        moved, steps = put(target)
        assert (moved, steps[-1], server.count("PUT"), server.count("PATCH")) == (True, len(DATA), 1, 0)
        assert server.blobs["app"] == {BLOB.digest: DATA}
        assert target.has(BLOB.digest, BLOB.size)
        target.close()


@pytest.mark.parametrize("fault", ["cut-put", "busy"])
def test_what_broke_off_goes_on_where_it_stopped(fault: str):
    with Memory(fault) as server:
        assert put(destination(server))[0]
        assert server.blobs["app"] == {BLOB.digest: DATA}
        if fault == "cut-put":
            assert server.count("PATCH") == 1
            assert server.received <= len(DATA) + 100_000


def test_an_upload_whose_progress_is_not_told_begins_anew():
    with Memory("cut-put", "no-status") as server:
        assert put(destination(server))[0]
        assert (server.blobs["app"], server.count("PATCH")) == ({BLOB.digest: DATA}, 0)


def test_pieces_where_they_are_wished_for_or_needed(monkeypatch: pytest.MonkeyPatch):
    from atoll.images import push

    with Memory() as server:
        assert put(destination(server, piece=1_000_000))[0]
        assert (server.blobs["app"], server.count("PATCH")) == ({BLOB.digest: DATA}, 4)
    monkeypatch.setattr(push, "_PIECE", 1 << 20)
    with Memory("limit") as server:
        assert put(destination(server))[0]
        assert (server.blobs["app"], server.count("PATCH")) == ({BLOB.digest: DATA}, 3)


@pytest.mark.parametrize("fault", ["", "no-mount"])
def test_mounting_from_another_repository(fault: str):
    with Memory(fault) as server:
        server.blobs["other"] = {BLOB.digest: DATA}
        target = destination(server, mounts=lambda digest: ["nowhere", "other"])
        moved, _ = put(target)
        assert moved is (fault == "no-mount")
        assert server.blobs["app"] == {BLOB.digest: DATA}
        assert target.mounted == ({} if moved else {BLOB.digest: "other"})


def test_content_that_is_not_what_its_digest_says():
    with Memory() as server, pytest.raises(errors.Corrupt, match="did not match"):
        destination(server).put(BLOB.replace(digest=sha256(b"else")), read, lambda _: None)
    with Memory() as server, pytest.raises(errors.Corrupt, match="ends after"):
        destination(server).put(BLOB.replace(size=len(DATA) + 5), read, lambda _: None)


def document(subject: bytes | None = None) -> Document:
    empty = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2}
    body = {"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": empty, "layers": [], "artifactType": "a/b"}
    if subject is not None:
        body["subject"] = {"mediaType": OCI_MANIFEST, "digest": sha256(subject), "size": len(subject)}
    text = json.dumps(body).encode()
    return Document(body=text, media_type=OCI_MANIFEST, digest=sha256(text))


def test_documents_keep_their_bytes():
    one = document()
    with Memory() as server:
        target = destination(server)
        target.put_document(one, "v1")
        target.put_document(one, None)
        assert set(server.manifests["app"]) == {"v1", one.digest}
        assert server.manifests["app"]["v1"] == (OCI_MANIFEST, one.body)
    with Memory("wrong-digest") as server, pytest.raises(errors.Corrupt, match="stored sha256"):
        destination(server).put_document(one, "v1")


@pytest.mark.parametrize("fault", ["", "no-referrers"])
def test_referrers_by_the_api_and_by_the_tag(fault: str):
    image = document()
    with Memory(fault) as server:
        registry = Registry(server.host, QUICK)
        assert not json.loads((listing.referrers(registry, "app", image.digest) or image).body).get("manifests")
        target = destination(server)
        target.put_document(image, "v1")
        for _ in range(2):
            target.put_document(document(image.body), None)
        index = listing.referrers(registry, "app", image.digest)
        assert index is not None
        entries = json.loads(index.body)["manifests"]
        assert [one["artifactType"] for one in entries] == ["a/b"]
        assert index.media_type == OCI_INDEX
        assert (listing.referrers_tag(image.digest) in server.manifests["app"]) is (fault != "")


def test_tags_and_repositories_page_by_page():
    with Memory(page=3) as server:
        server.manifests = {f"r{n}": {} for n in range(7)}
        server.manifests["r0"] = {f"t{n}": ("", b"") for n in range(8)}
        registry = Registry(server.host, QUICK)
        assert list(listing.tags(registry, "r0")) == [f"t{n}" for n in range(8)]
        assert list(listing.catalog(registry)) == [f"r{n}" for n in range(7)]
    with Memory("bad-list") as server, pytest.raises(errors.Denied, match=r"elsewhere\.example"):
        server.manifests = {"r": {}}
        list(listing.catalog(Registry(server.host, QUICK)))


def test_deleting():
    one = document()
    with Memory() as server:
        destination(server).put_document(one, "v1")
        registry = Registry(server.host, QUICK)
        listing.delete_manifest(registry, "app", one.digest)
        assert set(server.manifests["app"]) == {"v1"}
        with pytest.raises(errors.NotFound):
            listing.delete_manifest(registry, "app", one.digest)
