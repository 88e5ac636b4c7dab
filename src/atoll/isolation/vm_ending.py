"""The end of a machine by SIGKILL: that cuts its power, and would lose what a killed program had written.

Holds: `end`. Does not hold: the signal itself (`runtime/kill.py`).
A killed container's files are as it wrote them: so its guest is asked to kill the container's processes, after which
it writes what is not on its disk yet. A guest that does not do so soon is killed with what it has.
"""

from __future__ import annotations

import os
import time
from select import POLLIN, poll

from atoll.base import errors, files, jsontext
from atoll.guest.enter import NOTE
from atoll.runtime import state

SECONDS = 10.0


def end(run: str) -> bool:
    """Whether the machine of `run` has ended as asked; False where nothing is to be kept (no disk, a container of a
    pod), or no answer in time."""
    try:
        note = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
        known = state.read(run)
        if "in" in note or not note["disk"] or state.status_of(run, known) != state.RUNNING:
            return False
        init = state.open_init(known)
    except (OSError, ValueError, KeyError, errors.AtollError):
        return False
    if init is None:
        return False
    from atoll.isolation.files.machine import MachineFiles

    deadline = time.monotonic() + SECONDS
    try:
        with MachineFiles.of_running(run) as guest:
            guest.kill(SECONDS)
        poller = poll()
        poller.register(init, POLLIN)
        return bool(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
    except (OSError, errors.AtollError):
        return False
    finally:
        os.close(init)
