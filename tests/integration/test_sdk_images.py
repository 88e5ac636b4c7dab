"""The SDK's images: one interface over the store, a registry, layouts, archives and a Docker daemon."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import atoll as sdk
from kit import images
from kit.command import Atoll
from kit.registry import Registry


@pytest.fixture
def client(atoll: Atoll) -> Iterator[sdk.Client]:
    environ = {**os.environ, "ATOLL_CONFIG": atoll.config, "HOME": atoll.folder}
    one = sdk.Client(data_root=atoll.data, run_root=atoll.run_root, environ=environ)
    yield one
    one.close()


def digest(parts) -> str:
    seen = hashlib.sha256()
    for part in parts:
        seen.update(part)
    return "sha256:" + seen.hexdigest()


def example() -> images.Image:
    """Two layers, compressed and not, with annotations."""

    def top(tar) -> None:
        images.entry(tar, "etc/top", b"top" * 5000)

    base = images.busybox(User="user", Labels={"kind": "example"})
    return images.with_layers(base, [images.layer(top, "none")], {"Env": ["A=b"], "Labels": {"kind": "example"}})


def check(image: sdk.Image, *, same: images.Image | None = None) -> None:
    """What every source gives for `example`; `same` where it keeps the bytes of manifest and layers."""
    assert image.config.config.env == ("A=b",)
    assert dict(image.config.config.labels) == {"kind": "example"}
    assert image.config.platform.os == "linux"
    assert image.id == image.manifest.config.digest
    assert image.artifact_type is None
    assert len(image.layers) == 2
    for layer, diff_id in zip(image.layers, image.config.diff_ids, strict=True):
        assert layer.diff_id == diff_id
        assert digest(layer.tar()) == diff_id
        assert digest(layer.blob()) == layer.digest
    assert b"top" * 5000 in b"".join(image.layers[1].tar())
    if same is not None:
        assert (image.digest, image.id) == (same.manifest.digest, same.config.digest)
        assert [(one.digest, one.size, one.media_type) for one in image.layers] == [
            (one.digest, one.size, one.media_type) for one in same.layers
        ]


def test_one_interface_whatever_the_source(client: sdk.Client, atoll: Atoll, registry: Registry):
    made = example()
    name = registry.push(made, "sdk")
    here = client.images.pull(name)
    assert here.names == (name,)
    assert here == client.images.get(here.id)
    assert client.images.list() == [here]
    assert here.size > 1_000_000
    folder = atoll.folder
    client.images.save([name], f"{folder}/a.tar", format="oci-archive")
    client.images.save([name], f"{folder}/d.tar")
    client.images.save([name], f"{folder}/layout", format="oci-dir")
    for place, same in (
        (name, made), (f"docker://{name}", made), (f"oci:{folder}/layout", made),
        (f"oci-archive:{folder}/a.tar", made), (f"docker-archive:{folder}/d.tar", None),
    ):  # fmt: skip
        with client.images.open(place) as there:
            check(there, same=same)
            assert there.target == there.digest
            assert there.index is None
    check(here, same=made)
    client.images.tag(name, "again:1")
    assert client.images.push("again:1", f"{registry.host}/sdk-copy:1") == made.manifest.digest
    client.images.remove(here.id, force=True)
    assert client.images.list() == []
    (loaded,) = client.images.load(f"{folder}/d.tar")
    check(loaded)
    assert loaded.id == made.config.digest


def test_platforms_and_artifacts(client: sdk.Client, registry: Registry):
    ours = example()
    kind = "application/vnd.oci.image.index.v1+json"
    index = images.blob(kind, images.document({"schemaVersion": 2, "mediaType": kind, "manifests": [
        {**ours.manifest.descriptor(), "platform": {"os": "linux", "architecture": "amd64"}},
        {**ours.manifest.descriptor(), "platform": {"os": "linux", "architecture": "arm64"}}]}))  # fmt: skip
    registry.push(ours, "sdk-many", "one")
    assert registry.request("PUT", "/v2/sdk-many/manifests/all", index.read(), {"Content-Type": kind})[0] == 201
    name = f"{registry.host}/sdk-many:all"
    with client.images.open(name, platform="linux/arm64") as there:
        check(there, same=ours)
        assert there.index is not None
        assert [one.platform.architecture for one in there.index.manifests] == ["amd64", "arm64"]
        assert there.target == index.digest
    with client.images.open(name, platform="linux/s390x") as there, pytest.raises(sdk.NotFound, match="s390x"):
        assert there.manifest
    here = client.images.pull(name)
    assert (here.target, here.digest) == (index.digest, ours.manifest.digest)
    config = images.blob("application/vnd.oci.empty.v1+json", b"{}")
    blob = images.blob("text/plain", b"content")
    body = {"schemaVersion": 2, "mediaType": images.MANIFEST, "artifactType": "text/x-note",
            "config": config.descriptor(), "layers": [blob.descriptor()]}  # fmt: skip
    manifest = images.blob(images.MANIFEST, images.document(body))
    note = registry.push(images.Image(manifest, config, (blob,)), "sdk-note")
    with client.images.open(note) as there:
        assert there.artifact_type == "text/x-note"
        assert there.id == manifest.digest
        assert b"".join(there.layers[0].blob()) == b"content"
        with pytest.raises(sdk.Unsupported, match="no image's configuration"):
            assert there.config
        with pytest.raises(sdk.Unsupported, match="no layer"):
            next(there.layers[0].tar())
    assert client.images.pull(note).id == manifest.digest


def test_what_a_source_says_is_checked(client: sdk.Client, tmp_path: Path):
    made = example()

    def spoilt(change: Callable[[Path], None]) -> sdk.Image:
        folder = tmp_path / change.__name__
        images.write_layout(made, folder, "x")
        change(folder / "blobs/sha256")
        return client.images.open(f"oci:{folder}:x")

    def manifest(blobs: Path) -> None:
        path = blobs / made.manifest.digest[7:]
        path.write_bytes(path.read_bytes().replace(b"sha256", b"sha255", 1))

    def config(blobs: Path) -> None:
        path = blobs / made.config.digest[7:]
        path.write_bytes(path.read_bytes().replace(b"A=b", b"A=c"))

    def layer(blobs: Path) -> None:
        path = blobs / made.layers[1].digest[7:]
        path.write_bytes(path.read_bytes().replace(b"top", b"pot"))

    def missing(blobs: Path) -> None:
        (blobs / made.layers[1].digest[7:]).unlink()

    with pytest.raises(sdk.Corrupt), spoilt(manifest) as image:
        assert image.manifest
    with pytest.raises(sdk.Corrupt), spoilt(config) as image:
        assert image.config
    with pytest.raises(sdk.Corrupt), spoilt(layer) as image:
        assert list(image.layers[1].tar())
    with pytest.raises(sdk.NotFound), spoilt(missing) as image:
        assert list(image.layers[1].blob())
    with pytest.raises(sdk.NotFound), client.images.open(f"oci:{tmp_path}/none") as image:
        assert image.manifest
