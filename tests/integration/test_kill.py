"""SIGKILL of the command after any step: the next command is right, and a check finds nothing wrong.

A step is hit by killing after a random part of the time that the command takes: sampled with the printed seed in
`.ci/run`, many more with --full. Then the same command (or its opposite) must work and nothing may be left.
"""

from __future__ import annotations

import os
import random
import signal
import time

import pytest

from kit import processes
from kit.command import Atoll

pytestmark = pytest.mark.timeout(1800)  # with --full each kills some hundred commands


def kill_after(atoll: Atoll, seconds: float, *words: str) -> int:
    """Start a command, SIGKILL it after so long; its code (-9, or how it ended before)."""
    child = atoll.popen(*words)
    time.sleep(seconds)
    child.kill()
    child.communicate(timeout=30)
    processes.KEEP.discard(child.pid)
    return int(child.returncode)


def duration(atoll: Atoll, *words: str) -> float:
    """How long the command takes when left alone."""
    result = atoll(*words)
    assert result.code == 0, result
    return result.seconds


def clean(atoll: Atoll) -> None:
    """Every container can be removed, and then the check is content."""
    for identity in atoll.all():
        atoll.good("rm", "-f", identity)
    assert atoll.all() == []
    result = atoll("system", "check")
    assert result.code == 0, result


def times(rng: random.Random, whole: float, full: bool) -> list[float]:
    """Moments to kill at."""
    return [rng.uniform(0, whole * 1.1) for _ in range(120 if full else 8)]


