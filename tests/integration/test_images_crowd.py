"""Many commands on images at once: what pulls, loads, tags, pushes and runs, beside what removes; some are killed.

Each worker has a name of its own, whose image nobody but itself and the prunes may take away. While prunes run, a
command may find its image gone and says so; it never breaks, and nothing is left half there. Without them every
command succeeds.
"""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable

import pytest

from kit import images
from kit.command import Atoll, Result
from kit.registry import Registry

GONE = ("No such image", "was removed meanwhile", "not in the content store", "is not unpacked", "conflict: unable")


def example(number: int) -> images.Image:
    """Images that share a layer and have one of their own."""

    def fill(tar) -> None:
        images.entry(tar, f"own/{number}", str(number).encode() * 20_000)

    return images.with_layers(images.busybox(), [images.layer(fill)], {"Env": [images.PATH], "Cmd": ["true"]})


class Worker:
    """One user of the store, in a thread: rounds of commands on its own image."""

    def __init__(self, atoll: Atoll, registry: Registry, number: int, chance: random.Random, patient: bool) -> None:
        self.atoll, self.number, self.chance = atoll, number, chance
        self.name = registry.push(example(number % 3), f"crowd-{number}")
        self.copy = f"{registry.host}/crowd-copy-{number}:1"
        self.patient = patient
        self.wrong: list[Result] = []

    def do(self, *words: str) -> bool:
        """Whether it went well. That an image is not there is an answer where others prune."""
        result = self.atoll(*words)
        gone = any(text in result.err for text in GONE)
        if result.code != 0 and not (gone and not self.patient):
            self.wrong.append(result)
        return result.code == 0

    def round(self, number: int) -> None:
        mine = f"mine-{self.number}:{number}"
        self.do("pull", "-q", self.name)
        self.do("tag", self.name, mine)
        self.do("run", "--rm", "--pull", "missing", self.name, "cat", f"/own/{self.number % 3}")
        archive = f"{self.atoll.folder}/{self.number}.tar"
        if self.chance.random() < 0.5 and self.do("save", "-o", archive, self.name):
            self.do("load", "-q", "-i", archive)
        if self.chance.random() < 0.5:
            self.do("push", self.name, self.copy)
        self.do("rmi", mine)

    def kill_one(self) -> None:
        """A pull that ends in the middle."""
        child = self.atoll.popen("pull", "-q", self.name)
        time.sleep(self.chance.uniform(0.02, 0.4))
        child.kill()
        child.communicate()


def crowd(workers: list[Worker], rounds: int, beside: Callable[[], None] | None = None) -> None:
    """All workers' rounds, and `beside` again and again meanwhile."""
    ended = threading.Event()
    threads = [
        threading.Thread(target=lambda one=one: [one.round(number) for number in range(rounds)]) for one in workers
    ]

    def other() -> None:
        while beside is not None and not ended.is_set():
            beside()

    aside = threading.Thread(target=other)
    for thread in [*threads, aside]:
        thread.start()
    for thread in threads:
        thread.join()
    ended.set()
    aside.join()


@pytest.mark.parametrize(
    "pruned", [pytest.param(False, marks=pytest.mark.full, id="alone"), pytest.param(True, id="pruned")]
)
def test_a_crowd(atoll: Atoll, registry: Registry, rng: random.Random, full: bool, pruned: bool):
    workers = [
        Worker(atoll, registry, number, random.Random(rng.random()), patient=not pruned)
        for number in range(6 if full else 3)
    ]

    def prune() -> None:
        rng.choice(
            [
                lambda: atoll("image", "prune", "-af"),
                lambda: atoll("image", "prune", "-f"),
                lambda: atoll("system", "prune", "-af"),
                lambda: workers[0].kill_one(),
            ]
        )()

    crowd(workers, 8 if full else 2, prune if pruned else None)
    wrong = [str(one) for worker in workers for one in worker.wrong]
    assert not wrong, "\n".join(wrong)
    deadline = time.monotonic() + 10  # an unpacking process ends when it finds its command gone
    while atoll("system", "check", "--repair").code == 0 and atoll("system", "check").code != 0:
        assert time.monotonic() < deadline
    assert atoll.good("system", "check") == "nothing to repair"
    for worker in workers:
        atoll.good("pull", "-q", worker.name)
        found = atoll.good("run", "--rm", worker.name, "sh", "-c", f"wc -c < /own/{worker.number % 3}")
        assert found == "20000"
    atoll.good("system", "prune", "-af")
    assert os.listdir(f"{atoll.data}/content/blobs/sha256") == []
    assert os.listdir(f"{atoll.data}/snapshots/layers") == []
