"""Pods without containers: what is asked for, what is remembered, the program that waits, states and filters."""

from __future__ import annotations

import os
import platform
import shutil
import signal
import sqlite3
import subprocess
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.containers.limits import Limits
from atoll.engine.containers.sharing import Sharing
from atoll.engine.pods import rows
from atoll.engine.pods.create import create, record_of
from atoll.engine.pods.list import list_pods, status_of
from atoll.engine.pods.program import image
from atoll.engine.pods.record import PodRecord, PodRequest
from atoll.engine.pods.remove import check, remove
from atoll.engine.schema import STEPS
from atoll.engine.store import Store

TEXTS = st.text(st.characters(exclude_characters="\0", codec="utf-8"), max_size=8)
PAIRS = st.dictionaries(TEXTS, TEXTS, max_size=3).map(lambda pairs: tuple(pairs.items()))


@pytest.mark.parametrize("machine", ["x86_64", "aarch64"])
def test_the_program_waits_deaf_and_reaps(machine: str, tmp_path: object):
    path = f"{tmp_path}/pause"
    with open(path, "wb") as file:
        file.write(image(machine))
    os.chmod(path, 0o755)
    runner = [] if platform.machine() == machine else [shutil.which(f"qemu-{machine}-static") or "qemu-missing"]
    child = subprocess.Popen([*runner, path], stdin=subprocess.DEVNULL)
    try:
        ignored, deadline = 0, time.monotonic() + 20
        while not ignored & 1 << (signal.SIGCHLD - 1) and time.monotonic() < deadline:
            with open(f"/proc/{child.pid}/status") as status:
                ignored = int(next(line for line in status if line.startswith("SigIgn")).split()[1], 16)
            time.sleep(0.01)
        assert ignored & 1 << (signal.SIGCHLD - 1)
        assert child.poll() is None
    finally:
        child.kill()
        child.wait()


def test_a_program_for_no_machine():
    with pytest.raises(errors.Unsupported, match="vax"):
        image("vax")


@given(labels=PAIRS, share=st.sets(st.sampled_from(["ipc", "net", "pid", "uts"])), infra=st.booleans(),
       memory=st.none() | st.integers(1, 1 << 50), hostname=TEXTS, volumes=st.lists(TEXTS, max_size=3))  # fmt: skip
@settings(max_examples=60, deadline=None)
def test_records_come_back(labels, share, infra, memory, hostname, volumes):
    record = PodRecord(labels=labels, share=tuple(share), infra=infra, memory=memory, hostname=hostname,
                       volumes=tuple(volumes), limits=Limits(cpu_shares=5))  # fmt: skip
    assert PodRecord.from_text(record.to_text()) == record


def test_damaged_records_are_told():
    with pytest.raises(errors.Corrupt):
        PodRecord.from_text('{"share": 5}')


@pytest.mark.parametrize(
    ("states", "status"),
    [([], "Created"), (["created"], "Created"), (["running", "running"], "Running"),
     (["running", "exited"], "Degraded"),
     (["paused", "paused"], "Paused"), (["paused", "exited"], "Degraded"), (["exited", "exited"], "Exited"),
     (["exited", "created"], "Stopped"), (["restarting", "running"], "Degraded")],
)  # fmt: skip
def test_states(states: list[str], status: str):
    assert status_of(states) == status


@pytest.mark.parametrize(
    ("request_", "what"),
    [
        (PodRequest(share=("nett",)), "did you mean net"),
        (PodRequest(exit_policy="never"), "exit policy"),
        (PodRequest(sharing=Sharing(pid="container:x")), "invalid --pid"),
        (PodRequest(sharing=Sharing(uts="host"), hostname="x"), "UTS"),
        (PodRequest(infra=False, share=("net",)), "without an infra"),
        (PodRequest(infra=False, network="host"), "without an infra"),
        (PodRequest(labels=("=x",)), "invalid label"),
        (PodRequest(memory=5), "6MB"),
        (PodRequest(limits=Limits(memory_swap=1 << 30)), "Memory limit"),
    ],
)
def test_contradictions(engine, request_: PodRequest, what: str):
    with pytest.raises(errors.InvalidArgument, match=what):
        record_of(engine, request_, "0" * 64, "web")


def test_what_is_shared_and_what_is_the_hosts(engine):
    record = record_of(engine, PodRequest(sharing=Sharing(ipc="host")), "0" * 64, "my_web.")
    assert (record.share, record.hosts, record.hostname) == (("net", "uts"), ("ipc",), "my-web")
    assert record_of(engine, PodRequest(share=()), "0" * 64, "web").share == ()


def test_names_filters_and_what_is_left_half_made(engine):
    first = create(engine, PodRequest(name="one", infra=False, labels=("a=b",)))
    second = create(engine, PodRequest(name="two", infra=False))
    with pytest.raises(errors.Conflict, match="already in use"):
        create(engine, PodRequest(name="one", infra=False))
    assert create(engine, PodRequest(name="one", infra=False, labels=("a=b",), replace_old=True)) != first

    def names(*filters: str) -> list[str]:
        return sorted(view.name for view in list_pods(engine, filters))

    assert names() == ["one", "two"]
    assert names("label=a") == names("label=a=b") == names("name=^o") == ["one"]
    assert names("label!=a") == names(f"id={second[:5]}") == ["two"]
    assert names("status=created", "ctr-number=0", "network=none") == ["one", "two"]
    assert names("status=running") == names("until=1h") == names("ctr-names=x") == []
    with pytest.raises(errors.InvalidArgument, match="invalid filter"):
        names("colour=red")
    with pytest.raises(errors.InvalidArgument, match="not a valid pod status"):
        names("status=red")
    assert rows.find(engine, second[:12]).name == "two"
    # As a command that was killed leaves it: not listed, not found, and the name is free.
    os.unlink(f"{rows.directory(engine, second)}/made")
    os.mkdir(rows.directory(engine, "f" * 64))
    assert len(check(engine, repair=False)) == 2
    assert len(check(engine, repair=True)) == 2
    assert check(engine, repair=False) == []
    assert names() == ["one"]
    with pytest.raises(errors.NotFound, match="no such pod"):
        remove(engine, "two", force=False)
    remove(engine, "one", force=False)
    assert rows.every(engine.store) == []
    assert os.listdir(f"{engine.paths.data}/pods") == []


def test_a_store_without_pods_is_brought_up_to_date(tmp_path: object):
    """Containers of before are in none, and stay."""
    path = f"{tmp_path}/atoll.db"
    before = next(number for number, step in enumerate(STEPS) if any("TABLE pods" in line for line in step))
    old = sqlite3.connect(path)
    for step in STEPS[:before]:
        for statement in step:
            old.execute(statement)
    old.execute("INSERT INTO containers VALUES ('a', 'web', NULL, 1, '{}')")
    old.execute(f"PRAGMA user_version = {before}")
    old.commit()
    old.close()
    store = Store(path)
    assert [(row.name, row.pod) for row in store.containers()] == [("web", None)]
    assert rows.every(store) == []
    store.close()
