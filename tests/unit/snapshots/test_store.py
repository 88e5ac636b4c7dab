"""The layer store: commit, discard, sweep after a kill, plans, writable directories."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.snapshots.store import Snapshots
from atoll.spec import idmap

A, B, C = ("sha256:" + letter * 64 for letter in "abc")


@pytest.fixture
def store(tmp_path: Path) -> Snapshots:
    return Snapshots(str(tmp_path / "snapshots"))


def add(store: Snapshots, chain_id: str, *, opaque: bool = False) -> None:
    staging = store.prepare_layer(chain_id)
    Path(staging.fs, "file").write_text(chain_id)
    store.commit_layer(staging, chain_id, diff_id=chain_id, entries=1, size=71, opaque=opaque)


def names(store: Snapshots, folder: str) -> list[str]:
    path = Path(store.root, folder)
    return sorted(os.listdir(path)) if path.is_dir() else []


def test_a_layer_is_there_whole_or_not_at_all(store: Snapshots):
    staging = store.prepare_layer(A)
    assert not store.has(A)
    store.commit_layer(staging, A, diff_id=B, entries=3, size=12)
    assert store.has(A)
    assert store.layers() == [A]
    assert store.layer_usage(A).bytes == 12
    assert names(store, "tmp") == []


def test_committing_what_another_was_faster_with_is_fine(store: Snapshots):
    late = store.prepare_layer(A)
    add(store, A)
    store.commit_layer(late, A, diff_id=A, entries=1, size=1)
    assert Path(store.layer_dir(A), "file").exists()
    assert names(store, "tmp") == []


def test_discard_leaves_nothing(store: Snapshots):
    staging = store.prepare_layer(A)
    Path(staging.fs, "x").mkdir(mode=0)
    store.discard_layer(staging)
    store.discard_layer(staging)
    assert names(store, "tmp") == []


def test_sweep_takes_the_dead_and_leaves_the_living(store: Snapshots):
    child = os.fork()
    if child == 0:
        dead = store.prepare_layer(A)
        Path(dead.fs, "half").write_text("x")
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    living = store.prepare_layer(B)
    assert len(names(store, "tmp")) == 4
    store.sweep()
    assert names(store, "tmp") == sorted([os.path.basename(living.path), os.path.basename(living.path) + ".lock"])
    store.discard_layer(living)


def test_a_removal_that_was_killed_is_finished_by_the_next_one(store: Snapshots):
    for name in ("one.0a1b2c3d", "another.0a1b2c3d"):
        Path(store.root, "trash", name).mkdir(parents=True)
    store.remove_writable("one")
    assert names(store, "trash") == ["another.0a1b2c3d"]


def test_remove_goes_by_the_trash(store: Snapshots):
    add(store, A)
    store.remove_layer(A)
    store.remove_layer(A)
    assert not store.has(A)
    assert names(store, "trash") == []
    Path(store.root, "trash", "left").mkdir(parents=True)
    store.sweep()
    assert names(store, "trash") == []


def test_layers_of_two_maps_are_two(store: Snapshots):
    add(store, A)
    other = Snapshots(store.root, idmap.single(1000, 1000))
    assert not other.has(A)
    assert other.layers() == []


def test_the_plan_of_an_image(store: Snapshots):
    for chain_id in (A, B, C):
        add(store, chain_id)
    writable = store.create_writable("web")
    plan = store.plan((A, B, C), writable, volatile=True)
    assert plan.lower == (store.layer_dir(C), store.layer_dir(B), store.layer_dir(A))
    assert (plan.upper, plan.work, plan.volatile, plan.userxattr) == (writable.upper, writable.work, True, False)
    rootless = Snapshots(store.root, idmap.single(1000, 1000))
    for chain_id in (A,):
        add(rootless, chain_id)
    assert rootless.plan((A,)).userxattr
    assert rootless.plan((A,)).upper is None


def test_nothing_below_an_opaque_layer_is_in_the_plan(store: Snapshots):
    add(store, A)
    add(store, B, opaque=True)
    add(store, C)
    assert store.plan((A, B, C)).lower == (store.layer_dir(C), store.layer_dir(B))


def test_an_image_without_layers_has_an_empty_root(store: Snapshots):
    (only,) = store.plan((), store.create_writable("x")).lower
    assert os.listdir(only) == []


def test_a_missing_layer_is_named(store: Snapshots):
    with pytest.raises(errors.NotFound, match=A):
        store.plan((A,))
    assert store.missing((A, B)) == [A, B]


def test_writable_directories(store: Snapshots):
    writable = store.create_writable("web")
    with pytest.raises(errors.Conflict):
        store.create_writable("web")
    Path(writable.upper, "f").write_bytes(b"x" * 10_000)
    os.link(Path(writable.upper, "f"), Path(writable.upper, "g"))
    usage = store.usage("web")
    assert (usage.inodes, usage.bytes >= 10_000, usage.bytes < 20_000) == (1, True, True)
    assert store.writable("web") == writable
    store.remove_writable("web")
    store.remove_writable("web")
    assert not os.path.exists(writable.path)


@pytest.mark.parametrize("key", ["", "a/b", "..", ".hidden", "a\0b"])
def test_a_key_is_one_plain_name(store: Snapshots, key: str):
    with pytest.raises(errors.InvalidArgument):
        store.create_writable(key)


def test_strangers_find_no_set_uid_programs(store: Snapshots):
    add(store, A)
    assert os.stat(store.root).st_mode & 0o066 == 0
    assert os.stat(store.root + "/layers").st_mode & 0o066 == 0
