"""Other limits for a container in a machine of its own, while it runs: the machine follows them.

Holds: `request` (the keeper's part: the machine), `keep` (the agent's: the container's cgroup). Does not hold: who
asks (`isolation/vm_sizing.py`), how a VMM takes memory from its guest (`vm/machine.py:Control.resize`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.guest import setup

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.guest.keeper import Keeper


def request(keeper: Keeper, wanted: dict[str, Any]) -> dict[str, Any]:
    """Give the machine its `memory` (MiB; None: as it is), and say what the guest is then asked for. Raises
    FailedPrecondition for more than it began with, Unsupported, Unavailable."""
    memory, most = wanted["memory"], int(keeper.config["memory"])
    if memory is not None:
        if memory > most:
            raise errors.FailedPrecondition(
                f"this machine began with {most} MiB, and the limit takes {memory}",
                hint="stop the container first: its machine has more from its next start on",
            )
        keeper.talk().resize(memory)
    return {"ask": "size", "limits": wanted["limits"], "terminal": False, "stdin": False}


def keep(message: dict[str, Any]) -> dict[str, Any]:
    """In the guest: the limits of the container's own cgroup. Raises AtollError, OSError."""
    from atoll.runtime import state
    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.cgroups.detect import detect
    from atoll.spec import codec
    from atoll.spec import runtime as oci

    cgroup = Cgroup.from_json(state.read(setup.CONTAINER).cgroup)
    cgroup.update(codec.parse(oci.Resources, message["limits"], "limits"), detect())
    return {}
