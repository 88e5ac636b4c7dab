"""Two who delete at once: the second finds the directory gone, and leaves the container's next life alone."""

import fcntl
import os
import threading

import pytest

from atoll.base import errors
from atoll.runtime import delete as deleting
from atoll.runtime.delete import delete


@pytest.fixture
def run(tmp_path):
    """A run directory of a half-made container."""
    place = tmp_path / "c"
    place.mkdir()
    (place / "file").write_text("old")
    return str(place)


def test_half_made_and_absent(run):
    with pytest.raises(errors.NotFound):
        delete(run)
    delete(run, force=True)
    assert not os.path.exists(run)
    delete(run, force=True)
    with pytest.raises(errors.NotFound):
        delete(run)


def test_the_next_life_is_left_alone(run, monkeypatch):
    """The first deleter is held up just before it takes the directory away; the second waits, and does not touch
    what is made in its place."""
    real, about, go_on = deleting.files.remove_tree, threading.Event(), threading.Event()

    def slow(path):
        about.set()
        assert go_on.wait(10)
        real(path)

    monkeypatch.setattr(deleting.files, "remove_tree", slow)
    first = threading.Thread(target=delete, args=(run,), kwargs={"force": True})
    first.start()
    assert about.wait(10)
    second = threading.Thread(target=delete, args=(run,), kwargs={"force": True})
    second.start()
    second.join(0.2)
    assert second.is_alive(), "it waits for the first one"
    go_on.set()
    first.join(10)
    monkeypatch.setattr(deleting.files, "remove_tree", lambda path: pytest.fail(f"{path} was deleted twice"))
    second.join(10)
    assert not os.path.exists(run)


def test_a_lock_that_is_free_when_the_directory_has_been_exchanged(run):
    """Whoever waited for the old directory's lock does not delete the new one."""
    fd = os.open(run, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    waiting = threading.Thread(target=delete, args=(run,), kwargs={"force": True})
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    os.unlink(run + "/file")
    os.rmdir(run)
    os.mkdir(run)
    with open(run + "/new", "w") as file:
        file.write("new")
    os.close(fd)
    waiting.join(10)
    assert os.listdir(run) == ["new"]
