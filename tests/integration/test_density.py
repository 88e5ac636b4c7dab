"""A crowd: many idle containers start, are listed, stop, and leave nothing; many starts at once do not lock out.

Inside a cgroup of its own with a limit of memory and of processes, so that a crowd that grows beyond what it should
harms this test alone. Sampled small in the normal tier; `--full` starts a thousand (threats.md 32) and 800 at once.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from kit import leaks, processes
from kit.command import Atoll, installed
from kit.sandbox import Sandbox, cgroup_mounts, write

pytestmark = pytest.mark.timeout(3600)  # with --full a thousand containers
NAME = "crowd"
MEMORY = 12 << 30
EACH_MIB = 1.0
"""Most of Atoll's own memory a container, at a thousand; a small crowd divides the spawner among few."""


@pytest.fixture
def crowded(atoll: Atoll, sandbox: Sandbox, subtrees: list[str], full: bool) -> Iterator[Atoll]:
    """Root's Atoll in a cgroup with limits; its containers' cgroups lie in there, too."""
    root = next(iter(sandbox.users.values()))
    subtrees.append(NAME)
    join = sandbox.delegate(type(root)("root", 0, 0, "/root", ""), NAME)
    for names, path in cgroup_mounts():
        inside = {h.name: h.path for h in sandbox.hierarchies}.get(names, path)
        if names == "pids":
            write(f"{inside}/{NAME}/pids.max", str(9000 if full else 800))
        if names == "memory":
            write(f"{inside}/{NAME}/memory.limit_in_bytes", str(MEMORY))
    atoll.join = join
    atoll.env["ATOLL_SPAWNER_IDLE"] = "4"  # spares are kept for half of it
    yield atoll
    atoll.clear()
    atoll.join = None  # the cgroup goes before the last look at what is left


def parent(sandbox: Sandbox) -> str:
    """The crowd's cgroup, from the top."""
    one = sandbox.hierarchies[0]
    mounted = next(path for name, path in cgroup_mounts() if name == one.name)
    return "/" + os.path.relpath(f"{one.path}/{NAME}/containers", mounted)


def start(atoll: Atoll, count: int, at_once: int, *words: str) -> list[str]:
    """`run -d` of so many, so many at a time; what the failed ones said."""
    script = f'seq 1 {count} | xargs -P {at_once} -I N "$@" --name n-N host sleep 36000 || true'
    command = [installed(), "run", "-d", "--network", "none", *words]
    child = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *command],
        env=atoll.env, cwd="/", preexec_fn=atoll.join, capture_output=True, text=True, timeout=3000, check=False,
    )  # fmt: skip
    return [line for line in child.stderr.splitlines() if "atoll:" in line]


def weight(atoll: Atoll) -> int:
    """PSS of all of Atoll's own processes, bytes."""
    spawners = processes.spawners(atoll.run_root)
    below = [p for one in spawners for p in processes.descendants(one.pid) if p.title.startswith("atoll:[")]
    return sum(processes.pss(p.pid) for p in (*spawners, *below))


def test_a_crowd_comes_and_goes(crowded: Atoll, sandbox: Sandbox, full: bool) -> None:
    count = 1000 if full else 12
    crowded.good("run", "--rm", "--cgroup-parent", parent(sandbox), "host", "true")  # makes the parent
    deadline = time.monotonic() + 20
    while not os.path.exists(f"{crowded.run_root}/door.sock"):  # the door is one more descriptor
        assert time.monotonic() < deadline, "the spawner never opened its door"
        time.sleep(0.05)
    before = leaks.Count.now(sandbox.scratch)
    spawner_fds = held(crowded)
    assert start(crowded, count, 8, "--cgroup-parent", parent(sandbox)) == []
    began = time.monotonic()
    listed = crowded.good("ps", "-q", "--no-trunc").split()
    took = time.monotonic() - began
    assert len(set(listed)) == count
    assert set(crowded.good("ps", "--format", "{{.State}}").split()) == {"running"}
    print(f"{count} containers listed in {took:.2f} s")  # a figure, not judged here: bench/rows/memory.py does
    if full:
        time.sleep(61)  # no spares any more
        assert weight(crowded) / count / 2**20 <= EACH_MIB
    crowded.good("stop", "-t", "0", *listed, timeout=1200)
    assert crowded.good("ps", "-q") == ""
    crowded.good("rm", *listed, timeout=1200)
    assert crowded.all() == []
    cache = ("spawner", "spare", "namespaces")  # of the spawner's: as many as before, and gone with it
    left = leaks.settle(before, sandbox.scratch, seconds=30)
    assert not [line for line in left if not any(word in line for word in cache)], left
    assert held(crowded) <= spawner_fds
    assert crowded("system", "check").code == 0


def held(atoll: Atoll) -> int:
    """Descriptors of the spawner, but for those that lead to spares."""
    deadline = time.monotonic() + 60
    time.sleep(0.5)  # spares that are about to be made
    while True:  # until they are let go of
        found = processes.spawners(atoll.run_root)
        spares = [p for one in found for p in processes.descendants(one.pid) if "spare" in p.title]
        if not spares or time.monotonic() > deadline:
            return sum(len(os.listdir(f"/proc/{one.pid}/fd")) for one in found)
        time.sleep(0.2)


def test_starts_at_once_do_not_lock_each_other_out(crowded: Atoll, sandbox: Sandbox, full: bool) -> None:
    count = 800 if full else 24
    assert start(crowded, count, count, "--cgroup-parent", parent(sandbox)) == []
    names = crowded.good("ps", "--format", "{{.Names}}").split()
    assert sorted(names) == sorted(f"n-{number}" for number in range(1, count + 1))
    crowded.good("rm", "-f", *names, timeout=1200)
    assert crowded("system", "check").code == 0
