"""Booting a machine with nothing in it, outside any jail: to learn whether it boots, and to save it as a template.

Holds: `Booted`, `boot`. Does not hold: what is learned (`probe.py`) or saved (`template.py`). Such a guest executes
our own code alone and gets nothing of a user's; QEMU's own sandbox is around it all the same. What a VMM leaves
behind when it is killed (user-mode Linux: the processes of its guest) is in its session, and ends with it.
"""

from __future__ import annotations

import os
import time
from _socket import AF_UNIX, SOCK_CLOEXEC, SOCK_STREAM, socket, socketpair
from select import POLLIN, poll

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.linux import process, tsc
from atoll.vm.drivers import named
from atoll.vm.machine import TCG, Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from atoll.vm.kernel import Kernel
    from atoll.vm.machine import Driver

HELLO = 1
"""The kind of the agent's first frame (`guest/wire.py`)."""


class Booted:
    """A machine that was started; leaving the block ends it."""

    def __init__(
        self, kernel: Kernel, agent_image: str, *, memory: int, cpus: int, accel: str, warm: bool, driver: str
    ) -> None:
        import subprocess
        import tempfile

        by = named(driver)
        found = by.probe()
        if not found.ok:
            raise errors.Unsupported(f"{by.title}: {found.reason}")
        self._undo = Rollback()
        place = os.path.dirname(agent_image)
        try:
            meeting = ""
            if by.by_name:  # QEMU needs none, and a command that is killed would leave it behind
                meeting = tempfile.mkdtemp(prefix="atoll-vm-")
                self._undo.push(files.remove_tree, meeting)
            self.port, port = self._pair()
            self.control, control = self._pair()
            self.console, console = self._pair()
            self.memory = os.memfd_create("guest", os.MFD_CLOEXEC)
            self._undo.push(os.close, self.memory)
            os.ftruncate(self.memory, memory << 20)
            agent = os.open(agent_image, os.O_RDONLY | os.O_CLOEXEC)
            self._undo.push(os.close, agent)
            machine = Machine(
                kernel=kernel.path,
                initrd=kernel.initrd,
                tsc_khz=tsc.khz() if accel == TCG else 0,
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
                place=place,
                meeting=meeting,
                root=f"{place}/jail",
            )
            self._listener = meet(machine, by) if by.calls else None
            if self._listener is not None:
                self._undo.push(self._listener.close)
            null = subprocess.DEVNULL
            self.child = subprocess.Popen(
                by.command(machine, found.program),
                stdin=null,
                stdout=null,
                stderr=console.fileno(),
                pass_fds=by.descriptors(machine),
                env=by.environment(),
                start_new_session=True,
                preexec_fn=end_with(os.getpid()),
            )
            self._undo.push(self._end)
            for one in (port, control, console):
                one.close()
            self.talk = by.control(machine, self.control)
        except BaseException:
            self._undo.run()
            raise

    def _pair(self) -> tuple[socket, socket]:
        ours, theirs = socketpair()
        self._undo.push(ours.close)
        self._undo.push(theirs.close)
        return ours, theirs

    def _end(self) -> None:
        try:
            os.killpg(self.child.pid, 9)
        finally:
            self.child.wait()

    def await_hello(self, seconds: float) -> str | None:
        """None once the agent has spoken, else why it has not."""
        began = time.monotonic()
        try:
            if self._listener is not None:
                self.talk.greet()
                self.port = called(self._listener, self.port, seconds)
                self._undo.push(self.port.close)
            if not _ready(self.port, seconds):
                raise errors.Timeout(f"a guest did not come up within {seconds:.0f} s")
        except (errors.Timeout, errors.Unavailable) as error:
            return error.message
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


def boot(
    kernel: Kernel,
    agent_image: str,
    *,
    memory: int,
    cpus: int,
    accel: str,
    warm: bool = False,
    driver: str = "qemu",
) -> Booted:
    """Start a machine of `driver`, whose closure `agent_image` is part of; `warm`: it does everything once before it
    says that it is there. Raises Unsupported, OSError."""
    return Booted(kernel, agent_image, memory=memory, cpus=cpus, accel=accel, warm=warm, driver=driver)


def end_with(parent: int) -> Callable[[], None]:
    """For a child of `parent`, before it executes: the kernel kills it when that has ended, in whatever way. A guest
    would go on asking for its other end for ever."""

    def before() -> None:
        process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)
        if os.getppid() != parent:  # it has ended already
            os._exit(1)

    return before


def meet(machine: Machine, driver: Driver) -> socket:
    """The socket at which a guest that calls is waited for. Raises OSError."""
    listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC)
    path = f"{machine.meeting}/{driver.calls}"
    listener.bind(path)
    os.chmod(path, 0o666)  # nobody else reaches the directory
    listener.listen(1)
    return listener


def called(listener: socket, port: socket, seconds: float) -> socket:
    """The connection of a guest that calls, in place of `port`. Raises Timeout."""
    try:
        if not _ready(listener, seconds):
            raise errors.Timeout(f"a guest did not come up within {seconds:.0f} s")
        fd, _ = listener._accept()  # type: ignore[attr-defined]
    finally:
        listener.close()
        port.close()
    return socket(AF_UNIX, SOCK_STREAM, 0, fd)


def _ready(end: socket, seconds: float) -> bool:
    poller = poll()
    poller.register(end, POLLIN)
    return bool(poller.poll(seconds * 1000))
