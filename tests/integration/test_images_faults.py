"""A disk that fails under the commands that make, write and remove images: full, without inodes, read-only, refusing
to flush; and a kill at a chosen write. An error is said, and `system check` is clean or mends it."""

from __future__ import annotations

import errno
import itertools
import os
import random
import time
from collections.abc import Callable

import pytest

from kit import processes, system
from kit.command import Atoll, Result, installed

_REMOUNT, _READ_ONLY = 0x20, 0x1
SIZE, INODES = 48 << 20, 20_000
VERBS = ("load", "import", "commit", "save", "tag", "prune")
FLUSHES = "fsync,fdatasync,syncfs"
WRITES = "rename,renameat,renameat2,mkdir,mkdirat,unlink,unlinkat,rmdir,pwrite64,fsync,fdatasync,symlink,link,linkat"


class Store:
    """An Atoll on a small disk, with an image, one without a name, an archive, a tree and a container."""

    def __init__(self, fresh: Callable[..., Atoll], disk: str, busybox: str) -> None:
        self.disk, self.image = disk, busybox
        self.atoll = fresh(data=f"{disk}/data")
        atoll = self.atoll
        atoll.good("pull", "-q", busybox)
        self.archive, self.tree = f"{atoll.folder}/box.tar", f"{atoll.folder}/tree"
        os.mkdir(self.tree)
        with open(f"{self.tree}/file", "wb") as file:
            file.write(os.urandom(1 << 20))
        atoll.good("import", self.tree, "other:1")
        atoll.good("save", "-o", self.archive, "other:1")
        atoll.good("rmi", "other:1")
        atoll.good("run", "--name", "web", busybox, "sh", "-c", "head -c 500000 /dev/urandom > /new")
        self.restore()

    def restore(self) -> None:
        """What `prune` takes, and `load` brings."""
        for name in ("other:1", "made:1", "made:2"):
            self.atoll("rmi", "-f", name)
        self.atoll.good("image", "prune", "-f")
        with open(f"{self.tree}/file", "r+b") as file:
            file.write(os.urandom(64))
        self.atoll.good("import", self.tree)

    def words(self, verb: str) -> tuple[str, ...]:
        return {
            "load": ("load", "-q", "-i", self.archive),
            "import": ("import", self.tree, "made:1"),
            "commit": ("commit", "web", "made:2"),
            "save": ("save", "-o", f"{self.disk}/out.tar", self.image),
            "tag": ("tag", self.image, "other:name"),
            "prune": ("image", "prune", "-f"),
        }[verb]

    def whole(self, result: Result) -> None:
        """Nothing is lost, nothing stays broken."""
        assert "Traceback" not in result.err, result
        for name in os.listdir(self.disk):  # what `save` was writing is not the store's
            if name != "data":
                os.unlink(f"{self.disk}/{name}")
        self.atoll("system", "check", "--repair")
        assert self.atoll.good("system", "check") == "nothing to repair", result
        assert self.atoll.good("run", "--rm", self.image, "echo", "whole") == "whole"


def _full(disk: str, room: int) -> Callable[[], None]:
    """Leave `room` bytes, and give what lifts the fault."""
    with open(f"{disk}/filler", "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(1 << 16))
        except OSError:
            pass
        file.truncate(max(0, file.tell() - room))
    return lambda: os.unlink(f"{disk}/filler")


def _without_inodes(disk: str, room: int) -> Callable[[], None]:
    about = os.statvfs(disk)
    used = about.f_files - about.f_ffree
    system.mount("none", disk, "", _REMOUNT, f"nr_inodes={used + room}")
    return lambda: system.mount("none", disk, "", _REMOUNT, f"nr_inodes={INODES}")


def _read_only(disk: str, _: int) -> Callable[[], None]:
    deadline = time.monotonic() + 30
    while True:  # whoever else has just looked at the disk (a monitor, at its end) has a moment to close its files
        try:
            system.mount("none", disk, "", _REMOUNT | _READ_ONLY)
            break
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise
            # Landlock holds the directories that it was told of, removed or not, for as long as there is a process
            # with such a domain; one that we have adopted and not reaped is one.
            processes.reap()
            if time.monotonic() > deadline:
                raise AssertionError("\n".join(["the disk is busy", *processes.holding(disk)])) from error
            time.sleep(0.02)
    return lambda: system.mount("none", disk, "", _REMOUNT)


@pytest.fixture
def store(fresh: Callable[..., Atoll], small_disk: Callable[[int], str], busybox: str) -> Store:
    disk = small_disk(SIZE)
    system.mount("none", disk, "", _REMOUNT, f"nr_inodes={INODES}")
    return Store(fresh, disk, busybox)


def test_a_disk_that_takes_no_more(store: Store, rng: random.Random, full: bool):
    kinds = (_full, _without_inodes, _read_only)
    cases = list(itertools.product(kinds, VERBS))
    for kind, verb in cases if full else [(kind, verb) for kind in kinds for verb in rng.sample(VERBS, 2)]:
        room = rng.choice((0, 3, 8)) if kind is _without_inodes else rng.choice((0, 40_000, 600_000))
        lift = kind(store.disk, room)
        try:
            result = store.atoll(*store.words(verb))
        finally:
            lift()
        print(kind.__name__, room, verb, result.code, result.err)
        assert result.code == 0 or result.err.strip(), result
        if kind is _read_only:
            assert result.code != 0, (verb, result)
        store.whole(result)
        store.restore()


def _traced(store: Store, verb: str, calls: str, what: str, folder: str) -> Result:
    """The command with a fault at a chosen call, in it and in all its children."""
    options = ("-f", "-qq", "-o", f"{folder}/trace", "-e", f"trace={calls}", "-e", f"inject={calls}:{what}")
    here = {"ATOLL_SPAWNER": "off"}  # or a child of the spawner, which is not traced, would do it
    return store.atoll(*options, installed(), *store.words(verb), program="strace", env=here)


def test_a_disk_that_does_not_flush(store: Store, rng: random.Random, full: bool):
    for verb in VERBS[:4] if full else rng.sample(VERBS[:4], 2):
        result = _traced(store, verb, FLUSHES, f"error=EIO:when={rng.randint(1, 3)}", store.atoll.folder)
        with open(f"{store.atoll.folder}/trace") as trace:
            injected = "INJECTED" in trace.read()
        print(verb, injected, result.code, result.err)
        assert result.code == 0 or result.err.strip(), result
        store.whole(result)
        store.restore()


def test_killed_at_a_write(store: Store, rng: random.Random, full: bool):
    for verb in VERBS * 8 if full else rng.sample(VERBS, 4):
        result = _traced(store, verb, WRITES, f"signal=SIGKILL:when={rng.randint(1, 14)}", store.atoll.folder)
        print(verb, result.code, result.err)
        store.whole(result)
        store.restore()
