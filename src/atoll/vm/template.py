"""Templates: a machine that has booted, saved once, and gone on with by each container that asks for one like it.

Holds: `Template`, `ensure`, `restore`. Does not hold: what must be renewed after a restore (`guest/setup.py`).
Nothing of a user's is in a template: it is saved before any container is known. What all that come from one share is
what the kernel drew while it booted (the layout of its memory, the keys of its hash tables); docs/vm.md says so.
Files are 0600 in a directory of 0700: memory may hold what a guest was told.

    <data>/vm/templates/<key>/memory    what the guest had written, the rest is holes
                             /state     its devices, as QEMU's migration writes them
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.vm import booting
from atoll.vm.closure import Closure
from atoll.vm.kernel import Kernel
from atoll.vm.qmp import Control

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

BOOT_SECONDS = 240.0
SAVE_SECONDS = 60.0
_CHUNK, _PAGE = 1 << 20, 1 << 12
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]
"""The guest's memory is a file of ours, and no part of the saved devices."""
_PARAMETERS: dict[str, Any] = {"announce-rounds": 0}
"""The guest is not asked to announce itself: its addresses are new, whoever is to hear of them hears its first
packet, and an interface taken down meanwhile stops its kernel for ever (virtnet_close waits, with the lock of all
interfaces, for the work that takes this lock to announce)."""


class Template(Value):
    """A saved machine: where it is."""

    memory: str
    state: str


def place_of(root: str, kernel: Kernel, made: Closure, *, memory: int, cpus: int, accel: str) -> Template:
    """Where the template for such machines is or would be."""
    folder = f"{root}/templates/{made.key}-{kernel.digest[:16]}-{memory}-{cpus}-{accel}"
    return Template(memory=f"{folder}/memory", state=f"{folder}/state")


def ensure(root: str, kernel: Kernel, made: Closure, *, memory: int, cpus: int, accel: str) -> Template:
    """The template, made if it is not there: that takes as long as a boot. Two at once: one makes it, the other
    waits. Raises Unavailable for a guest that does not boot, Exhausted."""
    found = place_of(root, kernel, made, memory=memory, cpus=cpus, accel=accel)
    if os.path.exists(found.state):
        return found
    folder = os.path.dirname(found.state)
    try:
        os.makedirs(os.path.dirname(folder), mode=0o700, exist_ok=True)
        lock = files.FileLock(f"{folder}.lock")
        lock.acquire()
        try:
            if not os.path.exists(found.state):
                _make(folder, kernel, made, memory=memory, cpus=cpus, accel=accel)
        finally:
            lock.release()
    except OSError as error:
        raise errors.from_os_error(error, "save a machine as a template") from error
    return found


def _make(folder: str, kernel: Kernel, made: Closure, *, memory: int, cpus: int, accel: str) -> None:
    temporary = f"{folder}.tmp"
    files.remove_tree(temporary)
    os.mkdir(temporary, 0o700)
    state = os.open(f"{temporary}/state", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with booting.boot(kernel, made.agent, memory=memory, cpus=cpus, accel=accel, warm=True) as machine:
            failed = machine.await_hello(BOOT_SECONDS)
            if failed is not None:
                raise errors.Unavailable(failed)
            control = Control(machine.control)
            control.greet()
            control.ask("stop")
            control.ask("migrate-set-capabilities", capabilities=_CAPABILITIES)
            control.give("state", state)
            control.ask("migrate", uri="fd:state")
            control.wait_for("query-migrate", "status", "completed", ("setup", "active", "device"), SAVE_SECONDS)
            _write_memory(machine.memory, f"{temporary}/memory")
    finally:
        os.close(state)
    files.remove_tree(folder)
    os.rename(temporary, folder)


def _write_memory(source: int, path: str) -> None:
    """What is not zero of the guest's memory, page by page: what is a hole here is copied for no machine."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(source).st_size
        os.ftruncate(fd, size)
        zeros, zero = bytes(_CHUNK), bytes(_PAGE)
        for position in range(0, size, _CHUNK):
            data = os.pread(source, _CHUNK, position)
            if data == zeros:
                continue
            for start in range(0, len(data), _PAGE):
                page = data[start : start + _PAGE]
                if page != zero:
                    os.pwrite(fd, page, position + start)
    finally:
        os.close(fd)


def restore(control: Control, state: int, seconds: float) -> None:
    """Take the saved devices of descriptor `state` in, and let the machine go on; its memory is
    there already. Raises Unavailable, Timeout."""
    control.ask("migrate-set-capabilities", capabilities=_CAPABILITIES)
    control.ask("migrate-set-parameters", **_PARAMETERS)
    control.give("state", state)
    control.ask("migrate-incoming", uri="fd:state")
    control.wait_for("query-migrate", "status", "completed", ("none", "setup", "active"), seconds)
    control.ask("cont")
