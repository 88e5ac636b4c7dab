"""Containers straight through the isolation seam, without engine or command line.

Holds: `Level` (a driver with fresh directories, and plans for busybox), `output` (read an attachment to its end).
Does not hold: which drivers there are (tests/contract).
"""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import time
from collections.abc import Callable
from typing import Any

from atoll.base import ids, jsontext
from atoll.isolation.container import ContainerDriver
from atoll.isolation.protocol import ContainerPlan, Driver, ExecPlan, LogPlan, Status
from atoll.spec.rootfs import Bind, RootPlan
from atoll.spec.runtime import Process, Spec
from kit import processes
from kit.bundle import Bundle

_serial = itertools.count()
EXITED = b'{"is":"exit"'


class Level:
    """A driver in a folder of its own, which `clear` empties of processes."""

    def __init__(self, folder: str, make: Callable[..., Driver] = ContainerDriver, **how: Any) -> None:
        self.folder, self.run_root, self.data = folder, f"{folder}/run", f"{folder}/data"
        for path in (folder, self.run_root, self.data, f"{self.run_root}/containers"):
            os.mkdir(path, 0o700)
        self.bundle = Bundle(f"{folder}/bundle")
        self.driver = make(self.run_root, self.data, **how)
        self.plans: list[ContainerPlan] = []

    def spec(self, *args: str, terminal: bool = False, **process: Any) -> Spec:
        """The bundle's config with another program."""
        wanted = {**self.bundle.config["process"], "args": list(args), "terminal": terminal, **process}
        return Spec.from_json({**self.bundle.config, "process": wanted})

    def plan(self, *args: str, log: bool = False, **how: Any) -> ContainerPlan:
        """A plan for a fresh container that runs `args`."""
        name = ids.new_id()
        bundle, run = f"{self.data}/{name}", f"{self.run_root}/containers/{name}"
        os.mkdir(bundle, 0o700)
        os.mkdir(run, 0o700)
        if log:
            how["log"] = LogPlan(path=f"{bundle}/log", max_size=1 << 20, max_files=2)
        plan = ContainerPlan(
            id=name,
            spec=self.spec(*args, terminal=how.get("terminal", False)),
            root=RootPlan(steps=(Bind(source=self.bundle.rootfs, target="/"),)),
            bundle=bundle,
            run=run,
            **how,
        )
        self.plans.append(plan)
        return plan

    def exec_plan(self, plan: ContainerPlan, *args: str, **how: Any) -> ExecPlan:
        """A plan for one more process in a container."""
        process = Process(cwd="/", args=args, env=("PATH=/bin",), terminal=how.get("terminal", False))
        return ExecPlan(id=f"e{next(_serial)}", run=plan.run, process=process, **how)

    def status(self, plan: ContainerPlan) -> Status:
        """What it is now."""
        return self.driver.status(plan.run, plan.bundle)

    def wait(self, plan: ContainerPlan, timeout: float = 20.0) -> Status:
        """Its end; a container that has not ended in time is a failure."""
        status = self.driver.wait(plan.run, plan.bundle, timeout)
        assert status.ended, status
        return status

    def log(self, plan: ContainerPlan) -> str:
        """The text in its log, rotated parts included."""
        text = ""
        for name in (f"{plan.log.path}.1", plan.log.path):
            if os.path.exists(name):
                with open(name, "rb") as stream:
                    text += "".join(jsontext.loads(line)["log"] for line in stream)
        return text

    def processes(self, kind: str = "") -> list[processes.Process]:
        """Atoll's processes that write to this run root's faults file, by the start of their title."""
        found = []
        for process in processes.everyone():
            if process.title.startswith(f"atoll:[{kind}") and process.state != "Z":
                try:
                    if os.readlink(f"/proc/{process.pid}/fd/2").startswith(self.run_root):
                        found.append(process)
                except OSError:
                    continue
        return found

    def faults(self) -> str:
        """What forks wrote before they broke."""
        try:
            with open(f"{self.run_root}/faults.log") as stream:
                return stream.read()
        except FileNotFoundError:
            return ""

    def clear(self) -> None:
        """End everything, and fail for faults or for anything that stays."""
        for plan in self.plans:
            if os.path.isdir(plan.run):
                self.driver.delete(plan.run, plan.bundle, force=True)
        for process in self.processes("spawner"):
            processes.end(process.pid)
        deadline = time.monotonic() + 10
        while left := self.processes():
            if time.monotonic() > deadline:
                for process in left:
                    processes.end(process.pid, signal.SIGKILL)
                raise AssertionError(f"still there: {[str(p) for p in left]}")
            time.sleep(0.01)
        faults = self.faults()
        shutil.rmtree(self.folder)
        assert not faults, faults


def output(attachment: Any) -> tuple[bytes, bytes, dict[str, Any]]:
    """Everything until the exit: stdout, stderr, the exit message ({} if the monitor went away)."""
    streams: dict[int, bytearray] = {1: bytearray(), 2: bytearray()}
    ended: dict[str, Any] = {}
    while (one := attachment.read()) is not None:
        if one[0] == 8:
            if one[1].startswith(EXITED):
                ended = jsontext.loads(one[1])
        else:
            streams[one[0]] += one[1]
    attachment.close()
    return bytes(streams[1]), bytes(streams[2]), ended
