"""A virtual machine as data, and what a driver of a VMM must do with it.

Holds: `Machine` and its parts, `Driver`, `Availability`. Does not hold: a VMM (`qemu.py`), what runs in the guest or
beside the VMM (`guest`). A machine names descriptors, never paths of the user's: whoever starts the VMM has opened
them, so that the VMM's own user needs no right to any file.
Devices have one order in every machine, whether they are used or not: that is what lets one template serve all.

    virtio-serial   console (hvc0), and the agent's port
    vda             the agent's root, read-only erofs           vdb   the image, read-only erofs
    vdc             what the container writes, ext4, or nothing  eth0  a tap, QEMU's user network, or nothing
    virtiofs        volumes, only where there are some: such a machine cannot be saved
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

KVM, TCG = "kvm", "tcg"
COMMAND_LINE = (
    "console=hvc0 quiet loglevel=3 reboot=t panic=-1 tsc=reliable no_timer_check random.trust_cpu=on "
    "raid=noautodetect cryptomgr.notests root=/dev/vda ro rootfstype=erofs init={init}"
)
WARM = "atoll.warm"
"""On the kernel's command line: what the kernel does not know goes into init's environment (bootparam(7))."""
INIT = "/init"
"""In the agent's root (`closure.py`). Without arguments: QEMU appends its devices to the command line."""


class Link(Value):
    """The machine's interface: `tap` a descriptor, or None for `user` (the VMM's own network) or nothing at all."""

    tap: int | None = None
    user: bool = False
    mac: str = "52:54:00:00:00:01"


class Machine(Value):
    """One machine. `memory` in MiB. Of descriptors: `agent` and `image` read-only images, `disk` what is written
    (None: none), `port` a connected stream socket to the agent's port, `control` one for the VMM's protocol (QMP),
    `console` one where the guest's kernel writes, `memory_fd` a memfd for the guest's memory. `restored`: a saved
    machine is to be taken in, whose memory is in `memory_fd`. `volumes`: the path of virtiofsd's socket. `warm`: the
    agent is to do everything once before it says that it is there."""

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

    @property
    def command_line(self) -> str:
        """The kernel's."""
        return COMMAND_LINE.format(init=INIT) + (f" {WARM}=1" if self.warm else "")


class Availability(Value):
    """Whether a driver works on this host, what it is, and why it does not."""

    ok: bool
    program: str = ""
    version: str = ""
    reason: str | None = None


class Driver(ABC):
    """A VMM. Everything is a value first: `command` says how it is started, `descriptors` what it inherits."""

    name: str
    wall: str
    """What stands between guest and host, in words."""
    saves: bool
    """Whether a machine can be saved and restored."""

    @abstractmethod
    def probe(self) -> Availability:
        """Whether its program is here. Changes nothing."""

    @abstractmethod
    def command(self, machine: Machine, program: str) -> list[str]:
        """The command line."""

    def descriptors(self, machine: Machine) -> tuple[int, ...]:
        """What the VMM inherits, under the same numbers."""
        found: list[Any] = [machine.agent, machine.image, machine.disk, machine.port, machine.control]
        found += [machine.console, machine.memory_fd, machine.link.tap]
        return tuple([fd for fd in found if fd is not None])
