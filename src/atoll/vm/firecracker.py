"""Firecracker: virtio over memory-mapped registers, configured by requests before it begins.

Holds: `Firecracker`, `requests_for` (its machine as data). Does not hold: the wire (`api.py`), what it has in common
with another (`api_driver.py`). Source: its OpenAPI description (src/firecracker/swagger/firecracker.yaml),
docs/vsock.md, docs/ballooning.md.
It opens files and taps by name alone: so a machine has no network here, which is refused by name.
"""

from __future__ import annotations

from atoll.vm import api_driver
from atoll.vm.api import Request
from atoll.vm.api_driver import GUEST, ApiDriver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.vm.machine import Machine


class Talk(api_driver.Talk):
    """The conversation with one Firecracker."""

    def greet(self) -> None:
        """Configure it, and let it begin."""
        for request in requests_for(self.machine):
            self.api.ask(request)

    def resize(self, memory: int) -> None:
        """By the balloon."""
        self.api.ask(Request(method="PATCH", path="/balloon", body={"amount_mib": self.machine.memory - memory}))


class Firecracker(ApiDriver):
    """The driver."""

    name = "firecracker"
    title = "Firecracker"
    wall = "a kernel of its own, in a machine that Firecracker makes, in a jail"
    program = "firecracker"
    package = "https://github.com/firecracker-microvm/firecracker/releases"
    talk = Talk
    taps = False
    cpus_max = 32

    def command(self, machine: Machine, program: str) -> list[str]:
        """The rest is said by requests."""
        return [program, "--api-sock", api_driver.api_path(machine), "--id", "atoll"]


def requests_for(machine: Machine) -> list[Request]:
    """What makes and begins the machine, in this order: drives become vda, vdb, vdc as they come."""
    drives = [("vda", "agent.img", True)]
    drives += [("vdb", "image.img", True)] if machine.image is not None else []
    drives += [("vdc", "disk.img", False)] if machine.disk is not None else []
    bodies: list[tuple[str, dict[str, object]]] = [
        ("/machine-config", {"vcpu_count": machine.cpus, "mem_size_mib": machine.memory}),
        ("/boot-source", {"kernel_image_path": machine.kernel, "boot_args": api_driver.command_line(machine)}),
    ]
    for name, file, fixed in drives:
        about = {"drive_id": name, "path_on_host": f"{machine.place}/{file}", "is_root_device": False}
        bodies.append((f"/drives/{name}", {**about, "is_read_only": fixed}))
    bodies += [
        ("/vsock", {"guest_cid": GUEST, "uds_path": api_driver.vsock_path(machine)}),
        ("/entropy", {}),
        ("/balloon", {"amount_mib": 0, "deflate_on_oom": True}),
        ("/actions", {"action_type": "InstanceStart"}),
    ]
    return [Request(method="PUT", path=path, body=body) for path, body in bodies]
