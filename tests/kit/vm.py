"""What virtual machines boot in the tests: a kernel from a wheel that pip fetches, pinned by its hash, and one store
of closures and templates for all tests of a session.

Holds: `store`, `LevelDriver` (the contract's implementation), `give`. Does not hold: tests.
The kernel is libkrunfw's (GPL-2.0; docs/vm.md names its sources); it is fetched once into the tests' cache, and never
part of the tree. Machines run under TCG: KVM opens on the development machine and boots nothing.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence

from atoll.isolation.protocol import Attachment, ContainerPlan
from atoll.isolation.vm import VmDriver
from atoll.monitor.requests import MachinePlan
from atoll.spec.rootfs import Bind
from atoll.vm import kernel
from atoll.vm.closure import closure
from kit import images
from kit.command import Atoll

PACKAGE, VERSION = "microsandbox", "0.7.11"
WHEEL = f"{PACKAGE}-{VERSION}-cp310-abi3-manylinux_2_28_x86_64.whl"
SHA256 = "65f1e4bbf8d721c9f7f557329fb6c8cf41f554c1c6942eac8b941198fa283fe0"

Run = Callable[..., subprocess.CompletedProcess[str]]


def wheel(run: Run = subprocess.run) -> str:
    """The wheel, fetched by pip the first time (48 MB); `run` runs a command where the network is."""
    path = f"{images.cache()}/{WHEEL}"
    if not os.path.exists(path):
        wanted = f"{images.cache()}/vm-requirements.txt"
        with open(wanted, "w") as stream:
            stream.write(f"{PACKAGE}=={VERSION} --hash=sha256:{SHA256}\n")
        place = f"{images.cache()}/vm-wheel"
        words = ["--quiet", "--no-deps", "--only-binary=:all:", "--require-hashes", "-d", place, "-r", wanted]
        run([sys.executable, "-m", "pip", "download", *words], check=True)
        os.rename(f"{place}/{WHEEL}", path)
        shutil.rmtree(place)
    with open(path, "rb") as stream:
        assert hashlib.file_digest(stream, "sha256").hexdigest() == SHA256
    return path


def store(run: Run = subprocess.run) -> str:
    """A directory to be a data root's `vm`: kernel installed, closure made; those of other sources are removed."""
    root = f"{images.cache()}/vm"
    os.makedirs(root, mode=0o711, exist_ok=True)
    if not os.path.exists(f"{root}/kernels/default"):
        kernel.install(root, wheel(run))
    made = closure(root)
    for kind in ("closure", "templates"):
        for name in os.listdir(f"{root}/{kind}") if os.path.isdir(f"{root}/{kind}") else ():
            if not name.startswith(made.key):
                path = f"{root}/{kind}/{name}"
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
    return root


def allow(atoll: Atoll) -> None:
    """Let this Atoll emulate."""
    with open(atoll.config, "w") as stream:
        stream.write('[vm]\naccel = "tcg"\n')


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

    def __init__(self, run_root: str, data_root: str) -> None:
        super().__init__(run_root, data_root)
        os.symlink(store(), f"{data_root}/vm")

    def create(self, plan: ContainerPlan, *, promise: bool = False, start: bool = False) -> Attachment:
        """With a machine in the plan."""
        assert plan.root is not None
        (first,) = plan.root.steps
        assert isinstance(first, Bind)
        image = f"{self._data_root}/image"
        if not os.path.exists(image):
            erofs(first.source, image)
        return super().create(plan.replace(machine=MachinePlan(image=image)), promise=promise, start=start)
