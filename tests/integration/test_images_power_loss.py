"""Power that fails: the store on a disk of its own, and what had reached that disk at a chosen flush, mounted anew.

The data root lies on an ext4 in a file, mounted through a loop device. A command is killed at one of its flushes; at
that moment the file is copied, which is what a disk would hold without power: what was not flushed is not in it. The
copy is mounted (its journal replayed), and Atoll looks at it.
"""

from __future__ import annotations

import os
import random
import shutil
import sqlite3
import subprocess
from collections.abc import Callable, Iterator

import pytest

from kit.command import Atoll, installed

SIZE = 96 << 20
FLUSHES = "fsync,fdatasync,syncfs"
VERBS = ("pull", "load", "import", "commit", "run", "prune")


class Disk:
    """An ext4 in a file, mounted at `place`."""

    def __init__(self, folder: str) -> None:
        self.image, self.place = f"{folder}/disk.img", f"{folder}/disk"
        os.makedirs(self.place)

    def make(self) -> None:
        with open(self.image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", "-m", "0", self.image], check=True)

    def mount(self) -> None:
        subprocess.run(["mount", "-o", "loop", self.image, self.place], check=True)

    def unmount(self) -> None:
        subprocess.run(["umount", "--lazy", self.place], check=True)


@pytest.fixture
def world(fresh: Callable[..., Atoll], busybox: str) -> Iterator[tuple[Disk, Atoll]]:
    """A disk with a store that holds an image and a container, all flushed and put aside as `<image>.begin`."""
    holder = fresh()
    disk = Disk(f"{holder.folder}/power")
    disk.make()
    disk.mount()
    atoll = fresh(data=f"{disk.place}/data")
    try:
        atoll.good("pull", "-q", busybox)
        atoll.good("run", "--name", "web", busybox, "sh", "-c", "head -c 300000 /dev/urandom > /new")
        atoll.good("save", "-o", f"{holder.folder}/box.tar", busybox)
        atoll.good("image", "bundle", busybox, f"{holder.folder}/tree")
        atoll.good("import", f"{holder.folder}/tree/rootfs")  # without a name: for prune
        atoll.end_spawner()
        disk.unmount()
        shutil.copyfile(disk.image, disk.image + ".begin")
        yield disk, atoll
    finally:
        atoll.clear()
        if os.path.ismount(disk.place):
            disk.unmount()


def words(atoll: Atoll, verb: str, busybox: str) -> tuple[str, ...]:
    folder = _holder(atoll)
    return {
        "pull": ("pull", "-q", busybox),
        "load": ("load", "-q", "-i", f"{folder}/box.tar"),
        "import": ("import", f"{folder}/tree/rootfs", "made:1"),
        "commit": ("commit", "web", "made:2"),
        "run": ("run", "--rm", "--name", "other", busybox, "true"),
        "prune": ("image", "prune", "-af"),
    }[verb]


def test_what_a_loss_of_power_leaves(world: tuple[Disk, Atoll], busybox: str, rng: random.Random, full: bool):
    disk, atoll = world
    cases = [(verb, number) for verb in VERBS for number in range(1, 9)]
    for verb, number in cases if full else rng.sample(cases, 3):
        shutil.copyfile(disk.image + ".begin", disk.image)
        disk.mount()
        if verb in ("pull", "load"):  # nothing is to be there that they would not make again
            atoll.good("rm", "web")
            atoll.good("image", "prune", "-af")
            os.sync()
        inject = ("-e", f"trace={FLUSHES}", "-e", f"inject={FLUSHES}:signal=SIGKILL:when={number}")
        argv = ("-f", "-qq", "-o", "/dev/null", *inject, installed(), *words(atoll, verb, busybox))
        ended = atoll(*argv, program="strace", env={"ATOLL_SPAWNER": "off"})
        # The loop device writes into the file what the file system has given to it: no more is on the disk.
        shutil.copyfile(disk.image, disk.image + ".lost")
        atoll("rm", "-f", "other")
        atoll.end_spawner()
        subprocess.run(["rm", "-rf", atoll.run_root], check=True)
        disk.unmount()
        os.replace(disk.image + ".lost", disk.image)
        disk.mount()
        print(verb, number, ended.code, ended.err)
        with sqlite3.connect(f"{atoll.data}/atoll.db") as store:
            assert store.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
            assert store.execute("PRAGMA foreign_key_check").fetchall() == []
        store.close()
        atoll("system", "check", "--repair")
        assert atoll.good("system", "check") == "nothing to repair", (verb, number)
        if atoll.good("images", "-q", busybox):  # what the rows promise is there, byte for byte
            look = "ls /bin | wc -l; sha256sum < /bin/busybox"
            assert atoll.good("run", "--rm", busybox, "sh", "-c", look) == seen(atoll)
        atoll.good("pull", "-q", busybox)
        assert atoll.good("run", "--rm", busybox, "echo", "whole") == "whole"
        atoll.end_spawner()
        disk.unmount()


def _holder(atoll: Atoll) -> str:
    """Where the disk, the archive and the tree lie: `<holder>/power/disk/data` is the data root."""
    return atoll.data.removesuffix("/power/disk/data")


def seen(atoll: Atoll) -> str:
    """What a container shows of the image when nothing is lost."""
    folder = _holder(atoll)
    root = f"{folder}/tree/rootfs"
    digest = subprocess.run(["sha256sum", f"{root}/bin/busybox"], capture_output=True, text=True, check=True).stdout
    return f"{len(os.listdir(f'{root}/bin'))}\n{digest.split()[0]}  -"
