"""Closures and templates of before: found, removed, and left alone while somebody needs them."""

from __future__ import annotations

import json
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from atoll.base import files
from atoll.engine.system import machines
from atoll.vm import leftovers
from atoll.vm.closure import planned

OLD, OTHER = "0" * 24, "1" * 24


@pytest.fixture
def store(tmp_path: Path) -> SimpleNamespace:
    """An engine's places: today's closure and template, an old pair, one that broke off, one that runs."""
    now = planned("", "qemu-system-x86_64").key
    for name in (now, OLD, f"{OLD}.tmp", OTHER):
        place = tmp_path / "data" / "vm" / "closure" / name
        (place / "jail").mkdir(parents=True)
        (place / "agent.img").write_bytes(bytes(8192))
        (place.parent / f"{name.removesuffix('.tmp')}.lock").touch()
    for key in (now, OLD, OTHER):
        place = tmp_path / "data" / "vm" / "templates" / f"{key}-{'a' * 16}-256-1-tcg"
        place.mkdir(parents=True)
        (place / "memory").write_bytes(b"x" * 8192)
    run = tmp_path / "run" / "containers" / "c1"
    run.mkdir(parents=True)
    (run / "machine.json").write_text(json.dumps({"closure": OTHER}))
    (run.parent / "c2").mkdir()  # a container without a machine
    return SimpleNamespace(
        paths=SimpleNamespace(data=str(tmp_path / "data"), containers_run=str(run.parent)), now=now
    )


def _left(store: SimpleNamespace) -> list[str]:
    root = f"{store.paths.data}/vm"
    return sorted(name for kind in leftovers.KINDS for name in os.listdir(f"{root}/{kind}"))


def test_what_is_old_goes_and_what_is_needed_stays(store: SimpleNamespace):
    assert len(machines.leftovers(store)) == 3
    assert machines.prune(store) >= 3 * 8192
    keys = {leftovers.key_of(name) for name in _left(store)}
    assert keys == {store.now, OTHER}
    assert machines.prune(store) == 0


def test_what_was_made_for_one_that_ran_goes_when_it_has_ended(store: SimpleNamespace):
    os.unlink(f"{store.paths.containers_run}/c1/machine.json")
    machines.prune(store)
    assert {leftovers.key_of(name) for name in _left(store)} == {store.now}


def test_one_that_somebody_makes_is_left(store: SimpleNamespace):
    with files.FileLock(f"{store.paths.data}/vm/closure/{OLD}.lock"):
        machines.prune(store)
        assert {OLD, f"{OLD}.tmp"} <= set(_left(store))
    machines.prune(store)
    assert OLD not in _left(store)


def test_a_store_without_machines(store: SimpleNamespace, tmp_path: Path):
    store.paths.data = str(tmp_path / "none")
    assert machines.leftovers(store) == ()
    assert machines.prune(store) == 0
