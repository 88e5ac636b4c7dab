"""A real machine whose agent means harm (`kit/hostile_agent.py`): its keeper ends it with a word, or shows what it
says as what it is; the host keeps its files, its memory and its terminal. The same against a keeper alone, in every
shape: tests/unit/guest/test_hostile.py.
"""

from __future__ import annotations

import os
import random
import subprocess
from collections.abc import Callable

import pytest

from kit import hostile, processes, vm
from kit.command import Atoll, Result
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(600)
VM = ("--isolation", "vm")
PATIENCE = 60.0
WORDS = ("the guest broke the rules of its channel, and was killed", "has ended", "is not JSON")
MEMORY_MAX = 64 << 20
"""Most bytes of memory of a keeper: an interpreter, and windows."""


@pytest.fixture(scope="module")
def liars(sandbox: Sandbox, machine_store: str) -> str:
    """Kernel, jail, and a guest with another agent; the template is made by the first machine."""
    return hostile.store(machine_store, f"{sandbox.scratch}/liars")


@pytest.fixture
def box(fresh: Callable[..., Atoll], liars: str, busybox: str) -> Atoll:
    """Root's Atoll, in whose machines nobody can be trusted."""
    one = fresh()
    vm.give(one, liars)
    one.good("pull", "-q", busybox)
    return one


def _plain(done: Result) -> Result:
    """What it prints cannot steer a terminal."""
    assert all(one.isprintable() or one in "\n\t" for one in done.out + done.err), done
    return done


def _machines(box: Atoll) -> list[processes.Process]:
    return [one for one in processes.descendants(os.getpid()) if "qemu-system" in one.title]


def test_before_the_container_runs(box: Atoll, busybox: str, rng: random.Random, full: bool):
    """Why is what the command says; nothing is left."""
    for name in hostile.BEFORE if full else rng.sample(hostile.BEFORE, 2):
        print(name)
        done = _plain(box("run", "--rm", *VM, "--hostname", f"lie-{name}", busybox, "true"))
        assert done.code in (125, 137), done
        assert "owned" in done.err if name == "refusal" else any(word in done.err for word in WORDS), done
        assert len(done.err) < 16 << 10
        assert box.all() == []
        assert _machines(box) == []
    assert box("system", "check").code == 0


@pytest.mark.full  # a minute of patience
def test_one_that_never_answers_is_given_up(box: Atoll, busybox: str):
    done = box("run", "--rm", *VM, "--hostname", "lie-silence", busybox, "true", timeout=PATIENCE * 5)
    done.failed(125, "the guest does not answer")
    assert box.all() == []
    assert _machines(box) == []


def test_while_the_container_runs(box: Atoll, busybox: str, rng: random.Random, full: bool, sandbox: Sandbox):
    """First what costs the machine nothing: its answers are taken for what they are. Then what ends it."""
    box.good("create", "--name", "web", *VM, busybox, "true")
    box.good("start", "web")
    _look(box, f"{sandbox.scratch}/looked")
    for name in hostile.AFTERWARDS if full else rng.sample(hostile.AFTERWARDS, 2):
        print(name)
        if box.state("web")["Status"] != "running":
            box.good("start", "web")
        _tell(box, name)
    box.good("rm", "web")
    box.good("system", "prune", "-f")
    assert box.good("system", "check") == "nothing to repair"


def _tell(box: Atoll, name: str) -> None:
    """Nobody reads what it writes meanwhile, which is how a flood is noticed."""
    asked = box.popen("exec", "web", "lie", name)
    state = box.wait_for("web", "exited", PATIENCE)
    _plain(Result((), asked.returncode, *asked.communicate(timeout=PATIENCE), 0))
    processes.KEEP.discard(asked.pid)
    assert state["ExitCode"] == 137
    assert not state["OOMKilled"]
    assert any(word in str(state["Error"]) for word in WORDS), state
    assert str(state["Error"]).isprintable()
    until(lambda: _machines(box) == [])


def _look(box: Atoll, place: str) -> None:
    """Files and processes, as the guest would have them."""
    os.makedirs(f"{place}/to/deep")
    with open(f"{place}/canary", "w") as stream:
        stream.write("untouched\n")
    for words in (("cp", "web:/tree", f"{place}/to/deep"), ("cp", "web:/file", f"{place}/to/deep/one")):
        _plain(box(*words))
        found = {f"{folder}/{name}" for folder, below, names in os.walk(place) for name in (*below, *names)}
        out = {one for one in found if not one.startswith(f"{place}/to/deep/")}
        assert out == {f"{place}/canary", f"{place}/to", f"{place}/to/deep"}
        assert not os.path.exists("/tmp/atoll-escaped")
        with open(f"{place}/canary") as stream:
            assert stream.read() == "untouched\n"
    for path in ("/nonsense", "/endless"):
        assert _plain(box("cp", f"web:{path}", f"{place}/to/deep")).code == 1
    assert _plain(box("cp", f"{place}/canary", "web:/x")).code == 1
    assert _plain(box("diff", "web")).code == 1
    assert "owned" in _plain(box("top", "web")).out
    assert _plain(box("commit", "web", "made")).code == 1  # what came of it goes when what nobody names is pruned
    _plain(box("exec", "web", "anything")).failed(127)
    assert box.state("web")["Status"] == "running"


def test_output_without_end_is_held_within_the_windows(box: Atoll, busybox: str):
    """Megabytes without a newline reach the log; the keeper stays small; what it says of its end is not believed."""
    box.good("run", "-d", "--name", "web", *VM, "--hostname", "lie-pour", busybox, "true")
    keeper = int(str(box.state("web")["Pid"]))
    until(lambda: len(box.good("logs", "web")) == 16 << 20)
    with open(f"/proc/{keeper}/status") as stream:
        peak = next(int(line.split()[1]) << 10 for line in stream if line.startswith("VmHWM"))
    assert peak < MEMORY_MAX
    box.good("stop", "web")
    state = box.state("web")
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (143, False, "")
    box.good("rm", "web")


def test_files_of_it_are_given_to_who_asked(box: Atoll, busybox: str, sandbox: Sandbox):
    """export is the guest's archive, byte by byte, in a file; none of it is unpacked."""
    box.good("run", "-d", "--name", "web", *VM, busybox, "true")
    path = f"{sandbox.scratch}/liar.tar"
    box.good("export", "-o", path, "web")
    shown = subprocess.run(["tar", "-tPf", path], capture_output=True, text=True, check=True).stdout
    assert "/tmp/atoll-escaped" in shown.split()
    assert not os.path.exists("/tmp/atoll-escaped")
    box.good("rm", "-f", "web")
