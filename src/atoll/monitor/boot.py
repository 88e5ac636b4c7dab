"""The first lines that a spawner, or a monitor without one, runs in its own interpreter.

Holds: `main`, which leaves the command that started it behind and then imports the rest. Does not hold: that rest
(`spawner.py`), starting this (`client.py`).
"""

from __future__ import annotations

import os
import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.monitor.spawner import Door, Serve

CHANNEL_FD = 3
"""Where `client.py` puts the listening socket, or the connection."""


def main(argv: list[str]) -> int:
    """`spawner PATH LOCK IDLE_SECONDS DATA_ROOT [DOOR]` or `monitor`; the socket is
    descriptor 3, standard error the faults file."""
    # The command is not to have a child of which it knows nothing: ours is init's, or its subreaper's.
    if os.fork():
        os._exit(0)
    os.closerange(CHANNEL_FD + 1, 1 << 20)
    os.set_inheritable(CHANNEL_FD, False)
    os.chdir("/")
    os.umask(0o022)
    from atoll.runtime.seal import is_sealed

    if not is_sealed():
        print("refused to start: the interpreter is not sealed", file=sys.stderr)  # noqa: T201 - the faults file is all there is to talk to
        return 125
    from atoll.base.launch import keep_pack
    from atoll.monitor import spawner

    keep_pack()
    if argv[0] == "spawner":
        door = _door(argv[5], os.path.dirname(argv[1]), argv[4]) if len(argv) > 5 else None
        spawner.run_spawner(CHANNEL_FD, argv[1], argv[2], float(argv[3]), door)
    else:
        spawner.run_alone(CHANNEL_FD)
    return 0


def _door(module: str, run_root: str, data_root: str) -> Door:
    """`open_door` of a module above this room, which says its name when it starts us."""

    def open_door() -> tuple[str, Serve]:
        __import__(module)
        found: tuple[str, Serve] = sys.modules[module].open_door(run_root, data_root)
        return found

    return open_door
