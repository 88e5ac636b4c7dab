"""Archives of checkpoints are hostile input: whatever is changed in one is refused, or within its bounds."""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.base.value import fields
from atoll.engine.checkpoints import archive
from atoll.engine.checkpoints.archive import Container, Manifest, Reader, VolumeFacts, VolumeMount
from atoll.vm.checkpoint import Shape

SHAPE = Shape(kernel="a" * 64, agent="b" * 64, image="c" * 64, vmm="QEMU 7.2", memory=1, cpus=1, accel="tcg")
DATA = {"memory": (b"\1" * 5000, 300_000, 1 << 20), "state": (b"devices", 0, 7), "disk.img": (b"ext4", 8192, 1 << 16)}


def _write(place: str) -> bytes:
    """An archive of three small files with holes."""
    for name, (data, offset, length) in DATA.items():
        with open(f"{place}/{name}", "wb") as stream:
            stream.truncate(length)
            stream.seek(offset)
            stream.write(data)
    parts = {name: archive.part_of(f"{place}/{name}") for name in DATA}
    container = Container(entrypoint=("sh",), cmd=("-c", "true"), env=("A=b",))
    made = Manifest(
        image="sha256:" + "d" * 64, platform="linux/amd64", container=container, machine=SHAPE, parts=parts
    )
    with open(f"{place}/archive", "wb") as out:
        archive.write(out.fileno(), made, place)
    with open(f"{place}/archive", "rb") as stream:
        return stream.read()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return _write(str(tmp_path_factory.mktemp("archive")))


def _read(data: bytes, place: str) -> Manifest:
    with tempfile.TemporaryFile() as stream:
        stream.write(data)
        stream.seek(0)
        fd = os.dup(stream.fileno())
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        reader = Reader(fd)
        reader.extract(place)
        return reader.manifest
    finally:
        os.close(fd)


def _contents(place: str) -> dict[str, bytes]:
    found = {}
    for name in os.listdir(place):
        with open(f"{place}/{name}", "rb") as stream:
            found[name] = stream.read()
    return found


def test_what_is_written_is_read(whole: bytes, tmp_path: Any):
    read = _read(whole, str(tmp_path))
    assert read.machine == SHAPE
    assert read.container.cmd == ("-c", "true")
    for name, content in _contents(str(tmp_path)).items():
        data, offset, length = DATA[name]
        assert content == bytes(offset) + data + bytes(length - offset - len(data))
        assert os.stat(tmp_path / name).st_mode & 0o777 == 0o600
    assert (tmp_path / "memory").stat().st_blocks * 512 < 1 << 18  # its holes are holes


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_a_changed_archive_is_refused_or_the_same(whole: bytes, data: st.DataObject):
    """Bytes changed, cut off, put in, taken out: refused in words, or what is read is what was written."""
    changed = bytearray(whole)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, max(0, len(changed) - 1)))
        how = data.draw(st.sampled_from(("set", "cut", "insert", "delete")))
        if how == "set" and changed:
            changed[at] = data.draw(st.integers(0, 255))
        elif how == "cut":
            del changed[at:]
        elif how == "insert":
            changed[at:at] = data.draw(st.binary(min_size=1, max_size=600))
        else:
            del changed[at : at + data.draw(st.integers(1, 600))]
    with tempfile.TemporaryDirectory() as place:
        try:
            read = _read(bytes(changed), place)
        except (errors.Corrupt, errors.Unsupported):
            assert set(os.listdir(place)) <= set(archive.MEMBERS)
            return
        for name, content in _contents(place).items():
            part = read.parts[name]
            assert len(content) == part.length <= archive.LENGTH_MAX[name]
            data_of = b"".join([content[offset : offset + count] for offset, count in part.extents])
            assert hashlib.sha256(data_of).hexdigest() == part.digest


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_a_changed_manifest_is_refused_or_within_bounds(whole: bytes, data: st.DataObject):
    """Any value in the place of any other: Corrupt or Unsupported, or every number is within its bounds."""
    size = int(whole[124:135], 8)
    document = json.loads(whole[512 : 512 + size])
    places: list[tuple[Any, Any]] = []

    def walk(node: Any) -> None:
        for key in list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ():
            places.append((node, key))
            walk(node[key])

    walk(document)
    node, key = data.draw(st.sampled_from(places))
    if isinstance(node, dict) and data.draw(st.booleans()):
        node[data.draw(st.text(max_size=8))] = data.draw(_json)
    node[key] = data.draw(_json)
    try:
        read = Manifest.from_json(document)
    except (errors.Corrupt, errors.Unsupported):
        return
    for name, part in read.parts.items():
        assert 0 <= part.size <= part.length <= archive.LENGTH_MAX[name]
        assert list(part.extents) == sorted(part.extents)


