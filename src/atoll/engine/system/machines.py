"""What virtual machines leave behind in the store when they are no longer made of it: found, and removed.

Holds: `leftovers`, `prune`. Does not hold: what a machine is made of (`vm`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

NOTE = "machine.json"
"""In a container's run directory, where it runs in a machine (`guest/enter.py`)."""


def leftovers(engine: Engine) -> tuple[str, ...]:
    """Directories of closures and templates that nobody needs."""
    root = f"{engine.paths.data}/vm"
    if not os.path.isdir(root):
        return ()
    from atoll.vm import leftovers as machines

    return machines.find(root, _used(engine))


def prune(engine: Engine) -> int:
    """Remove them; the bytes given back. Raises Denied, Exhausted."""
    from atoll.vm import leftovers as machines

    reclaimed = 0
    for path in leftovers(engine):
        size = _allocated(path)
        try:
            reclaimed += size if machines.remove(path) else 0
        except OSError as error:
            raise errors.from_os_error(error, f"remove {path}") from error
    return reclaimed


def _used(engine: Engine) -> frozenset[str]:
    """The closures of machines that run, or whose run directory is still there."""
    used = set()
    for name in os.listdir(engine.paths.containers_run):
        try:
            note = jsontext.loads(files.read_bytes(f"{engine.paths.containers_run}/{name}/{NOTE}"))
            used.add(str(note["closure"]))
        except (OSError, ValueError, KeyError, TypeError):  # no machine, or gone meanwhile
            continue
    return frozenset(used)


def _allocated(path: str) -> int:
    total = 0
    for folder, _, names in os.walk(path):
        for name in names:
            total += os.lstat(f"{folder}/{name}").st_blocks * 512
    return total
