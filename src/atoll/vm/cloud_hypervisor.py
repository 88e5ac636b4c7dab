"""Cloud Hypervisor: virtio over PCI, and all of the machine on its command line.

Holds: `CloudHypervisor`. Does not hold: the wire of its API (`api.py`), which changes its size alone, what it has in
common with another (`api_driver.py`). Source: its OpenAPI description (vmm/src/api/openapi/cloud-hypervisor.yaml),
docs/device_model.md, docs/vsock.md. It needs a kernel with PCI: libkrunfw's has none, so that a path must be given
(docs/vm.md). It opens files by name, and takes the tap's descriptor.
"""

from __future__ import annotations

from atoll.vm import api_driver
from atoll.vm.api import Request
from atoll.vm.api_driver import GUEST, ApiDriver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.vm.machine import Machine


class Talk(api_driver.Talk):
    """The conversation with one Cloud Hypervisor."""

    def greet(self) -> None:
        """It begins by itself: that it answers is enough."""
        self.api.ask(Request(method="GET", path="/api/v1/vmm.ping"))

    def resize(self, memory: int) -> None:
        """By the balloon."""
        balloon = (self.machine.memory - memory) << 20
        self.api.ask(Request(method="PUT", path="/api/v1/vm.resize", body={"desired_balloon": balloon}))


class CloudHypervisor(ApiDriver):
    """The driver."""

    name = "cloud-hypervisor"
    title = "Cloud Hypervisor"
    wall = "a kernel of its own, in a machine that Cloud Hypervisor makes, in a jail"
    program = "cloud-hypervisor"
    package = "https://github.com/cloud-hypervisor/cloud-hypervisor/releases"
    talk = Talk
    volumes = True

    def command(self, machine: Machine, program: str) -> list[str]:
        """One argument after another; none of them is of the user's making but the kernel's path."""
        words = [program, "--api-socket", f"path={api_driver.api_path(machine)}", "--seccomp", "true"]
        words += ["--kernel", machine.kernel, "--cmdline", api_driver.command_line(machine)]
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
        words += ["--vsock", f"cid={GUEST},socket={api_driver.vsock_path(machine)}"]
        return [*words, "--rng", "src=/dev/urandom", "--serial", "off", "--console", "off"]
