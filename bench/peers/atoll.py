"""Atoll itself, as installed: root or an ordinary user, spawner warm or cold."""

from __future__ import annotations

import os
import shutil
import signal
import time

from bench.harness import Command, Contender
from bench.world import REPOSITORY, World
from kit import processes


def program() -> str:
    """$ATOLL_BIN/atoll, or the development environment's, or the source tree's own launcher."""
    folders = [os.environ.get("ATOLL_BIN"), os.path.join(REPOSITORY, ".venv", "bin"), os.path.join(REPOSITORY, "bin")]
    found = [path for path in (os.path.join(f, "atoll") for f in folders if f) if os.path.exists(path)]
    if not found:
        raise FileNotFoundError("no atoll command was found: install it, or set ATOLL_BIN to its folder")
    return found[0]


class Atoll:
    """One data root and one run root; `rootless` runs as an ordinary user in a delegated cgroup."""

    packages = ("uidmap",)

    def __init__(self, world: World, *, rootless: bool = False, disk: bool = False) -> None:
        self.world = world
        self.name = "atoll" + (" rootless" if rootless else "")
        label = self.name.replace(" ", "-") + ("-disk" if disk else "")
        self.home = world.folder(label, disk=disk)
        self.run_root = os.path.join(world.folder(f"{label}-run"), "run")
        user = world.sandbox.users["atoll-full"] if rootless else None
        self.env = (
            ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
            ("HOME", user.home if user else "/root"),
            ("ATOLL_RUN_ROOT", self.run_root),
            ("ATOLL_CONFIG", os.path.join(self.home, "atoll.toml")),
            ("LANG", "C.UTF-8"),
            *((("XDG_RUNTIME_DIR", user.runtime_dir),) if user else ()),
        )
        with open(os.path.join(self.home, "atoll.toml"), "w") as stream:
            stream.write('[network]\ndefault = "none"\n')
        enter = None
        if user is not None:
            for folder in (self.home, os.path.dirname(self.run_root)):
                os.chown(folder, user.uid, user.gid)
            join = world.sandbox.delegate(user, "bench")
            world.on_close(world.sandbox.undelegate, "bench")

            def enter() -> None:
                join()
                os.setgroups([])
                os.setresgid(user.gid, user.gid, user.gid)
                os.setresuid(user.uid, user.uid, user.uid)

        self.worker = world.worker(label, enter)
        world.on_close(self.end_spawner)

    def command(self, *words: str, store: str | None = None, marks: str = "") -> Command:
        """atoll with its own roots; `marks` is a file that takes the timing marks."""
        env = (*self.env, ("ATOLL_DATA_ROOT", store or os.path.join(self.home, "data")))
        return Command((program(), *words), (*env, ("ATOLL_TIMING", "1")) if marks else env, stderr=marks)

    def end_spawner(self) -> None:
        """By pid; the next command starts cold."""
        for process in processes.spawners(self.run_root):
            processes.end(process.pid, signal.SIGTERM)
        processes.reap()

    def run_true(self, reference: str, *, cold: bool = False, marks: str = "") -> Contender:
        """`run --rm --network none busybox true`."""
        self.worker.time(self.command("pull", "-q", reference))
        words = ("run", "--rm", "--network", "none", reference, "true")
        name = f"{self.name}, {'cold' if cold else 'warm'} spawner"
        before = self.end_spawner if cold else lambda: None
        return Contender(name, self.worker, lambda: self.command(*words, marks=marks), before=before)

    def have(self, reference: str, store: str | None = None) -> None:
        """Pull it, untimed."""
        self.worker.time(self.command("pull", "-q", reference, store=store))

    def pull(self, reference: str, *beside: str) -> Contender:
        """A pull into a store that has only the images `beside`; removing it again is not timed."""
        store = os.path.join(self.home, "beside" if beside else "pull")
        for one in beside:
            self.have(one, store)

        def clear() -> None:
            if beside:
                self.worker.time(self.command("rmi", "--force", reference, store=store), ok=(0, 1))
            else:
                shutil.rmtree(store, ignore_errors=True)

        return Contender(
            self.name, self.worker, lambda: self.command("pull", "-q", reference, store=store), before=clear
        )

    def again(self, reference: str, *, warm: bool = False) -> Contender:
        """A pull of what is there; `warm`: where a container was run a while ago, so that a spawner waits."""
        self.have(reference)
        if warm:
            self.worker.time(self.command("run", "--rm", "--network", "none", reference, "true"))
            time.sleep(1.5)
        else:
            self.end_spawner()
        name = f"{self.name}, {'warm' if warm else 'cold'} spawner"
        return Contender(name, self.worker, lambda: self.command("pull", "-q", reference))

    def push(self, reference: str, target: str) -> Contender:
        """A push to another name."""
        self.have(reference)
        self.worker.time(self.command("tag", reference, target))
        return Contender(self.name, self.worker, lambda: self.command("push", "-q", target))

    def save(self, reference: str, path: str) -> Contender:
        """`atoll save` into a file."""
        self.have(reference)
        return Contender(self.name, self.worker, lambda: self.command("save", "-o", path, reference))

    def load(self, reference: str, path: str) -> Contender:
        """`atoll load` of the archive at `path` into an empty store."""
        store = os.path.join(self.home, "pull")

        def clear() -> None:
            shutil.rmtree(store, ignore_errors=True)

        return Contender(
            self.name, self.worker, lambda: self.command("load", "-q", "-i", path, store=store), before=clear
        )
