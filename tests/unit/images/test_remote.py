"""Mirrors: asked first, passed over, never believed; offline mode."""

from __future__ import annotations

import json

import pytest

from atoll.base import errors
from atoll.images.registry import Registry
from atoll.images.remote import Repository
from atoll.images.values import Mirror, RegistryOptions, RegistrySettings
from atoll.spec import reference as references
from atoll.spec.image import OCI_MANIFEST
from unit.images.memory import Memory, sha256

QUICK = RegistryOptions(auth_files=(), certs_dirs=(), backoff=0.001, connect_timeout=2, read_timeout=5, attempts=2)
BODY = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": {}, "layers": []}).encode()
DATA = bytes(range(256)) * 1000


def filled(*faults: str, data: bytes = DATA) -> Memory:
    server = Memory(*faults)
    server.manifests = {"app": {"v1": (OCI_MANIFEST, BODY), sha256(BODY): (OCI_MANIFEST, BODY)}}
    server.blobs = {"app": {sha256(DATA): data}}
    return server


def repository(server: Memory, *mirrors: Mirror) -> Repository:
    said = RegistrySettings(prefix=server.host, mirrors=mirrors)
    return Repository(references.parse(f"{server.host}/app:v1"), QUICK.replace(registries=(said,)))


def whole(source: Repository) -> bytes:
    return b"".join([chunk for _, chunk in source.blob(sha256(DATA), 0, len(DATA))])


def test_a_mirror_that_has_it_is_enough():
    with filled() as origin, filled() as mirror:
        source = repository(origin, Mirror(location=mirror.host))
        assert source.digest("v1") == sha256(BODY)
        assert source.document("v1").body == BODY
        assert whole(source) == DATA
        assert origin.seen == []
        source.close()


def test_a_mirror_that_lacks_it_lies_or_is_away_is_passed_over():
    with filled() as origin, Memory() as empty, filled() as forged:
        forged.manifests["app"][sha256(BODY)] = (OCI_MANIFEST, BODY + b" ")
        away = Mirror(location="127.0.0.1:1")
        source = repository(origin, away, Mirror(location=empty.host), Mirror(location=forged.host))
        assert source.document(sha256(BODY)).body == BODY
        with pytest.raises(errors.NotFound) as caught:
            source.document("v2")
        assert any("127.0.0.1:1" in note for note in caught.value.__notes__)


def test_a_blob_that_a_mirror_breaks_off_is_gone_on_with_at_the_registry():
    with filled() as origin, filled(data=DATA[:100_000]) as short:
        assert whole(repository(origin, Mirror(location=short.host))) == DATA
        assert origin.count("GET", "/blobs/") == 1


def test_a_mirror_for_digests_is_not_asked_for_tags():
    with filled() as origin, filled() as mirror:
        source = repository(origin, Mirror(location=mirror.host, pull="digests"))
        source.document("v1")
        assert mirror.seen == []
        source.document(sha256(BODY))
        assert mirror.count("GET", "/manifests/") == 1


def test_without_mirrors():
    with filled() as origin, filled() as mirror:
        assert repository(origin).without_mirrors() is None
        alone = repository(origin, Mirror(location=mirror.host)).without_mirrors()
        assert alone is not None
        assert whole(alone) == DATA
        assert mirror.seen == []


def test_offline_only_this_machine_is_asked():
    options = QUICK.replace(offline=True)
    with pytest.raises(errors.Unavailable, match="offline mode"):
        Registry("reg.example", options).manifest("app", "v1")
    with filled() as local:
        assert Registry(local.host, options).manifest("app", "v1").body == BODY
