"""A VMM that has an HTTP API and opens files by name: what Firecracker and Cloud Hypervisor have in common.

Holds: `ApiDriver`, `Talk`, `api_path`, `vsock_path`, `command_line`. Does not hold: the wire (`api.py`), what each is
told (`firecracker.py`, `cloud_hypervisor.py`). Both need KVM and run as one process, by their own seccomp filters.
The agent calls the host's port `PORT`, which both pass on to a socket called after their own and that number
(Firecracker's docs/vsock.md).
"""

from __future__ import annotations

from atoll.vm.api import Api
from atoll.vm.machine import KVM, PORT_WORD, Control, Driver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket

    from atoll.vm.machine import Machine

GUEST = 3
"""The guest's address (vsock(7)): the first one that is free."""
PORT = 1024
_VSOCK, _API = "vsock", "api"


class Talk(Control):
    """The conversation with one of them."""

    def __init__(self, machine: Machine) -> None:
        self.api, self.machine = Api(api_path(machine)), machine


class ApiDriver(Driver):
    """`talk` is its conversation."""

    talk: type[Talk]
    accelerators = (KVM,)
    by_name = True
    calls = f"{_VSOCK}_{PORT}"

    def control(self, machine: Machine, connection: socket) -> Talk:
        """Its API; `connection` says nothing but that it has gone."""
        return self.talk(machine)


def api_path(machine: Machine) -> str:
    """Where the VMM makes the socket of its API."""
    return f"{machine.meeting}/{_API}"


def vsock_path(machine: Machine) -> str:
    """The VMM's own socket, after which `Driver.calls` is called."""
    return f"{machine.meeting}/{_VSOCK}"


def command_line(machine: Machine) -> str:
    """The kernel's, with where the agent is to call."""
    return f"{machine.command_line} {PORT_WORD}=vsock:{PORT}"