@pytest.mark.parametrize(
    "extents",
    [[[0, 2], [1, 2]], [[-1, 2]], [[0, 0]], [[0, 1 << 40]], [[4, 2], [0, 2]], [[True, 2]], [[0, 2, 3]], [["0", 2]]],
)
def test_extents_that_lie(whole: bytes, extents: list[Any]):
    document = json.loads(whole[512 : 512 + int(whole[124:135], 8)])
    document["parts"]["disk.img"]["extents"] = extents
    with pytest.raises(errors.Corrupt):
        Manifest.from_json(document)


def test_nothing_in_an_archive_grants_a_right():
    """What travels is what an image could say. Whoever adds a field decides here that it is no right."""
    assert set(fields(VolumeFacts)) == {"name", "mounts"}
    assert set(fields(VolumeMount)) == {"destination", "read_only", "copy", "subpath", "options"}
    assert set(fields(Container)) == set(
        "entrypoint cmd env workdir user terminal stdin stop_signal stop_timeout memory cpus".split()
    )


VOLUME = VolumeFacts(name="data", mounts=(VolumeMount(destination="/data", read_only=True, options=("nodev",)),))


def _cold() -> dict[str, Any]:
    """The document of an archive with a disk and one volume."""
    parts = {name: archive.Part(length=0, extents=(), digest="e" * 64) for name in ("disk.img", "volume-0.tar")}
    return Manifest(
        image="sha256:" + "d" * 64,
        platform="linux/amd64",
        container=Container(),
        machine=None,
        parts=parts,
        volumes=(VOLUME,),
        left=("/etc/site",),
    ).to_json()


def test_volumes_are_of_a_form_of_their_own():
    document = _cold()
    assert document["atollCheckpoint"] == 2
    read = Manifest.from_json(document)
    assert read.volumes == (VOLUME,)
    assert read.left == ("/etc/site",)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("name", "../data"),
        ("name", "a/b"),
        ("name", ".making-1"),
        ("name", "-x"),
        ("mounts", []),
        ("destination", "/proc/sys"),
        ("destination", "/"),
        ("destination", "data"),
        ("destination", "/a/../../etc"),
        ("destination", "/a//b"),
        ("destination", "/a\n/b"),
        ("subpath", "../.."),
        ("subpath", "/etc"),
        ("subpath", "a\nb"),
        ("options", ["suid"]),
        ("options", ["bind"]),
        ("type", "bind"),
        ("source", "/etc"),
    ],
)
def test_volumes_that_ask_for_more(key: str, value: Any):
    """No path of the host's, no mount but of a volume's own directory: an unknown field is passed over or refused."""
    document = _cold()
    volume = document["volumes"][0]
    target = volume if key in ("name", "mounts") else volume["mounts"][0]
    target[key] = value
    try:
        read = Manifest.from_json(document)
    except errors.Corrupt:
        return
    assert key in ("type", "source")
    assert read.volumes == (VOLUME,)


def test_volumes_that_do_not_fit_their_archive():
    twice = _cold()
    twice["volumes"] *= 2
    twice["parts"]["volume-1.tar"] = twice["parts"]["volume-0.tar"]
    missing, further, many = _cold(), _cold(), _cold()
    del missing["parts"]["volume-0.tar"]
    further["parts"]["volume-1.tar"] = further["parts"]["volume-0.tar"]
    one = many["volumes"][0]
    many["volumes"] = [
        {"name": f"v{n}", "mounts": [{**one["mounts"][0], "destination": f"/v{n}"}]}
        for n in range(archive.VOLUMES_MAX + 1)
    ]
    many["parts"] |= dict.fromkeys(archive.VOLUMES, many["parts"]["volume-0.tar"])
    hollow = _cold()  # to read it would take as long as its writer likes
    hollow["parts"]["volume-0.tar"]["length"] = 1 << 40
    running = _cold()
    running["machine"] = SHAPE.to_json()
    running["parts"] |= {
        "memory": {"length": 1 << 20, "extents": [], "sha256": "e" * 64},
        "state": {"length": 0, "extents": [], "sha256": "e" * 64},
    }
    for document in (twice, missing, further, many, hollow, running):
        with pytest.raises(errors.Corrupt):
            Manifest.from_json(document)


def test_names_lead_nowhere(whole: bytes, tmp_path: Any):
    """A member of another name, a link, or a path is no member."""
    for name in (b"../memory", b"/etc/passwd", b"memory2"):
        with pytest.raises(errors.Corrupt):
            _read(whole.replace(b"memory\0", name + b"\0", 1), str(tmp_path))
    link = bytearray(whole)
    at = bytes(link).index(b"memory\0\0")
    link[at + 156] = ord("2")
    with pytest.raises(errors.Corrupt):
        _read(bytes(link), str(tmp_path))
    assert os.listdir(tmp_path) == []
