"""Booting a machine with nothing in it, outside any jail: to learn whether it boots, and to save it as a template.

Holds: `Booted`, `boot`. Does not hold: what is learned (`probe.py`) or saved (`template.py`). Such a guest executes
our own code alone and gets nothing of a user's; QEMU's own sandbox is around it all the same.
"""

from __future__ import annotations

import os
import time
from _socket import socket, socketpair
from select import POLLIN, poll

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.vm.machine import Machine
from atoll.vm.qemu import Qemu

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

HELLO = 1
"""The kind of the agent's first frame (`guest/wire.py`)."""


class Booted:
    """A machine that was started; leaving the block ends it."""

    def __init__(self, kernel: str, agent_image: str, *, memory: int, cpus: int, accel: str, warm: bool) -> None:
        import subprocess

        program = Qemu().probe().program
        if not program:
            raise errors.Unsupported("QEMU is not here", hint="apt install qemu-system-x86")
        self._undo = Rollback()
        driver = Qemu()
        try:
            self.port, port = self._pair()
            self.control, control = self._pair()
            self.console, console = self._pair()
            self.memory = os.memfd_create("guest", os.MFD_CLOEXEC)
            self._undo.push(os.close, self.memory)
            os.ftruncate(self.memory, memory << 20)
            agent = os.open(agent_image, os.O_RDONLY | os.O_CLOEXEC)
            self._undo.push(os.close, agent)
            machine = Machine(
                kernel=kernel,
                memory=memory,
                cpus=cpus,
                accel=accel,
                agent=agent,
                image=None,
                disk=None,
                port=port.fileno(),
                control=control.fileno(),
                console=console.fileno(),
                memory_fd=self.memory,
                warm=warm,
            )
            null = subprocess.DEVNULL
            self.child = subprocess.Popen(
                driver.command(machine, program),
                stdin=null,
                stdout=null,
                stderr=console.fileno(),
                pass_fds=driver.descriptors(machine),
            )
            self._undo.push(self._end)
            for one in (port, control, console):
                one.close()
        except BaseException:
            self._undo.run()
            raise

    def _pair(self) -> tuple[socket, socket]:
        ours, theirs = socketpair()
        self._undo.push(ours.close)
        self._undo.push(theirs.close)
        return ours, theirs

    def _end(self) -> None:
        self.child.kill()
        self.child.wait()

    def await_hello(self, seconds: float) -> str | None:
        """None once the agent has spoken, else why it has not."""
        poller = poll()
        poller.register(self.port, POLLIN)
        began = time.monotonic()
        if not poller.poll(seconds * 1000):
            return f"a guest did not come up within {seconds:.0f} s"
        word = self.port.recv(64)
        if word[:1] == bytes([HELLO]):
            return None
        self.console.setblocking(False)
        try:
            said = self.console.recv(2048).decode(errors="replace")
        except OSError:
            said = ""
        shown = "".join([c if c.isprintable() else " " for c in said]).strip()[-300:]
        return f"the virtual machine monitor ended after {time.monotonic() - began:.1f} s: {shown}"

    def __enter__(self) -> Booted:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._undo.run()


def boot(kernel: str, agent_image: str, *, memory: int, cpus: int, accel: str, warm: bool = False) -> Booted:
    """Start a machine; `warm`: it does everything once before it says that it is there. Raises Unsupported,
    OSError."""
    return Booted(kernel, agent_image, memory=memory, cpus=cpus, accel=accel, warm=warm)
