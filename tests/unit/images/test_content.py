"""The content store: verified or absent, resumed, one writer over processes."""

from __future__ import annotations

import hashlib
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images.content import ContentStore

DATA = bytes(range(256)) * 1000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()


@pytest.fixture
def store(tmp_path: Path) -> ContentStore:
    return ContentStore(str(tmp_path / "content"))


def files(store: ContentStore) -> list[str]:
    top = Path(store.root)
    return sorted(str(p.relative_to(top)) for p in top.rglob("*") if p.is_file())


def test_documents(store: ContentStore):
    digest = store.put(b"{}")
    assert store.put(b"{}") == digest
    assert store.read(digest) == b"{}"
    assert [b.digest for b in store.blobs()] == [digest]
    with pytest.raises(errors.Corrupt):
        store.put(b"[]", digest)
    store.remove(digest)
    store.remove(digest)
    with pytest.raises(errors.NotFound):
        store.read(digest)


def test_it_is_a_valid_image_layout(store: ContentStore):
    store.put(b"{}")
    assert files(store)[1:] == ["index.json", "oci-layout"]
    assert Path(store.root, "oci-layout").read_bytes() == b'{"imageLayoutVersion":"1.0.0"}'


def test_what_was_altered_on_disk_is_refused(store: ContentStore):
    digest = store.put(b"{}")
    Path(store.path(digest)).write_bytes(b"[]")
    with pytest.raises(errors.Corrupt):
        store.read(digest)


def test_a_blob_becomes_visible_when_it_is_whole(store: ContentStore):
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:1000])
        assert not store.has(DIGEST)
        writer.write(DATA[1000:])
        assert not store.has(DIGEST)
        writer.commit()
    assert store.has(DIGEST, len(DATA))
    assert not store.has(DIGEST, 3)
    assert store.writer(DIGEST, len(DATA)) is None
    assert list(store.partials()) == []
    assert os.listdir(store.root + "/partial") == []


@pytest.mark.parametrize("cut", [0, 1, 1000, len(DATA) - 1, len(DATA)])
def test_an_interrupted_write_goes_on(store: ContentStore, cut: int):
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:cut])
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == cut
        writer.write(DATA[cut:])
        writer.commit()
    assert Path(store.path(DIGEST)).read_bytes() == DATA


def test_wrong_content_is_not_kept(store: ContentStore):
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(b"x" * len(DATA))
        with pytest.raises(errors.Corrupt, match="expected"):
            writer.commit()
    assert files(store) == ["index.json", "oci-layout"]
    with store.writer(DIGEST, len(DATA)) as writer:
        writer.write(DATA[:-1])
        with pytest.raises(errors.Corrupt):
            writer.commit()
    with store.writer(DIGEST, len(DATA)) as writer, pytest.raises(errors.Corrupt, match="more than"):
        writer.write(DATA + b"x")
    assert not store.has(DIGEST)


def test_a_partial_file_larger_than_the_blob_starts_over(store: ContentStore):
    with store.writer(DIGEST, len(DATA)) as writer:
        path = writer.path
    Path(path).write_bytes(DATA + b"more")
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 0


def test_one_writer_at_a_time_and_the_next_finds_the_blob(store: ContentStore):
    first = store.writer(DIGEST, len(DATA))
    waited = threading.Event()
    results: list[object] = []

    def second() -> None:
        results.append(store.writer(DIGEST, len(DATA), waiting=waited.set))

    thread = threading.Thread(target=second)
    thread.start()
    assert waited.wait(5)
    first.write(DATA)
    first.commit()
    first.close()
    thread.join(5)
    assert results == [None]


def test_waiting_can_be_ended(store: ContentStore):
    with store.writer(DIGEST, len(DATA)), pytest.raises(errors.Cancelled):
        store.writer(DIGEST, len(DATA), stop=lambda: True)


def test_a_killed_writer_leaves_its_bytes_to_the_next(store: ContentStore):
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        writer = store.writer(DIGEST, len(DATA))
        writer.write(DATA[:5000])
        os.write(write_end, b"x")
        time.sleep(60)
    os.read(read_end, 1)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    os.close(read_end)
    os.close(write_end)
    assert [b.size for b in store.partials()] == [5000]
    with store.writer(DIGEST, len(DATA)) as writer:
        assert writer.offset == 5000


@pytest.mark.parametrize("text", ["../../etc/passwd", "sha256:../x", "sha256:" + "A" * 64, "", "sha512:" + "a" * 128])
def test_only_digests_name_blobs(store: ContentStore, text: str):
    with pytest.raises((errors.InvalidArgument, errors.Unsupported)):
        store.path(text)
