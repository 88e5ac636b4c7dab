"""docker-archives being written: into a file, where an entry's header comes last, and into a pipe, the same bytes."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import tarfile
import threading
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images.archive import ArchiveDestination
from atoll.snapshots import packing
from atoll.spec.image import Descriptor

PLAIN = os.urandom(300_000) + bytes(700_001)


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _put(target: ArchiveDestination, packed: bytes, *, digest: str | None = None) -> None:
    blob = Descriptor(
        media_type="application/vnd.oci.image.layer.v1.tar+gzip", digest=digest or _digest(packed), size=len(packed)
    )
    pieces = [packed[at : at + 1000] for at in range(0, len(packed), 1000)]
    assert target.put(blob, lambda _: iter(pieces), lambda _: None)


def _write(target: ArchiveDestination) -> None:
    """Two layers, of which the second is the first one compressed otherwise, and a third."""
    _put(target, gzip.compress(PLAIN, 9, mtime=0))
    _put(target, gzip.compress(PLAIN, 1, mtime=0))
    _put(target, gzip.compress(b"other", 1, mtime=0))
    target.finish()
    target.close()


def _through_a_pipe() -> bytes:
    reading, writing = os.pipe()
    parts: list[bytes] = []

    def read() -> None:
        while piece := os.read(reading, 1 << 16):
            parts.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    target = ArchiveDestination(writing)
    os.close(writing)
    _write(target)
    reader.join(20)
    os.close(reading)
    return b"".join(parts)


@pytest.mark.parametrize("most", [None, 1000])
def test_a_file_gets_the_bytes_that_a_pipe_gets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, most) -> None:
    if most is not None:  # as for a layer of more than 8 GiB, whose size ustar's field does not hold
        monkeypatch.setattr(packing, "_OCTAL_SIZE", most)
    path = tmp_path / "a.tar"
    _write(ArchiveDestination(str(path)))
    data = path.read_bytes()
    assert data == _through_a_pipe()
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        found = {one.name: tar.extractfile(one).read() for one in tar if one.name.startswith("blobs/")}
    assert found == {f"blobs/sha256/{_digest(one)[7:]}": one for one in (PLAIN, b"other")}


def test_a_redirected_file_is_appended_to_only_where_it_ends(tmp_path: Path) -> None:
    wanted = _through_a_pipe()
    for flags in (os.O_WRONLY, os.O_WRONLY | os.O_APPEND):
        path = tmp_path / str(flags)
        fd = os.open(path, flags | os.O_CREAT, 0o600)
        os.write(fd, b"before")
        _write(ArchiveDestination(fd))
        os.close(fd)
        assert path.read_bytes() == b"before" + wanted
    path = tmp_path / "inside"
    path.write_bytes(b"x" * (len(wanted) + 1000))
    fd = os.open(path, os.O_WRONLY)
    _write(ArchiveDestination(fd))
    os.close(fd)
    assert path.read_bytes() == wanted + b"x" * 1000


def test_a_known_diff_id_is_taken_but_the_blob_is_checked(tmp_path: Path) -> None:
    packed = gzip.compress(PLAIN, 1, mtime=0)
    for name, digest in (("known", "sha256:" + "1" * 64), ("right", _digest(PLAIN))):
        target = ArchiveDestination(str(tmp_path / name))
        target.diff_ids[_digest(packed)] = digest
        _put(target, packed)
        target.finish()
        target.close()
        with tarfile.open(tmp_path / name) as tar:
            assert f"blobs/sha256/{digest[7:]}" in tar.getnames()
    target = ArchiveDestination(str(tmp_path / "damaged"))
    target.diff_ids[_digest(b"another")] = _digest(PLAIN)
    with pytest.raises(errors.Corrupt):
        _put(target, packed, digest=_digest(b"another"))
    target.close()


def test_a_device_is_not_replaced_and_a_named_pipe_is_written_into(tmp_path: Path) -> None:
    before = os.stat("/dev/null")
    with pytest.raises(errors.InvalidArgument, match="a device"):
        ArchiveDestination("/dev/null")
    assert os.stat("/dev/null").st_ino == before.st_ino
    path = tmp_path / "pipe"
    os.mkfifo(path)
    read: list[bytes] = []
    reader = threading.Thread(target=lambda: read.append(path.read_bytes()))
    reader.start()
    _write(ArchiveDestination(str(path)))
    reader.join(20)
    assert read == [_through_a_pipe()]
    assert path.is_fifo()


@pytest.mark.parametrize("damage", ["digest", "cut", "after"])
def test_a_damaged_layer_is_seen(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "a.tar"
    target = ArchiveDestination(str(path))
    packed = gzip.compress(PLAIN, 1, mtime=0)
    given = {"digest": packed, "cut": packed[:-5000], "after": packed + b"something else"}[damage]
    with pytest.raises(errors.Corrupt):
        _put(target, given, digest=_digest(b"another") if damage == "digest" else None)
    target.close()
    assert not path.exists()
    assert list(tmp_path.iterdir()) == []
