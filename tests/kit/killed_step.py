"""`atoll` that is killed at a chosen step of its work on networks: `killed_step.py WHEN NUMBER FILE ARGS…`.

A step is a call that changes something outside this process: a write to the store, a message to the kernel, a port
taken, a file of the container's, a word to a helper. WHEN is `before` or `after`; NUMBER counts from 1, and 0 writes
how many there were into FILE.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

POINTS = (
    ("atoll.engine.store", "Store", "write"),
    ("atoll.linux.netlink", "Netlink", "send"),
    ("atoll.linux.netlink", "Netlink", "transaction"),
    ("atoll.engine.networks.publish", "", "bind"),
    ("atoll.engine.networks.resolver", "", "write_in_place"),
    ("atoll.engine.networks.helpers", "", "_reload"),
    ("atoll.isolation.container", "ContainerDriver", "create"),
)


def main(when: str, number: int, path: str, words: list[str]) -> int:
    """Patch, then be the command."""
    me, count = os.getpid(), 0

    def dying(original: Any) -> Any:
        def call(*args: Any, **named: Any) -> Any:
            nonlocal count
            mine = os.getpid() == me
            count += mine
            chosen = mine and count == number
            if chosen and when == "before":
                os.kill(me, signal.SIGKILL)
            result = original(*args, **named)
            if chosen:
                os.kill(me, signal.SIGKILL)
            return result

        return call

    for module, holder, name in POINTS:
        __import__(module)
        place: Any = getattr(sys.modules[module], holder) if holder else sys.modules[module]
        setattr(place, name, dying(getattr(place, name)))
    from atoll.cli.main import main as command

    code = command(words)
    if not number:
        with open(path, "w") as stream:
            stream.write(str(count))
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4:]))
