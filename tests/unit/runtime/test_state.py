"""The record of a container: written whole, read back, never mistaken for another process or boot."""

from __future__ import annotations

import os
import subprocess

import pytest

from atoll.base import errors
from atoll.linux import process
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup


def make(pid: int, **changes) -> state.State:
    fields = {
        "id": "c",
        "pid": pid,
        "start_time": process.start_time(pid),
        "boot_id": state.boot_id(),
        "bundle": "/b",
        "created": state.now(),
        "oci_version": "1.2.0",
    }
    return state.State(**{**fields, **changes})


@pytest.fixture
def sleeper():
    child = subprocess.Popen(["sleep", "60"])
    yield child
    child.kill()
    child.wait()


def test_read_what_was_written(tmp_path):
    record = make(os.getpid(), annotations=(("a", "b"), ("c", "d")), seccomp_flags=0, hooks={"poststop": []})
    state.write(str(tmp_path), record)
    assert state.read(str(tmp_path)) == record


def test_absent_and_damaged(tmp_path):
    with pytest.raises(errors.NotFound):
        state.read(str(tmp_path))
    for text in ("", "{", "[]", '{"id": "x"}', '{"annotations": 3}'):
        (tmp_path / state.FILE).write_text(text)
        with pytest.raises(errors.Corrupt):
            state.read(str(tmp_path))


def test_states_in_turn(tmp_path, sleeper):
    run = str(tmp_path)
    record = make(sleeper.pid)
    state.note_creating(run, Cgroup(path="/x"))
    os.mkfifo(tmp_path / state.FIFO)
    assert state.status_of(run, record) == state.CREATING
    os.unlink(tmp_path / state.CREATING)
    assert state.status_of(run, record) == state.CREATED
    os.unlink(tmp_path / state.FIFO)
    assert state.status_of(run, record) == state.RUNNING
    sleeper.kill()
    sleeper.wait()
    assert state.status_of(run, record) == state.STOPPED


def test_a_zombie_has_stopped(tmp_path, sleeper):
    record = make(sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert state.status_of(str(tmp_path), record) == state.STOPPED


@pytest.mark.parametrize("change", [{"start_time": 1}, {"boot_id": "00000000-0000-0000-0000-000000000000"}])
def test_a_reused_pid_or_another_boot_is_not_the_container(tmp_path, sleeper, change):
    assert state.open_init(make(sleeper.pid, **change)) is None
    assert state.status_of(str(tmp_path), make(sleeper.pid, **change)) == state.STOPPED


def test_the_note_of_a_creation(tmp_path):
    short = Cgroup(path="/x", v1=((("memory",), "/sys/fs/cgroup/memory/x"),), unified="/sys/fs/cgroup/unified/x")
    state.note_creating(str(tmp_path), short)
    assert state.noted_cgroup(str(tmp_path)).to_json() == short.to_json()
    os.unlink(tmp_path / state.CREATING)
    assert state.noted_cgroup(str(tmp_path)) is None
    long = Cgroup(path="/x", v1=tuple(((f"c{n}",), "/sys/fs/cgroup/" + "y" * 200) for n in range(40)))
    state.note_creating(str(tmp_path), long)  # more than a link can hold
    assert state.noted_cgroup(str(tmp_path)).to_json() == long.to_json()
    os.unlink(tmp_path / state.CREATING)
    os.symlink("nonsense", tmp_path / state.CREATING)
    with pytest.raises(errors.Corrupt):
        state.noted_cgroup(str(tmp_path))


def test_the_document(tmp_path):
    record = make(os.getpid(), rootfs="/b/rootfs", annotations=(("k", "v"),))
    document = state.document(str(tmp_path), record)
    assert document["status"] == "running"
    assert document["pid"] == os.getpid()
    assert document["annotations"] == {"k": "v"}
    assert set(document) >= {"ociVersion", "id", "bundle", "rootfs", "created"}
