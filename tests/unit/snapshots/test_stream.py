"""Decompression: formats, several members, damage, bombs, the thread."""

from __future__ import annotations

import builtins
import gzip
import hashlib
import io
import random
import zlib

import pytest

from atoll.base import errors
from atoll.snapshots import stream

zstandard = pytest.importorskip("zstandard")
RAW = random.Random(7).randbytes(700_000) + bytes(2_000_000) + b"end"


def plain(data: bytes, piece: int = 4096) -> tuple[bytes, str, int]:
    source = io.BytesIO(data)
    one = stream.Plain(lambda: source.read(piece))
    return b"".join(one.chunks()), one.digest(), one.taken


def zstd(data: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(data)


@pytest.mark.parametrize("piece", [1000, 65536, 1 << 24])
@pytest.mark.parametrize(
    "packed",
    [
        RAW,
        gzip.compress(RAW),
        gzip.compress(RAW[:1000]) + gzip.compress(RAW[1000:]),
        gzip.compress(RAW) + bytes(512),
        zstd(RAW),
        zstd(RAW[:1000]) + b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip" + zstd(RAW[1000:]),
    ],
    ids=["none", "gzip", "gzip twice", "gzip and zeros", "zstd", "zstd and skippable frame"],
)
def test_all_formats_give_the_bytes_and_their_digest(packed: bytes, piece: int):
    data, digest, taken = plain(packed, piece)
    assert data == RAW
    assert digest == "sha256:" + hashlib.sha256(RAW).hexdigest()
    assert taken == len(packed)


def test_zlib_takes_the_place_of_isal(monkeypatch: pytest.MonkeyPatch):
    real = builtins.__import__

    def without(name: str, *args: object, **kwargs: object) -> object:
        if name.startswith("isal"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    assert plain(gzip.compress(RAW))[0] == RAW
    with pytest.raises(errors.Corrupt):
        plain(gzip.compress(RAW)[:-100])


@pytest.mark.parametrize("packed", [gzip.compress(RAW), zstd(RAW)], ids=["gzip", "zstd"])
def test_damage_is_refused(packed: bytes):
    middle = bytearray(packed)
    middle[len(middle) // 2] ^= 0xFF
    middle[len(middle) // 3] ^= 0xFF
    with pytest.raises(errors.Corrupt):
        if plain(bytes(middle))[0] != RAW:  # zstd without a checksum notices nothing; the digest does
            raise errors.Corrupt("differs")
    with pytest.raises(errors.Corrupt):
        assert plain(packed[: len(packed) // 2])[0] != RAW
        raise errors.Corrupt("cut")


def test_garbage_after_gzip_is_refused():
    for tail in (b"garbage", b"\0\0garbage", b"x"):
        with pytest.raises(errors.Corrupt, match="follows"):
            plain(gzip.compress(RAW) + tail)


def test_a_bomb_is_refused(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(stream, "_FREE", 1 << 20)
    squeeze = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = squeeze.compress(bytes(64 << 20)) + squeeze.flush()
    with pytest.raises(errors.Exhausted, match="bomb"):
        plain(bomb)
    with pytest.raises(errors.Exhausted, match="bomb"):
        plain(zstd(bytes(64 << 20)))


def test_the_thread_carries_data_end_and_errors():
    ahead = stream.Ahead(iter([b"a", b"b"]))
    assert [ahead.next(), ahead.next(), ahead.next(), ahead.next()] == [b"a", b"b", b"", b""]

    def failing():
        yield b"a"
        raise errors.Corrupt("damaged")

    ahead = stream.Ahead(failing())
    assert ahead.next() == b"a"
    for _ in range(2):
        with pytest.raises(errors.Corrupt, match="damaged"):
            ahead.next()


def test_an_abandoned_thread_ends():
    def endless():
        while True:
            yield b"x"

    ahead = stream.Ahead(endless())
    ahead.next()
    ahead.abandon()
    assert ahead._thread.wait(5)


@pytest.mark.parametrize(("packed", "known"), [(RAW, True), (gzip.compress(RAW), False), (zstd(RAW), False)])
def test_only_plain_bytes_that_somebody_checks_are_not_hashed_again(packed: bytes, known: bool):
    source, blob = io.BytesIO(packed), "sha256:" + "1" * 64
    one = stream.Plain(lambda: source.read(65536), blob=blob)
    assert b"".join(one.chunks()) == RAW
    assert one.digest() == (blob if known else "sha256:" + hashlib.sha256(RAW).hexdigest())
