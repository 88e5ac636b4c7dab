"""What every place of images owes the others (images/source.py): what goes in by `Destination` comes out by `Source`.

A place is a line in PLACES: from a folder of its own to the text that names it, with an image's name and tag.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import places
from atoll.images.source import Destination, Document, Source
from atoll.images.values import RegistryOptions
from atoll.spec import digest as digests
from atoll.spec.image import Descriptor, parse_document
from kit import images
from kit.images import Image
from unit.images.memory import Memory

OPTIONS = RegistryOptions(auth_files=(), certs_dirs=(), backoff=0.001, attempts=2)
PLACES: dict[str, Callable[[Path, Memory], str]] = {
    "registry": lambda folder, server: f"{server.host}/team/app:v1",
    "oci": lambda folder, server: f"oci:{folder}/layout:v1",
    "oci-archive": lambda folder, server: f"oci-archive:{folder}/layout.tar:v1",
    "docker-archive": lambda folder, server: f"docker-archive:{folder}/image.tar:team/app:v1",
}
KEEPS_BYTES = ("registry", "oci", "oci-archive")  # docker-archive holds layers without compression


class Place:
    """One place under test."""

    def __init__(self, text: str, kind: str) -> None:
        self.place = places.parse(text)
        self.kind = kind
        self.at = self.place.reference.at if self.place.reference is not None else self.place.at

    def source(self) -> Source:
        return places.open_source(self.place, OPTIONS)

    def destination(self) -> Destination:
        return places.open_destination(self.place, OPTIONS)

    def put(self, image: Image) -> None:
        target = self.destination()
        try:
            for blob in (*image.layers, image.config):
                entry = Descriptor(media_type=blob.media_type, digest=blob.digest, size=blob.size)
                if not target.has(entry.digest, entry.size):
                    assert target.put(entry, reader(blob.read()), lambda _: None)
            manifest = image.manifest
            target.put_document(
                Document(body=manifest.read(), media_type=manifest.media_type, digest=manifest.digest), self.at
            )
            target.finish()
        finally:
            target.close()
            target.close()


def reader(data: bytes) -> Callable[[int], Iterator[bytes]]:
    return lambda offset: iter([data[offset : offset + 1000], data[offset + 1000 :]])


@pytest.fixture(params=sorted(PLACES))
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    with Memory() as server:
        yield Place(PLACES[request.param](tmp_path, server), request.param)


@pytest.fixture(scope="module")
def image() -> Image:
    content = os.urandom(200_000)
    return images.assemble([images.layer(lambda tar: images.entry(tar, "file", content))], {"Cmd": ["x"]})


def content(source: Source, entry: Descriptor, offset: int = 0) -> bytes:
    parts, position = [], offset
    for at, chunk in source.blob(entry.digest, offset, entry.size):
        assert at == position
        assert 0 < len(chunk) <= 1 << 20
        parts.append(chunk)
        position += len(chunk)
    return b"".join(parts)


def test_what_went_in_comes_out(place: Place, image: Image):
    place.put(image)
    source = place.source()
    found = source.document(place.at)
    manifest = parse_document(found.body, found.media_type, "it")
    assert found.digest == digests.of(found.body)
    assert source.digest(place.at) in (None, found.digest)
    assert source.document(found.digest).body == found.body
    config = content(source, manifest.config)
    diff_ids = json.loads(config)["rootfs"]["diff_ids"]
    assert digests.of(config) == manifest.config.digest == image.config.digest
    layers = [content(source, entry) for entry in manifest.layers]
    assert [digests.of(one) for one in layers] == [entry.digest for entry in manifest.layers]
    if place.kind in KEEPS_BYTES:
        assert found.digest == image.manifest.digest
        assert layers == [one.read() for one in image.layers]
    else:
        assert [entry.digest for entry in manifest.layers] == diff_ids
    source.close()
    source.close()


def test_the_same_document_every_time(place: Place, image: Image):
    place.put(image)
    bodies = []
    for _ in range(2):
        source = place.source()
        bodies.append(source.document(place.at).body)
        source.close()
    assert bodies[0] == bodies[1]


@pytest.mark.parametrize("part", [0, 1, 1000, -1])
def test_a_blob_from_any_offset(place: Place, image: Image, part: int):
    place.put(image)
    source = place.source()
    manifest = parse_document(source.document(place.at).body, None, "it")
    entry = manifest.layers[0]
    offset = part if part >= 0 else entry.size + part
    assert content(source, entry, offset) == content(source, entry)[offset:]
    source.close()


def test_what_is_not_there(place: Place, image: Image):
    place.put(image)
    source = place.source()
    with pytest.raises(errors.NotFound):
        source.document("sha256:" + "0" * 64)
    with pytest.raises(errors.NotFound):
        list(source.blob("sha256:" + "0" * 64, 0, 10))
    source.close()


def test_a_wrong_blob_is_refused_and_nothing_half_written_stays(place: Place, image: Image):
    target = place.destination()
    wrong = Descriptor(media_type=images.LAYER, digest=image.layers[0].digest, size=5)
    with pytest.raises(errors.Corrupt):
        target.put(wrong, reader(b"wrong"), lambda _: None)
    target.close()
    with pytest.raises(errors.AtollError):
        source = place.source()
        source.document(place.at)


def test_only_one_image_needs_no_name(place: Place, image: Image):
    place.put(image)
    source = place.source()
    if source.names():
        assert source.document("").body == source.document(place.at).body
        assert len(source.names()) == 1
    source.close()
