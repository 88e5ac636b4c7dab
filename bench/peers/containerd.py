"""`ctr` against a containerd of our own (`tests/kit/foreign.py`): own root, state and socket; CRI off."""

from __future__ import annotations

import itertools
import os
import subprocess

from bench.harness import Command, Contender
from bench.world import World
from kit import foreign

# $1 is how many words ctr is, then these, then the names.
_REMOVE = (
    'count=$1; shift; i=0; ctr=; while [ $i -lt $count ]; do ctr="$ctr $1"; shift; i=$((i + 1)); done; '
    'for name do $ctr tasks delete --force "$name"; $ctr containers delete "$name"; done'
)


class Containerd:
    """ctr + runc; `disk` puts the store on the machine's disk."""

    packages = ("containerd", "runc")
    syncs = "blobs, records"

    def __init__(self, world: World, *, disk: bool = False) -> None:
        self.world = world
        self.name = "ctr + runc"
        suffix = "-disk" if disk else ""
        self.state = world.folder(f"containerd-state{suffix}")
        argv = foreign.containerd(world.folder("containerd-root", disk=disk), self.state)
        path = os.path.join(world.logs, f"containerd{suffix}.log")
        env = {"PATH": foreign.PATH}
        with open(path, "w") as log:
            self.daemon = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=env)
        world.on_close(foreign.end, self.daemon)
        foreign.wait_for(self.daemon, [*foreign.ctr(self.state), "version"], path)
        self.worker = world.worker(f"ctr{suffix}")
        self._serial = itertools.count()

    def command(self, *words: str) -> Command:
        """ctr against our own containerd."""
        return Command((*foreign.ctr(self.state), *words))

    def docker(self, *words: str) -> Command:
        """What comes nearest to one of Docker's commands as the rows give it (no flag but those that are named here).
        It has no word for a state that it does not keep: `stop` ends and forgets the task, `rm` what is left then."""
        verb, *rest = words
        if verb in ("run", "create"):
            detach = ["-d"] if "-d" in rest else []
            name = rest[rest.index("--name") + 1]
            image, *program = rest[rest.index("--network") + 2 :]
            how = ["run", *detach] if verb == "run" else ["containers", "create"]
            return self.command(*how, image, name, *program)
        if verb == "rm" and rest[0] == "-f":
            return Command(
                ("/bin/sh", "-c", _REMOVE, "sh", str(len(self.command().argv)), *self.command().argv, *rest[1:])
            )
        if verb == "exec":
            return self.command("tasks", "exec", "--exec-id", f"e{next(self._serial)}", *rest)
        short = {
            "stop": ("tasks", "delete", "--force", rest[-1] if rest else ""),
            "rm": ("containers", "delete", *rest),
            "inspect": ("containers", "info", *rest),
            "ps": ("containers", "ls"),
        }
        return self.command(*short[verb])

    def run_true(self, reference: str) -> Contender:
        """`ctr run --rm busybox N true`: its default is a network namespace without interfaces."""
        self.have(reference)
        return Contender(
            self.name,
            self.worker,
            lambda: self.command("run", "--rm", reference, f"bench-{next(self._serial)}", "true"),
        )

    def have(self, reference: str) -> None:
        """Pull it, untimed."""
        self.worker.time(self._pull(reference))

    def _pull(self, reference: str) -> Command:
        return self.command("images", "pull", "--plain-http", reference)

    def pull(self, reference: str, *beside: str) -> Contender:
        """A pull into a store that has only the images `beside`; removing it again is not timed."""
        for one in beside:
            self.have(one)

        def clear() -> None:
            self.worker.time(self.command("images", "rm", "--sync", reference), ok=(0, 1))

        return Contender(self.name, self.worker, lambda: self._pull(reference), before=clear)

    def again(self, reference: str) -> Contender:
        """A pull of what is there."""
        self.have(reference)
        return Contender(self.name, self.worker, lambda: self._pull(reference))
