"""SIGKILL of the command, the spawner or one of its forks at each step of each verb: the next command is right.

The steps are enumerated (tests/kit/steps.py): a run without a kill counts them for each role, then one is killed
before a step. Sampled by the printed seed in `.ci/run`; --full kills at every one.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from kit import processes, steps
from kit.command import Atoll

pytestmark = pytest.mark.timeout(7200)  # with --full some thousand commands

ROLES = ("command", "spawner", "spare", "monitor", "clerk", "exec")
VERBS = {
    "create": ("create", "--name", "victim", "IMAGE", "true"),
    "run": ("run", "-d", "--name", "victim", "IMAGE", "sleep", "600"),
    "start": ("start", "victim"),
    "exec": ("exec", "victim", "true"),
    "stop": ("stop", "-t", "0", "victim"),
    "restart": ("restart", "-t", "0", "victim"),
    "rm": ("rm", "-f", "victim"),
}
BEFORE = {"create": (), "run": (), "start": ("create", "--name", "victim", "IMAGE", "sleep", "600")}


class Stage:
    """One Atoll whose processes are those of the kit, for one kill."""

    def __init__(self, atoll: Atoll, image: str) -> None:
        self.atoll, self.image = atoll, image
        self.folder = f"{atoll.folder}/steps"
        os.makedirs(self.folder, exist_ok=True)

    def _start(self, role: str, number: int, *words: str) -> subprocess.Popen[bytes]:
        argv = [sys.executable, steps.__file__, role, str(number), self.folder, *words]
        src = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(steps.__file__))), "src")
        env = {**self.atoll.env, "PYTHONPATH": src}
        child = subprocess.Popen(argv, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, cwd="/")
        processes.KEEP.add(child.pid)
        return child

    def words(self, words: tuple[str, ...]) -> list[str]:
        """With the image in them."""
        return [self.image if word == "IMAGE" else word for word in words]

    def play(self, verb: str, role: str, number: int) -> Counter[str]:
        """Do it, killing before that step; how many steps each role had."""
        for name in ("armed", "killed", "trace"):
            if os.path.exists(f"{self.folder}/{name}"):
                os.unlink(f"{self.folder}/{name}")
        self.atoll.end_spawner(signal.SIGKILL)
        for name in os.listdir(self.atoll.run_root):
            if name.endswith(".sock"):
                os.unlink(f"{self.atoll.run_root}/{name}")
        spawner = self._start(role, number, "spawner", self.atoll.run_root, self.atoll.data)
        deadline = time.monotonic() + 20
        while not any(name.startswith("spawner-") for name in os.listdir(self.atoll.run_root)):
            assert time.monotonic() < deadline, spawner.poll()
            time.sleep(0.01)
        if before := BEFORE.get(verb, VERBS["run"]):
            self.atoll.good(*self.words(before))
        with open(f"{self.folder}/armed", "w"):
            pass
        command = self._start(role, number, "command", *self.words(VERBS[verb]))
        try:
            command.wait(60)
            time.sleep(0.05)
        finally:
            os.unlink(f"{self.folder}/armed")
            processes.KEEP.discard(command.pid)
        self._look(verb)
        spawner.terminate()
        spawner.wait(10)
        processes.KEEP.discard(spawner.pid)
        with open(f"{self.folder}/trace") as stream:
            return Counter(line.split()[0] for line in stream)

    def _look(self, verb: str) -> None:
        """What is found is right, and can be used and removed."""
        atoll = self.atoll
        atoll.good("ps", "-a")
        if atoll.all():
            status = atoll.state("victim")["Status"]
            if status == "running" and verb in ("exec", "stop"):
                assert atoll.good("exec", "victim", "echo", "alive") == "alive"
            elif verb == "start" or status == "exited":
                atoll.good("start", "victim")
                assert atoll.good("exec", "victim", "echo", "alive") == "alive"
            atoll.good("rm", "-f", "victim")
        assert atoll.all() == []
        assert atoll.good("run", "--rm", "--name", "victim", self.image, "echo", "right") == "right"
        result = atoll("system", "check")
        assert result.code == 0, result


@pytest.mark.parametrize("verb", VERBS)
def test_killed_at_a_step(atoll: Atoll, busybox: str, rng: random.Random, full: bool, verb: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("ps")
    stage = Stage(atoll, busybox)
    counts = stage.play(verb, "nobody", 0)
    assert counts["command"] > 1, counts
    every = [(role, number) for role in ROLES for number in range(1, counts[role] + 1)]
    print(f"{verb}: {dict(counts)}")
    chosen = every if full else [rng.choice([one for one in every if one[0] == "command"]), rng.choice(every)]
    for role, number in chosen:
        print(f"{verb}: {role} before its step {number}")
        stage.play(verb, role, number)
