"""Firecracker: virtio over memory-mapped registers, configured by requests before it begins.

Holds: `Firecracker`, `requests_for` (its machine as data). Does not hold: the wire (`api.py`). Source: its OpenAPI
description (src/firecracker/swagger/firecracker.yaml), docs/vsock.md, docs/ballooning.md. It needs KVM.
It opens files and taps by name alone: so a machine has no network here, which is refused by name. The agent calls
the host's port 1024, which Firecracker passes on to a socket called after its own and that number.
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


class Firecracker(Driver):
    """Runs as one process, by its own seccomp filters."""

    name = "firecracker"
    title = "Firecracker"
    wall = "a kernel of its own, in a machine that Firecracker makes, in a jail"
    program = "firecracker"
    package = "https://github.com/firecracker-microvm/firecracker/releases"
    accelerators = (KVM,)
    taps = False
    cpus_max = 32
    by_name = True
    calls = f"{VSOCK}_{PORT}"

    def command(self, machine: Machine, program: str) -> list[str]:
        """The rest is said by requests."""
        return [program, "--api-sock", f"{machine.meeting}/{API}", "--id", "atoll"]

    def control(self, machine: Machine, connection: socket) -> Talk:
        """Its API; `connection` says nothing but that it has gone."""
        return Talk(machine)


class Talk(machines.Control):
    """The conversation with one Firecracker."""

    def __init__(self, machine: Machine) -> None:
        self._api, self._machine = Api(f"{machine.meeting}/{API}"), machine

    def greet(self) -> None:
        """Configure it, and let it begin."""
        for request in requests_for(self._machine):
            self._api.ask(request)

    def resize(self, memory: int) -> None:
        """By the balloon."""
        self._api.ask(Request(method="PATCH", path="/balloon", body={"amount_mib": self._machine.memory - memory}))


def requests_for(machine: Machine) -> list[Request]:
    """What makes and begins the machine, in this order: drives become vda, vdb, vdc as they come."""
    drives = [("vda", "agent.img", True)]
    drives += [("vdb", "image.img", True)] if machine.image is not None else []
    drives += [("vdc", "disk.img", False)] if machine.disk is not None else []
    bodies: list[tuple[str, dict[str, object]]] = [
        ("/machine-config", {"vcpu_count": machine.cpus, "mem_size_mib": machine.memory}),
        (
            "/boot-source",
            {
                "kernel_image_path": machine.kernel,
                "boot_args": f"{machine.command_line} {PORT_WORD}=vsock:{PORT}",
            },
        ),
    ]
    for name, file, fixed in drives:
        about = {"drive_id": name, "path_on_host": f"{machine.place}/{file}", "is_root_device": False}
        bodies.append((f"/drives/{name}", {**about, "is_read_only": fixed}))
    bodies += [
        ("/vsock", {"guest_cid": GUEST, "uds_path": f"{machine.meeting}/{VSOCK}"}),
        ("/entropy", {}),
        ("/balloon", {"amount_mib": 0, "deflate_on_oom": True}),
        ("/actions", {"action_type": "InstanceStart"}),
    ]
    return [Request(method="PUT", path=path, body=body) for path, body in bodies]
