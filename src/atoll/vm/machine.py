"""A virtual machine as data, and what a driver of a VMM must do with it.

Holds: `Machine` and its parts, `Driver`, `Control`, `Availability`. Does not hold: a VMM (`qemu.py`, `uml.py`, …),
which one a machine gets (`drivers.py`), what runs in the guest or beside the VMM (`guest`). A machine names
descriptors, never paths of the user's: whoever starts the VMM has opened them, so that the VMM's own user needs no
right to any file. A VMM that takes no descriptors of files (`Driver.by_name`) finds them at fixed names in `place`.
Devices have one order in every machine, whether they are used or not: that is what lets one template serve all.

    virtio-serial   console (hvc0), and the agent's port
    vda             the agent's root, read-only erofs           vdb   the image, read-only erofs
    vdc             what the container writes, ext4, or nothing  eth0  a tap, QEMU's user network, or nothing
    virtiofs        volumes, only where there are some: such a machine cannot be saved
    eth1            a spare: a second network's tap, from the beginning or while it runs, or nothing
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from typing import Any

KVM, TCG, OWN = "kvm", "tcg", "own"
"""How a guest's instructions are executed: by the processor's own virtualisation, by emulation, or as those of an
ordinary process of the host's (user-mode Linux), which needs neither."""
COMMAND_LINE = (
    "console=hvc0 quiet loglevel=3 reboot=t panic=-1 tsc=reliable no_timer_check random.trust_cpu=on "
    "raid=noautodetect cryptomgr.notests root=/dev/vda ro rootfstype=erofs init={init}"
)
WARM = "atoll_warm"
"""On the kernel's command line: what the kernel does not know goes into init's environment (bootparam(7)). A word
with a dot in it would be a module's, and never reach init."""
EMULATED = "atoll_emulated"
"""The same, where instructions are translated before they are executed."""
PORT_WORD = "atoll_port"
"""Where the port is no virtio port of its name: a terminal's path, or vsock:NUMBER."""
INIT = "/init"
"""In the agent's root (`closure.py`). Without arguments: QEMU appends its devices to the command line."""


class Link(Value):
    """The machine's interface: `tap` a descriptor, or None for `user` (the VMM's own network, which listens in the
    guest's stead at `forwards`, pairs of protocol and port) or nothing at all."""

    tap: int | None = None
    user: bool = False
    forwards: tuple[tuple[str, int], ...] = ()
    mac: str = "52:54:00:00:00:01"


class Machine(Value):
    """One machine. `memory` in MiB. `initrd`: the path of what a kernel loads that has not everything built in;
    it finds its devices by ACPI then. `tsc_khz`: how fast the host's time stamp counter counts, which an emulated
    machine's is, too; 0: the guest measures it, which on a busy host fails. Of descriptors: `agent` and `image`
    read-only images, `disk` what is written (None: none), `port` a connected stream socket to the agent's port,
    `control` one for the VMM's protocol (QMP), `console` one where the guest's kernel writes, `memory_fd` a memfd
    for the guest's memory. `restored`: a saved machine is to be taken in, whose memory is in `memory_fd`.
    `volumes`: the path of virtiofsd's socket. `warm`: the agent is to do everything once before it says that it
    is there. `place`: the directory where `agent.img`, `image.img` and `disk.img` are, for a VMM that opens them
    itself; `meeting`: one where sockets may be made; `root`: one with what is in `agent.img`, for a VMM that
    shows directories; `second`: the tap of a second network, without virtio-net's headers."""

    kernel: str
    memory: int
    cpus: int
    accel: str
    agent: int
    image: int | None
    disk: int | None
    port: int
    control: int
    console: int
    memory_fd: int
    link: Link = Link()
    restored: bool = False
    volumes: str | None = None
    warm: bool = False
    initrd: str = ""
    tsc_khz: int = 0
    place: str = ""
    meeting: str = "/tmp"
    root: str = "/"
    second: int | None = None

    @property
    def command_line(self) -> str:
        """The kernel's."""
        words = COMMAND_LINE.format(init=INIT)
        if self.accel == TCG:
            words += f" {EMULATED}=1" + (f" tsc_early_khz={self.tsc_khz}" if self.tsc_khz else "")
        return words + (f" {WARM}=1" if self.warm else "")


class Availability(Value):
    """Whether a driver works on this host, what it is, and why it does not."""

    ok: bool
    program: str = ""
    version: str = ""
    reason: str | None = None


class Control(ABC):
    """The conversation with a VMM that was started, over the socket that it was given, or one that it makes."""

    @abstractmethod
    def greet(self) -> None:
        """Come to an understanding, and let the machine begin, if it does not by itself. Raises Unavailable when the
        VMM has gone or refuses, Timeout."""

    @abstractmethod
    def resize(self, memory: int) -> None:
        """Leave the guest `memory` MiB of what it began with: the rest is given back to the host as the guest lets
        go of it. Raises Unsupported, Unavailable, Timeout."""


class Driver(ABC):
    """A VMM. Everything is a value first: `command` says how it is started, `descriptors` what it inherits.

    `program` is looked for where the host keeps programs, `package` is what brings it. `accelerators` are those that
    it can use, the best first. `kernel`: it boots the installed kernel; else it is one itself. `by_name`: it opens
    the files in `Machine.place` itself. `memory_place`: the guest's memory is a file that it makes in /dev/shm.
    `header`: its tap carries virtio-net's headers. `calls`: the agent calls by vsock, and the VMM passes that on to
    a socket of this name in `Machine.meeting`.
    """

    name: str
    title: str
    wall: str
    """What stands between guest and host, in words."""
    program: str
    package: str
    accelerators: tuple[str, ...]
    saves: bool = False
    """Whether a machine can be saved and restored."""
    volumes: bool = False
    """Whether it shows directories of the host (virtiofs)."""
    taps: bool = True
    """Whether it takes the descriptor of a tap."""
    user_network: bool = False
    """Whether it has a network of its own where no tap can be had."""
    second: bool = False
    """Whether it has a second interface, for a further network."""
    cpus_max: int = 64
    files_max: int = 256
    """Descriptors that it may have."""
    kernel: bool = True
    initrd: bool = False
    """Whether it boots a kernel that has not everything built in."""
    by_name: bool = False
    memory_place: bool = False
    header: bool = True
    terminal: bool = False
    """Whether the agent's port is a terminal of the guest's."""
    calls: str | None = None

    def probe(self) -> Availability:
        """Whether its program is here. Changes nothing."""
        from atoll.vm.closure import find_program

        program = find_program(self.program)
        if not program:
            return Availability(ok=False, reason=f"{self.program} is not here: {self.package}")
        return Availability(ok=True, program=program)

    @abstractmethod
    def command(self, machine: Machine, program: str) -> list[str]:
        """The command line."""

    @abstractmethod
    def control(self, machine: Machine, connection: socket) -> Control:
        """The conversation with a VMM of that machine; `connection` is our end of `machine.control`."""

    def environment(self) -> dict[str, str]:
        """The VMM's."""
        return {"PATH": "/usr/bin"}

    def descriptors(self, machine: Machine) -> tuple[int, ...]:
        """What the VMM inherits, under the same numbers."""
        found: list[Any] = [machine.port, machine.control, machine.console, machine.link.tap, machine.second]
        if not self.by_name:
            found += [machine.agent, machine.image, machine.disk, machine.memory_fd]
        return tuple([fd for fd in found if fd is not None])
