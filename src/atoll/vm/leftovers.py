"""Closures and templates that no machine can be made of any more: those of an earlier interpreter, VMM or Atoll.

Holds: `find`, `remove`, `key_of`. Does not hold: who still runs in one (`engine/system/machines.py`). What
machines are made of now is kept, and so is what one that runs was made of: its jail shows those very files.
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.vm.closure import planned
from atoll.vm.drivers import NAMES, named

KINDS = ("closure", "templates")
_LOCK = ".lock"


def key_of(name: str) -> str:
    """The closure that an entry of either directory belongs to: `KEY`, `KEY-KERNEL-…`, either with `.tmp`."""
    return name.partition("-")[0].partition(".")[0]


def find(root: str, used: frozenset[str]) -> tuple[str, ...]:
    """The directories below `root` that neither today's machines nor those of the closures `used` need."""
    kept = used | {planned(root, named(name).program).key for name in NAMES}
    found = []
    for kind in KINDS:
        try:
            names = sorted(os.listdir(f"{root}/{kind}"))
        except FileNotFoundError:
            continue
        found += [f"{root}/{kind}/{n}" for n in names if key_of(n) not in kept and not n.endswith(_LOCK)]
    return tuple(found)


def remove(path: str) -> bool:
    """Remove one of them, with the lock under which it was made; False while somebody makes it. Raises OSError."""
    # Nobody waits at the lock of a key that nothing makes any more, so that it may go, too.
    lock = files.FileLock(path.removesuffix(".tmp") + _LOCK)
    if not lock.acquire(blocking=False):
        return False
    try:
        files.remove_tree(path)
        files.unlink_if_present(lock.path)
    finally:
        lock.release()
    return True
