"""Limits: memory, cpu, pids; what happens at each; who may ask for them."""

from __future__ import annotations

import re

import pytest

from kit.command import Atoll
from kit.waiting import until

BOMB = 'trap "exec sh -c \\"\\$BOMB\\"" EXIT; sh -c "$BOMB" & sh -c "$BOMB" & wait'
"""A shell that cannot fork ends, and so would the bomb: as it ends it begins again."""


@pytest.fixture(params=["root", "rootless", "single"])
def limited(request: pytest.FixtureRequest) -> Atoll:
    """Everybody with a cgroup to hand out."""
    return request.getfixturevalue({"root": "atoll"}.get(request.param, request.param))


def test_out_of_memory_is_said(limited: Atoll, busybox: str):
    result = limited("run", "--name", "hog", "-m", "32m", busybox, "tail", "/dev/zero", timeout=60)
    result.failed(137, "memory")
    state = limited.state("hog")
    assert state["OOMKilled"] is True
    assert state["ExitCode"] == 137


def test_out_of_memory_of_a_detached_container(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "hog", "-m", "32m", busybox, "tail", "/dev/zero")
    state = atoll.wait_for("hog", "exited", 30)
    assert state["OOMKilled"] is True
    assert state["ExitCode"] == 137


def test_a_kill_is_not_called_out_of_memory(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "web", "-m", "32m", busybox, "sleep", "600")
    atoll.good("kill", "web")
    state = atoll.wait_for("web", "exited")
    assert state["ExitCode"] == 137
    assert state["OOMKilled"] is False


def test_shared_memory_counts(atoll: Atoll, busybox: str):
    """/dev/shm is bounded (64 MiB, as Docker's) and counted."""
    script = "dd if=/dev/zero of=/dev/shm/x bs=1M count=100 2>&1 | tail -1; du -m /dev/shm/x | cut -f1"
    out = atoll.good("run", "--rm", busybox, "sh", "-c", script)
    assert int(out.split("\n")[-1]) <= 64


def test_cpus(limited: Atoll, busybox: str):
    """A tenth of a cpu is a tenth: busy for two seconds of wall clock takes at most a few tenths of cpu."""
    script = "t=$(cut -d. -f1 /proc/uptime); while [ $(($(cut -d. -f1 /proc/uptime) - t)) -lt 3 ]; do :; done; times"
    out = limited.good("run", "--rm", "--cpus", "0.1", busybox, "sh", "-c", script)
    minutes = re.findall(r"(\d+)m([\d.]+)s", out)
    spent = sum(int(m) * 60 + float(s) for m, s in minutes)
    assert spent < 1.2, out


def test_fork_bomb(limited: Atoll, busybox: str):
    """Bounded, and the host and the commands stay usable meanwhile."""
    limited.good("pull", "-q", busybox)
    child = limited.popen(
        "run", "--rm", "--name", "bomb", "--pids-limit", "40", "-e", f"BOMB={BOMB}", busybox, "sh", "-c", BOMB
    )

    def processes() -> int:
        return int(limited.good("stats", "--no-stream", "--format", "{{.PIDs}}", "bomb"))

    until(lambda: limited.good("ps", "-q") and processes() == 40)
    assert all(processes() <= 40 for _ in range(2))
    assert limited.good("ps", "--format", "{{.Names}}") == "bomb"
    limited.good("rm", "-f", "bomb")
    child.communicate(timeout=30)


def test_pids_limit_is_exact(atoll: Atoll, busybox: str):
    script = "i=0; while [ $i -lt 30 ]; do sleep 2 & i=$((i+1)); done 2>/dev/null; ls -d /proc/[0-9]* | wc -l"
    out = atoll("run", "--rm", "--pids-limit", "12", busybox, "sh", "-c", script)
    assert "30" not in out.out
    many = atoll.good("run", "--rm", "--pids-limit", "100", busybox, "sh", "-c", script)
    assert int(many) >= 30


def test_there_is_a_default_pids_limit(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    limit = atoll.inspect("web")["HostConfig"]["PidsLimit"]  # type: ignore[index]
    assert isinstance(limit, int)
    assert 0 < limit <= 32768


@pytest.mark.parametrize(
    "option", [("-m", "64m"), ("--cpus", "0.5"), ("--pids-limit", "50")], ids=lambda option: option[0]
)
def test_without_delegation_explicit_limits_are_refused_by_name(
    undelegated: Atoll, busybox: str, option: tuple[str, str]
):
    undelegated("run", "--rm", *option, busybox, "true").failed(125, "delegat")
    assert undelegated.all() == []


def test_without_delegation_and_limits_it_runs(undelegated: Atoll, busybox: str):
    assert undelegated.good("run", "--rm", busybox, "echo", "fine") == "fine"


@pytest.mark.parametrize(
    "option",
    [("-m", "1k"), ("-m", "x"), ("-m", "-5m"), ("--cpus", "-1"), ("--cpus", "x"), ("--pids-limit", "x")],
    ids=" ".join,
)
def test_impossible_limits(atoll: Atoll, busybox: str, option: tuple[str, str]):
    atoll("run", "--rm", f"{option[0]}={option[1]}", busybox, "true").failed(125)
    assert atoll.all() == []


def test_the_cgroup_files_say_so(atoll: Atoll, busybox: str):
    """Read back from the container's own cgroup on the host, whichever version it is."""
    import os

    from kit.sandbox import cgroup_mounts

    identity = atoll.good("run", "-d", "-m", "50m", "--cpus", "1.5", "--pids-limit", "77", busybox, "sleep", "600")
    wanted = {
        "memory.limit_in_bytes": str(50 << 20),
        "memory.max": str(50 << 20),
        "cpu.cfs_quota_us": "150000",
        "cpu.max": "150000 100000",
        "pids.max": "77",
    }
    seen = set()
    for _, mount in cgroup_mounts():
        for folder, _, files in os.walk(mount):
            if identity in folder and folder.endswith(identity):
                for name in set(files) & set(wanted):
                    with open(os.path.join(folder, name)) as stream:
                        assert stream.read().strip() == wanted[name], (folder, name)
                    seen.add(name.split(".")[0])
    assert seen == {"memory", "cpu", "pids"}
