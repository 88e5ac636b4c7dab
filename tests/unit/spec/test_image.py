"""Image documents: what is accepted, what is confusion, what an image may not ask for."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.spec import digest, image, platform

D = "sha256:" + "a" * 64
LAYER = {"mediaType": image.OCI_LAYER + "+gzip", "digest": D, "size": 3}
CONFIG = {"mediaType": image.OCI_CONFIG, "digest": D, "size": 2}
MANIFEST: dict[str, Any] = {"schemaVersion": 2, "mediaType": image.OCI_MANIFEST, "config": CONFIG, "layers": [LAYER]}
INDEX: dict[str, Any] = {
    "schemaVersion": 2,
    "manifests": [
        {
            "mediaType": image.OCI_MANIFEST,
            "digest": D,
            "size": 1,
            "platform": {"os": "linux", "architecture": "arm64"},
        },
        {
            "mediaType": image.OCI_MANIFEST,
            "digest": "sha256:" + "b" * 64,
            "size": 1,
            "platform": {"os": "linux", "architecture": "amd64"},
        },
    ],
}
BASE: dict[str, Any] = {"architecture": "amd64", "os": "linux", "rootfs": {"type": "layers", "diff_ids": [D]}}


def parse(document: object, content_type: str | None = None) -> image.Manifest | image.Index:
    return image.parse_document(json.dumps(document).encode(), content_type, "x")


def config(**run: object) -> image.ImageConfig:
    return image.parse_config(json.dumps({**BASE, "config": run}).encode())


def test_a_manifest():
    parsed = parse(MANIFEST, image.OCI_MANIFEST)
    assert isinstance(parsed, image.Manifest)
    assert parsed.layers[0].compression == "gzip"
    assert parsed.config.size == 2
    without = {k: v for k, v in MANIFEST.items() if k != "mediaType"}
    assert parse(without, image.OCI_MANIFEST + "; charset=utf-8").media_type == image.OCI_MANIFEST
    assert parse(without).media_type == image.OCI_MANIFEST


def test_an_index_and_its_choice():
    parsed = parse(INDEX)
    assert isinstance(parsed, image.Index)
    assert parsed.select(platform.parse("linux/amd64")).digest.endswith("b" * 64)
    with pytest.raises(errors.NotFound, match="no matching manifest for linux/s390x") as caught:
        parsed.select(platform.parse("linux/s390x"))
    assert "linux/amd64, linux/arm64" in str(caught.value)


@pytest.mark.parametrize(
    ("change", "content_type"),
    [
        ({"manifests": []}, None),
        ({"fsLayers": []}, None),
        ({"mediaType": image.OCI_INDEX}, None),
        ({"mediaType": image.DOCKER_MANIFEST}, image.OCI_MANIFEST),
        ({"mediaType": "text/html"}, None),
        ({"schemaVersion": 3}, None),
        ({"layers": None, "config": None}, None),
        ({"layers": {}}, None),
        ({"config": {**CONFIG, "size": -1}}, None),
        ({"config": {**CONFIG, "size": "2"}}, None),
        ({"config": {**CONFIG, "digest": "sha256:xyz"}}, None),
        ({"layers": [LAYER] * 600}, None),
    ],
)
def test_confusion_is_refused(change: dict[str, Any], content_type: str | None):
    with pytest.raises(errors.Corrupt):
        parse({**MANIFEST, **change}, content_type)


def test_an_index_served_as_a_manifest_is_refused():
    with pytest.raises(errors.Corrupt):
        parse({**INDEX, "mediaType": image.OCI_MANIFEST})
    with pytest.raises(errors.Corrupt):
        parse(INDEX, image.OCI_MANIFEST)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"<html>", b"\xff", b"[" * 100_000, b"null"])
def test_no_document(body: bytes):
    with pytest.raises(errors.Corrupt):
        image.parse_document(body, image.OCI_MANIFEST, "x")
    with pytest.raises(errors.Corrupt):
        image.parse_config(body)


def test_schema_one_is_refused_by_name():
    for document, kind in (({"schemaVersion": 1}, None), ({"schemaVersion": 2}, image.DOCKER_SCHEMA1[1])):
        with pytest.raises(errors.Unsupported, match="schema 1"):
            parse(document, kind)


def test_an_artifact_is_no_layer():
    artifact = {**MANIFEST, "layers": [{**LAYER, "mediaType": "application/spdx+json"}]}
    parsed = parse(artifact)
    assert isinstance(parsed, image.Manifest)
    with pytest.raises(errors.Unsupported, match="spdx"):
        _ = parsed.layers[0].compression


def test_a_configuration():
    parsed = config(
        User="1000:1000",
        Env=["PATH=/bin", "CERT=a\nb", "EMPTY"],
        Entrypoint=["/init"],
        Cmd=None,
        WorkingDir="srv/../app/./x",
        Volumes={"/data": {}},
        ExposedPorts={"80/tcp": {}},
        Labels={"a": "b"},
        Healthcheck={"Test": ["CMD", "true"], "Interval": 1_000_000_000},
    )
    run = parsed.config
    assert run.env == ("PATH=/bin", "CERT=a\nb", "EMPTY=")
    assert run.working_dir == "/app/x"
    assert run.volumes == ("/data",)
    assert run.healthcheck is not None
    assert run.healthcheck.interval == 1_000_000_000
    assert run.to_json()["ExposedPorts"] == {"80/tcp": {}}
    assert parsed.diff_ids == (D,)
    assert (
        image.parse_config(json.dumps({**BASE, "config": None, "history": None}).encode()).config == image.RunConfig()
    )


@pytest.mark.parametrize(
    "run",
    [
        {"User": "4294967295"},
        {"User": "4294967296:0"},
        {"User": "-1"},
        {"User": "0:99999999999999999999"},
        {"User": "a\nroot"},
        {"User": "a:b:c"},
        {"User": "x" * 300},
        {"User": 0},
        {"Env": ["=x"]},
        {"Env": ["A\nB=x"]},
        {"Env": ["A=x\0"]},
        {"Env": [f"V{n}=x" for n in range(10_001)]},
        {"Env": ["A=" + "x" * (1 << 20)]},
        {"Env": "A=x"},
        {"Entrypoint": ["a\0b"]},
        {"Entrypoint": "sh"},
        {"Cmd": [1]},
        {"WorkingDir": "/proc/self/fd/7"},
        {"WorkingDir": "/x/../proc/1/cwd"},
        {"WorkingDir": "/" + "x/" * 4000},
        {"Volumes": {"/proc": {}}},
        {"Volumes": {"/proc/sys": {}}},
        {"Volumes": {"/": {}}},
        {"Volumes": {"x/../../dev/shm": {}}},
        {"Labels": {"a": 1}},
        {"Healthcheck": {"Interval": "1s"}},
    ],
)
def test_hostile_values_are_refused(run: dict[str, object]):
    """Threats, "Images and archives" 14."""
    with pytest.raises(errors.Corrupt):
        config(**run)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    st.sampled_from(["layers", "config", "mediaType", "schemaVersion", "manifests", "annotations"]),
)
def test_any_json_is_parsed_or_refused(value: object, key: str):
    for read in (lambda b: image.parse_document(b, None, "x"), image.parse_config):
        _try(read, json.dumps({**MANIFEST, key: value}).encode())
        _try(read, json.dumps({**BASE, key: value}).encode())


def _try(read: Callable[[bytes], object], body: bytes) -> None:
    try:
        read(body)
    except (errors.Corrupt, errors.Unsupported):
        pass


def test_chain_ids():
    """The example of config.md: each names the layer and all below it."""
    a, b = "sha256:" + "1" * 64, "sha256:" + "2" * 64
    assert digest.chain_ids([a]) == (a,)
    assert digest.chain_ids([a, b]) == (a, digest.of(f"{a} {b}"))


@pytest.mark.parametrize(
    ("want", "have", "fits"),
    [
        ("linux/amd64", "linux/amd64", True),
        ("linux/amd64", "linux/amd64/v2", False),
        ("linux/amd64/v3", "linux/amd64", True),
        ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm64/v8", "linux/arm64", True),
        ("linux/arm/v7", "linux/arm/v6", True),
        ("linux/arm/v6", "linux/arm/v7", False),
        ("linux/amd64", "linux/arm64", False),
        ("linux/amd64", "windows/amd64", False),
        ("x86_64", "linux/amd64", True),
        ("linux/aarch64", "linux/arm64", True),
    ],
)
def test_platforms(want: str, have: str, fits: bool):
    assert (platform.rank(platform.parse(want), platform.parse(have)) is not None) == fits


def test_wrong_platforms_are_refused():
    for text in ("", "a/b/c/d", "linux/"):
        with pytest.raises(errors.InvalidArgument):
            platform.parse(text)