def test_kill_of_run(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    atoll.good("pull", "-q", busybox)
    whole = duration(atoll, "run", "--rm", busybox, "true")
    for moment in times(rng, whole, full):
        kill_after(atoll, moment, "run", "--rm", "--name", "victim", busybox, "true")
        settle(atoll)
        result = atoll("run", "--rm", "--name", "victim", busybox, "echo", "right")
        if result.code:
            # The first is there, whole: made but not started, or ended; never half.
            result.failed(125, "in use")
            left = atoll("container", "inspect", "--format", "{{.State.Status}}", "victim")
            if left.code == 0:
                assert left.out.strip() in ("created", "exited", "running"), moment
            else:  # or it has just been removed by who was to clean up
                left.failed(1, "no such")
            atoll("rm", "-f", "victim")
            assert atoll.good("run", "--rm", "--name", "victim", busybox, "echo", "right") == "right"
        clean(atoll)


def settle(atoll: Atoll) -> None:
    """Give a monitor that lost its client the moment it takes to finish."""
    time.sleep(0.1)


def test_kill_of_detached_run(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    whole = duration(atoll, "run", "-d", "--name", "first", busybox, "sleep", "600")
    atoll.good("rm", "-f", "first")
    for moment in times(rng, whole, full):
        kill_after(atoll, moment, "run", "-d", "--name", "victim", busybox, "sleep", "600")
        atoll.good("ps", "-a")
        atoll("rm", "-f", "victim")
        clean(atoll)
        assert atoll.good("run", "--rm", "--name", "victim", busybox, "echo", "right") == "right"


def test_a_directory_that_no_row_names_yet(atoll: Atoll):
    """What is there when a command is killed after its second step: nothing in the store tells of it."""
    left = os.path.join(atoll.data, "containers", "a1" * 32)
    os.makedirs(left)
    open(os.path.join(left, "lock"), "w").close()
    assert atoll("system", "check").code == 1
    assert atoll.all() == []
    assert not os.path.exists(left)
    assert atoll.good("system", "check") == "nothing to repair"


@pytest.mark.parametrize("command", ["stop", "rm", "kill"])
def test_kill_of_ending_commands(atoll: Atoll, busybox: str, rng: random.Random, full: bool, command: str):
    words = {"stop": ("stop", "-t", "0", "victim"), "rm": ("rm", "-f", "victim"), "kill": ("kill", "victim")}[command]
    atoll.good("run", "-d", "--name", "victim", busybox, "sleep", "600")
    whole = duration(atoll, *words)
    atoll("rm", "-f", "victim")
    for moment in times(rng, whole, full):
        atoll.good("run", "-d", "--name", "victim", busybox, "sleep", "600")
        kill_after(atoll, moment, *words)
        again = atoll("rm", "-f", "victim")
        assert again.code in (0, 1), again
        clean(atoll)


def test_kill_of_pull(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    whole = duration(atoll, "pull", "-q", busybox)
    atoll.good("rmi", busybox)
    for moment in times(rng, whole, full):
        kill_after(atoll, moment, "pull", "-q", busybox)
        assert atoll.good("run", "--rm", busybox, "echo", "right") == "right"
        atoll.good("rmi", busybox)
        clean(atoll)


def test_kill_of_exec(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    whole = duration(atoll, "exec", "web", "true")
    for moment in times(rng, whole, full):
        kill_after(atoll, moment, "exec", "web", "true")
        assert atoll.good("exec", "web", "echo", "right") == "right"
    time.sleep(0.3)
    assert len(atoll.good("exec", "web", "ls", "/proc").split("\n")) > 0
    clean(atoll)


def test_kill_of_the_monitor(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    """At any moment of its life: the next command finds the truth."""
    whole = duration(atoll, "run", "--rm", busybox, "sleep", "0.2")
    for moment in times(rng, whole, full)[: None if full else 5]:
        child = atoll.popen("run", "--name", "victim", busybox, "sleep", "0.2")
        time.sleep(moment)
        for process in processes.monitors(atoll.run_root):
            processes.end(process.pid, signal.SIGKILL)
        child.communicate(timeout=30)
        atoll.good("ps", "-a")
        atoll("rm", "-f", "victim")
        clean(atoll)


def test_kill_of_everything_at_once(anyone: Atoll, busybox: str):
    """Spawner and monitor both: the container runs on, the next command has it taken over, its policy with it."""
    script = "i=0; while :; do echo line $i; i=$((i+1)); sleep 0.05; done"
    anyone.good("run", "-d", "--name", "web", "--restart", "always", busybox, "sh", "-c", script)
    for process in [*processes.spawners(anyone.run_root), *processes.monitors(anyone.run_root)]:
        processes.end(process.pid, signal.SIGKILL)
    assert anyone.good("ps", "--format", "{{.Names}}") == "web"
    assert anyone.good("exec", "web", "echo", "alive") == "alive"
    time.sleep(0.2)
    lines = anyone.good("logs", "web").splitlines()
    assert lines == [f"line {number}" for number in range(len(lines))]  # none is missing
    child = anyone.popen("attach", "--no-stdin", "web")
    assert child.stdout is not None
    assert child.stdout.readline().startswith("line ")
    child.kill()
    child.communicate()
    processes.KEEP.discard(child.pid)
    os.kill(int(str(anyone.state("web")["Pid"])), signal.SIGKILL)
    deadline = time.monotonic() + 20
    while anyone.good("inspect", "-f", "{{.RestartCount}} {{.State.Status}}", "web") != "1 running":
        assert time.monotonic() < deadline, "nobody started it again"
        time.sleep(0.05)
    anyone.good("rm", "-f", "web")
    clean(anyone)


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT])
def test_signals_at_any_time(atoll: Atoll, busybox: str, rng: random.Random, full: bool, signum: int):
    """Ctrl-C and its kin while creating: undone, or passed on to the program; never a trace of Python."""
    atoll.good("pull", "-q", busybox)
    whole = duration(atoll, "run", "--rm", busybox, "true")
    for moment in times(rng, whole, full)[: None if full else 4]:
        child = atoll.popen("run", "--rm", busybox, "sleep", "1")
        time.sleep(moment)
        child.send_signal(signum)
        _, err = child.communicate(timeout=30)
        # An interrupt before Python's own streams are made is told by the interpreter, in its words.
        assert "Traceback" not in err or "Fatal Python error: init_" in err, (moment, err)
        processes.KEEP.discard(child.pid)
    deadline = time.monotonic() + 10
    while atoll.all():
        assert time.monotonic() < deadline, "--rm was forgotten"
        time.sleep(0.1)
    clean(atoll)


def test_interrupt_twice(atoll: Atoll, busybox: str):
    child = atoll.popen("run", "--rm", busybox, "sh", "-c", "trap '' INT; echo ready; sleep 2")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    for _ in range(3):
        os.kill(child.pid, signal.SIGINT)
        time.sleep(0.1)
    _, err = child.communicate(timeout=30)
    assert "Traceback" not in err
    clean(atoll)
