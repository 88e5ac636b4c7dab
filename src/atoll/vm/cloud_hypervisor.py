"""Cloud Hypervisor: virtio over PCI, and all of the machine on its command line.

Holds: `CloudHypervisor`. Does not hold: the wire of its API (`api.py`), which changes its size alone. Source: its
OpenAPI description (vmm/src/api/openapi/cloud-hypervisor.yaml), docs/device_model.md, docs/vsock.md. It needs KVM,
and a kernel with PCI: libkrunfw's has none, so that a path must be given (docs/vm.md).
It opens files by name, and takes the tap's descriptor. The agent calls the host's port 1024, which Cloud Hypervisor
passes on to a socket called after its own and that number, as Firecracker does.
"""

from __future__ import annotations

from atoll.vm import machine as machines
from atoll.vm.api import Api, Request
from atoll.vm.machine import KVM, PORT_WORD, Driver, Machine

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

VSOCK, PORT, GUEST = "vsock", 1024, 3
API = "api"


class CloudHypervisor(Driver):
    """Runs as one process, by its own seccomp filters."""

    name = "cloud-hypervisor"
    title = "Cloud Hypervisor"
    wall = "a kernel of its own, in a machine that Cloud Hypervisor makes, in a jail"
    program = "cloud-hypervisor"
    package = "https://github.com/cloud-hypervisor/cloud-hypervisor/releases"
    accelerators = (KVM,)
    by_name = True
    volumes = True
    calls = f"{VSOCK}_{PORT}"

    def command(self, machine: Machine, program: str) -> list[str]:
        """One argument after another; none of them is of the user's making but the kernel's path."""
        words = [program, "--api-socket", f"path={machine.meeting}/{API}", "--seccomp", "true"]
        words += ["--kernel", machine.kernel, "--cmdline", f"{machine.command_line} {PORT_WORD}=vsock:{PORT}"]
        words += ["--cpus", f"boot={machine.cpus},max={machine.cpus}"]
        words += ["--memory", f"size={machine.memory}M,shared=on"]
        words += ["--balloon", "size=0,deflate_on_oom=on,free_page_reporting=on"]
        words += ["--disk", f"path={machine.place}/agent.img,readonly=on"]
        words += [f"path={machine.place}/image.img,readonly=on"] if machine.image is not None else []
        words += [f"path={machine.place}/disk.img"] if machine.disk is not None else []
        if machine.link.tap is not None:
            words += ["--net", f"fd={machine.link.tap},mac={machine.link.mac}"]
        if machine.volumes is not None:
            words += ["--fs", f"tag=volumes,socket={machine.volumes},num_queues=1,queue_size=256"]
        words += ["--vsock", f"cid={GUEST},socket={machine.meeting}/{VSOCK}"]
        return [*words, "--rng", "src=/dev/urandom", "--serial", "off", "--console", "off"]

    def control(self, machine: Machine, connection: socket) -> Talk:
        """Its API; `connection` says nothing but that it has gone."""
        return Talk(machine)


class Talk(machines.Control):
    """The conversation with one Cloud Hypervisor."""

    def __init__(self, machine: Machine) -> None:
        self._api, self._machine = Api(f"{machine.meeting}/{API}"), machine

    def greet(self) -> None:
        """It begins by itself: that it answers is enough."""
        self._api.ask(Request(method="GET", path="/api/v1/vmm.ping"))

    def resize(self, memory: int) -> None:
        """By the balloon."""
        balloon = (self._machine.memory - memory) << 20
        self._api.ask(Request(method="PUT", path="/api/v1/vm.resize", body={"desired_balloon": balloon}))
