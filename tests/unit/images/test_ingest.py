from __future__ import annotations

import hashlib
import os

import pytest

from atoll.base import errors
from atoll.images.content import ContentStore
from atoll.images.ingest import Ingest, abandoned, sweep

DIGEST = "sha256:" + hashlib.sha256(b"hello").hexdigest()


def left(store):
    return os.listdir(store.root + "/partial")


@pytest.fixture
def store(tmp_path):
    return ContentStore(str(tmp_path / "content"))


def test_what_is_committed_is_there(store):
    with Ingest(store) as one:
        one.write(b"hel")
        one.write(b"lo")
        assert one.commit() == one.commit(DIGEST)
    assert store.read(DIGEST) == b"hello"
    assert left(store) == []


def test_nothing_stays_without_commit(store):
    with pytest.raises(errors.Corrupt), Ingest(store) as one:
        one.write(b"other")
        one.commit(DIGEST)
    assert list(store.blobs()) == []
    assert left(store) == []


def test_bytes_that_another_process_wrote(store):
    with Ingest(store) as one:
        os.write(one.fd, b"hello")
        with pytest.raises(errors.Corrupt):
            one.commit_as(DIGEST, 4)
        one.commit_as(DIGEST, 5)
    assert store.read(DIGEST) == b"hello"


def test_those_of_the_dead_are_swept(store):
    with Ingest(store) as one:
        child = os.fork()
        if child == 0:
            Ingest(store).write(b"x")
            os._exit(0)
        os.waitpid(child, 0)
        assert len(abandoned(store)) == 1
        sweep(store)
        assert len(left(store)) == 1  # ours lives
        one.write(b"hello")
        one.commit()
    assert abandoned(store) == []
