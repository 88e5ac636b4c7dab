"""Virtual machines in the tests: one store of a kernel, closures and templates for all of a session.

Holds: `store`, `give`, `LevelDriver` (the contract's implementation). Does not hold: the kernel (`kernels.py`).
Machines run under TCG: KVM opens on the development machine and boots nothing.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Sequence

from atoll.isolation.protocol import Attachment, ContainerPlan
from atoll.isolation.vm import VmDriver
from atoll.monitor.requests import MachinePlan
from atoll.spec.rootfs import Bind
from atoll.vm import drivers, kernel
from atoll.vm.closure import closure
from atoll.vm.drivers import Choice
from atoll.vm.machine import OWN, TCG
from kit import images
from kit.command import Atoll
from kit.kernels import Run, allow, wheel

OLD = 3600
"""Seconds after which what other sources made is nobody's any more."""
EMULATED, UML = Choice(driver="qemu", accel=TCG), Choice(driver="uml", accel=OWN)


def store(run: Run = subprocess.run) -> str:
    """A directory to be a data root's `vm`: kernel installed, closures made; what other sources have not used for a
    while is removed."""
    root = f"{images.cache()}/vm"
    os.makedirs(root, mode=0o711, exist_ok=True)
    if not os.path.exists(f"{root}/kernels/default"):
        kernel.install(root, wheel(run))
    made = [drivers.named(one.driver) for one in (EMULATED, UML)]
    keys = tuple([closure(root, one.program).key for one in made if one.probe().ok])
    for kind in ("closure", "templates"):
        for name in os.listdir(f"{root}/{kind}") if os.path.isdir(f"{root}/{kind}") else ():
            path = f"{root}/{kind}/{name}"
            if name.startswith(keys):
                os.utime(path)
            elif _old(path):
                shutil.rmtree(path, ignore_errors=True) if os.path.isdir(path) else os.unlink(path)
    return root


def _old(path: str) -> bool:
    """Whether nobody's: a session beside this one, of another checkout, has closures and templates of its own."""
    try:
        return os.stat(path).st_mtime < time.time() - OLD
    except FileNotFoundError:
        return False


def give(atoll: Atoll, root: str) -> None:
    """Let it emulate, and share the store at `root`."""
    allow(atoll)
    os.makedirs(atoll.data, mode=0o700, exist_ok=True)
    os.symlink(root, f"{atoll.data}/vm")


def erofs(source: str, path: str) -> str:
    """The file system image of a directory."""
    words: Sequence[str] = ("mkfs.erofs", "-T0", path, source)
    subprocess.run(words, check=True, capture_output=True)
    return path


class LevelDriver(VmDriver):
    """The level `vm` for plans whose root is a directory: the machine gets it as an image."""

    def __init__(self, run_root: str, data_root: str, choice: Choice = EMULATED) -> None:
        super().__init__(run_root, data_root)
        self._choice = choice
        os.symlink(store(), f"{data_root}/vm")

    def create(self, plan: ContainerPlan, *, promise: bool = False, start: bool = False) -> Attachment:
        """With a machine in the plan."""
        assert plan.root is not None
        (first,) = plan.root.steps
        assert isinstance(first, Bind)
        image = f"{self._data_root}/image"
        if not os.path.exists(image):
            erofs(first.source, image)
        machine = MachinePlan(image=image, driver=self._choice.driver, accel=self._choice.accel)
        return super().create(plan.replace(machine=machine), promise=promise, start=start)
