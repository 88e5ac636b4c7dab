"""QEMU's `microvm`: no PCI, no BIOS of a PC, nothing but virtio over memory-mapped registers; and no ACPI, unless the
kernel finds its devices by nothing else.

Holds: `Qemu`. Does not hold: starting it (`guest/keeper.py`), its protocol (`qmp.py`).
Source: qemu(1), docs/system/i386/microvm.rst of QEMU 7.2. The PIT and the PIC stay: without a KVM clock the kernel
calibrates its timers by them. `-sandbox` is QEMU's own seccomp filter; the jail's lies around it (`isolation/vm.py`).
"""

from __future__ import annotations

from atoll.vm.machine import KVM, TCG, Driver, Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from atoll.vm.qmp import Control

PROGRAM = "qemu-system-x86_64"
EMPTY = 16 << 40
"""Bytes of a disk that is not there: larger than any that a restored machine is given, as its kernel looks once."""
HUB, SECOND, SPARE = 1, "second", "52:54:00:00:00:02"
SINK = "sink"
"""A port of the hub's with nothing behind it, while no tap is there. A hub none of whose ports takes anything keeps
what the guest sends and is never asked for it again (net/hub.c): the interface sent nothing more, whatever came."""
TCG_BUFFER = 64
"""MiB of translated code at most."""


class Qemu(Driver):
    """Runs as one process; its guest's memory is a memfd."""

    name = "qemu"
    title = "QEMU microvm"
    wall = "a kernel of its own, in a machine that QEMU makes, in a jail"
    program = PROGRAM
    package = "apt install qemu-system-x86"
    accelerators = (KVM, TCG)
    saves = True
    volumes = True
    user_network = True
    initrd = True
    second = True

    def control(self, machine: Machine, connection: socket) -> Control:
        """QMP, over the socket that it was given."""
        from atoll.vm.qmp import Control

        return Control(connection)

    def command(self, machine: Machine, program: str) -> list[str]:
        """One argument after another; none of them is of the user's making but the kernel's path."""
        accel = "kvm" if machine.accel == KVM else f"tcg,thread=single,tb-size={TCG_BUFFER}"
        board = "acpi=on,pit=on,pic=on" if machine.initrd else "acpi=off"
        words = [program, "-M", f"microvm,{board},memory-backend=ram", "-accel", accel]
        words += ["-cpu", "host" if machine.accel == KVM else "max", "-smp", str(machine.cpus)]
        words += ["-m", f"{machine.memory}M"]
        path = f"/proc/self/fd/{machine.memory_fd}"
        words += ["-object", f"memory-backend-file,id=ram,size={machine.memory}M,mem-path={path},share=on"]
        words += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-name", "atoll"]
        words += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
        words += ["-kernel", machine.kernel, "-append", machine.command_line]
        words += ["-initrd", machine.initrd] if machine.initrd else []
        words += ["-global", "virtio-mmio.force-legacy=false"]
        words += ["-chardev", f"socket,id=control,fd={machine.control}", "-mon", "chardev=control,mode=control"]
        words += ["-chardev", f"socket,id=console,fd={machine.console}"]
        words += ["-device", "virtio-serial-device,id=serial", "-device", "virtconsole,chardev=console"]
        words += ["-chardev", f"socket,id=port,fd={machine.port}"]
        words += ["-device", "virtserialport,bus=serial.0,chardev=port,name=org.atoll.agent"]
        words += _disk("vda", machine.agent, 1, read_only=True)
        words += _disk("vdb", machine.image, 2, read_only=True)
        words += _disk("vdc", machine.disk, 3, read_only=False)
        words += _link(machine)
        if machine.volumes is None:  # microvm has room for eight devices; the guest is given random numbers anyway
            words += ["-device", "virtio-rng-device,rng=rng", "-object", "rng-random,id=rng,filename=/dev/urandom"]
        words += ["-device", "virtio-balloon-device,id=balloon,deflate-on-oom=on"]
        if machine.volumes is not None:
            words += ["-chardev", f"socket,id=volumes,path={machine.volumes}"]
            words += ["-device", "vhost-user-fs-device,chardev=volumes,tag=volumes,queue-size=256"]
        if machine.restored:
            words += ["-S", "-incoming", "defer"]
        return words


def _disk(name: str, fd: int | None, number: int, *, read_only: bool) -> list[str]:
    """Nobody syncs a cache of the host's for a machine that may be thrown away; what the guest flushes is flushed."""
    mode = "on" if read_only else "off"
    if fd is None:
        node = f"driver=null-co,node-name={name},size={EMPTY},read-zeroes=on,read-only={mode}"
        return ["-blockdev", node, "-device", f"virtio-blk-device,drive={name},id={name}"]
    node = f"driver=raw,node-name={name},read-only={mode},file.driver=file,file.filename=/dev/fdset/{number}"
    node += ",discard=unmap,file.discard=unmap,file.locking=off"
    return [
        *("-add-fd", f"fd={fd},set={number}"),
        *("-blockdev", node),
        *("-device", f"virtio-blk-device,drive={name},id={name}"),
    ]


def _link(machine: Machine) -> list[str]:
    link = machine.link
    if link.tap is not None:
        net = f"tap,id=net,fd={link.tap},vhost=off"
    elif link.user:
        net = "user,id=net,restrict=off"
        net += "".join([f",hostfwd={protocol}::{port}-:{port}" for protocol, port in link.forwards])
    else:
        net = "hubport,id=net,hubid=0"
    words = ["-netdev", net, "-device", f"virtio-net-device,netdev=net,id=net0,mac={link.mac}"]
    # The second one is at a hub, to which a tap is brought then or now: what an interface is at never changes.
    spare = f"virtio-net-device,netdev=spare,id=net1,mac={SPARE}"
    words += ["-netdev", f"hubport,id=spare,hubid={HUB}", "-device", spare]
    if machine.second is None:
        return [*words, "-netdev", f"hubport,id={SINK},hubid={HUB}"]
    words += ["-netdev", f"tap,id={SECOND},fd={machine.second},vhost=off"]
    return [*words, "-netdev", f"hubport,id={SECOND}-port,hubid={HUB},netdev={SECOND}"]


def bring(control: Control, tap: int) -> None:
    """Bring a second network to the spare interface of a machine that runs, by the descriptor of its tap. Raises
    Unavailable, Timeout; then it has none, and another can be brought."""
    control.give(SECOND, tap)
    control.ask("netdev_add", type="tap", id=SECOND, fd=SECOND)
    try:
        control.ask("netdev_add", type="hubport", id=f"{SECOND}-port", hubid=HUB, netdev=SECOND)
    except BaseException:
        control.ask("netdev_del", id=SECOND)
        raise
    control.ask("netdev_del", id=SINK)


def take_away(control: Control) -> None:
    """Take the second network from it. Raises as `bring`."""
    control.ask("netdev_add", type="hubport", id=SINK, hubid=HUB)
    control.ask("netdev_del", id=f"{SECOND}-port")
    control.ask("netdev_del", id=SECOND)
