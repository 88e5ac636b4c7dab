"""Something tried in a clone that is thrown away.

Holds: `in_clone`. Does not hold: whole programs (`kit/processes.py`).
"""

from __future__ import annotations

import os
import select
from collections.abc import Callable

from atoll.linux import process


def in_clone(body: Callable[[], object], flags: int = 0, prepare: Callable[[int], object] | None = None) -> str:
    """The text of what `body` gives in a clone with these CLONE_* `flags`, or of the exception that it raises.
    `prepare` is called with its pid, on this side, before it begins."""
    reader, writer = os.pipe()
    go, ready = os.pipe()
    pid, pidfd = process.clone3(flags)
    if pid == 0:
        try:
            os.close(ready)
            os.read(go, 1)
            answer = body()
        except BaseException as error:
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, str(answer).encode())
        os._exit(0)
    os.close(writer)
    os.close(go)
    try:
        if prepare is not None:
            prepare(pid)
        os.close(ready)
        assert select.select([reader], [], [], 20)[0], "the child hangs"
        return os.read(reader, 65536).decode()
    finally:
        os.close(reader)
        os.waitpid(pid, 0)
        os.close(pidfd)
