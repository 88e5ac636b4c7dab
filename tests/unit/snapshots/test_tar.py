"""The tar reader: formats as the real tools write them, bounds, damage."""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.snapshots import policy, tar
from unit.snapshots.test_apply import RULES, member, unpack_into
from unit.snapshots.test_apply import tar as make


def read(data: bytes, chunk: int = 700) -> list[tuple[bytes, bytes, int]]:
    """Name, kind and size of every member; the content is passed over."""
    source = io.BytesIO(data)
    stream = tar.Stream(lambda: source.read(chunk))
    out = []
    for entry in tar.entries(stream):
        out.append((entry.name, entry.kind, entry.size))
        stream.skip(entry.size)
    return out


def test_names_kinds_and_sizes_as_python_writes_them():
    for fmt in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        data = make(lambda t: [member(t, "a" * 60 + "/" + "b" * 60, b"x" * 600), member(t, "second")], fmt)
        assert read(data) == [(b"a" * 60 + b"/" + b"b" * 60, b"0", 600), (b"second", b"0", 0)]


def test_a_directory_of_the_seventh_edition():
    """Type NUL and a trailing slash meant a directory before ustar."""
    data = bytearray(make(lambda t: member(t, "old/"), tarfile.USTAR_FORMAT))
    data[156] = 0
    data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    assert read(bytes(data))[0][1] == tar.DIRECTORY


def test_what_follows_the_end_is_read_for_the_digest():
    source = io.BytesIO(make(lambda t: member(t, "a")) + b"\0" * 5000 + b"garbage")
    stream = tar.Stream(lambda: source.read(100))
    assert [e.name for e in tar.entries(stream)] == [b"a"]
    assert source.read() == b""


def test_an_archive_may_end_without_a_mark_but_not_within_a_member():
    data = make(lambda t: member(t, "a", b"x" * 1000))
    assert read(data[: 512 + 1024]) == [(b"a", b"0", 1000)]
    for cut in (100, 511, 513, 1000, 1535):
        with pytest.raises(errors.Corrupt):
            read(data[:cut])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        (slice(100, 108), b"99999999"),
        (slice(124, 136), b"\xff" * 12),
        (slice(148, 156), b"0000000\0"),
        (slice(156, 157), b"M"),
        (slice(108, 116), b"\x80\x00\x00\x00\xff\xff\xff\xff"),
    ],
)
def test_damaged_headers_are_refused(field: slice, value: bytes):
    data = bytearray(make(lambda t: member(t, "a", b"x")))
    data[field] = value
    if field.start != 148:
        data[148:156] = b"%06o\0 " % (sum(data[:148]) + sum(data[156:512]) + 8 * 32)
    with pytest.raises(errors.Corrupt):
        read(bytes(data))


def test_ids_beyond_32_bits_are_refused():
    """CVE-2024-40635: 2^32 - 1 reads as "no change", 2^32 as root."""
    for value in (2**32 - 1, 2**32, 2**40):
        with pytest.raises(errors.Corrupt, match="out of range"):
            read(make(lambda t, v=value: member(t, "a", uid=v)))
    read(make(lambda t: member(t, "a", uid=2**32 - 2)))


@pytest.mark.parametrize(
    "record",
    [b"12 path", b"99 path=a\n", b"x path=a\n", b"3 =\n", b"0 a=b\n", b"10 path=ab", b"13 path=a\0b\n\n"],
)
def test_damaged_pax_records_are_refused(record: bytes):
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = b"x", len(record)
    data = info.tobuf() + record.ljust(512, b"\0") + make(lambda t: member(t, "a"))
    with pytest.raises(errors.Corrupt):
        read(data)


def test_a_name_with_nul_is_refused():
    record = b"12 path=a\0b\n"
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = b"x", len(record)
    with pytest.raises(errors.Corrupt, match="NUL"):
        read(info.tobuf() + record.ljust(512, b"\0") + make(lambda t: member(t, "a")))


def test_a_huge_extended_header_is_refused_before_it_is_read():
    info = tarfile.TarInfo("././@PaxHeader")
    info.type, info.size = b"x", 1 << 33
    with pytest.raises(errors.Corrupt, match="extended header"):
        read(info.tobuf(tarfile.GNU_FORMAT) + bytes(4096))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=3000), st.integers(0, 2999), st.binary(max_size=30))
def test_noise_is_refused_or_read_but_nothing_else(noise: bytes, position: int, change: bytes):
    data = bytearray(make(lambda t: [member(t, "a", b"xyz" * 300), member(t, "b" * 150, b"q")]))
    data[position : position + len(change)] = change
    for sample in (bytes(data), noise):
        try:
            read(sample)
        except errors.Corrupt:
            pass


@pytest.fixture
def sparse_file(tmp_path: Path) -> Path:
    path = tmp_path / "holes"
    with open(path, "wb") as stream:
        for number in range(60):
            stream.seek(number << 20)
            stream.write(bytes([number + 1]) * 5000)
        stream.truncate(100 << 20)
    return path


@pytest.mark.skipif(shutil.which("tar") is None, reason="needs GNU tar")
@pytest.mark.parametrize(
    "how",
    [
        "--format=gnu",
        "--format=pax --sparse-version=0.0",
        "--format=pax --sparse-version=0.1",
        "--format=pax --sparse-version=1.0",
    ],
)
def test_sparse_files_as_gnu_tar_writes_them(tmp_path: Path, sparse_file: Path, how: str):
    archive = tmp_path / "a.tar"
    subprocess.run(["tar", "-S", *how.split(), "-C", tmp_path, "-cf", archive, "holes"], check=True)
    assert archive.stat().st_size < 1 << 20
    place = tmp_path / "fs"
    place.mkdir()
    result = unpack_into(archive.read_bytes(), place, RULES, chunk=4096)
    assert result.bytes < 1 << 20
    assert (place / "holes").read_bytes() == sparse_file.read_bytes()
    assert (place / "holes").stat().st_blocks * 512 < 2 << 20


def test_a_giant_sparse_file_costs_nothing_and_is_bounded(tmp_path: Path):
    headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(1 << 40), "GNU.sparse.name": "giant"}
    data = make(lambda t: member(t, "x", b"z", pax_headers=headers))
    place = tmp_path / "fs"
    place.mkdir()
    with pytest.raises(errors.Exhausted):
        unpack_into(data, place, RULES.replace(max_apparent=1 << 39))
    overlapping = {**headers, "GNU.sparse.map": "0,1,0,0"}
    with pytest.raises(errors.Corrupt, match="overlap"):
        read(make(lambda t: member(t, "x", b"z", pax_headers=overlapping)))


def test_many_tiny_files_stay_within_memory(tmp_path: Path):
    """10^5 entries here (10^7 by hand): what is kept in memory is bounded by directories, not by entries."""
    import tracemalloc

    header = bytearray(make(lambda t: member(t, "f"), tarfile.USTAR_FORMAT)[:512])
    count = 0

    def chunk() -> bytes:
        nonlocal count
        count += 1
        return bytes(header) * 200 if count <= 500 else b""

    fd = os.open(tmp_path, os.O_RDONLY)
    tracemalloc.start()
    try:
        from atoll.snapshots import apply

        result = apply.apply(chunk, fd, policy.for_map(rootless=True, single=True, bottom=True))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        os.close(fd)
    assert result.entries == 100_000
    assert peak < 8 << 20
