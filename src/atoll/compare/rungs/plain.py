"""The lowest rung: the program itself, a child of this process.

Holds: `Plain`. As root its processes, neighbours that make noise above all, are in one control group that bounds what
they take together; among one another they share as processes without groups do.
"""

from __future__ import annotations

import os
import signal

from atoll.base import files
from atoll.compare.rungs import hybrid
from atoll.compare.rungs.way import SHARED, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy

_MEMORY, _PROCESSES = 1 << 30, 1024


class Plain(Way):
    """No wall: fork and execve. Its files lie where the others' do, in a directory of the store's file system."""

    name = "process"
    title = "plain process"
    network = SHARED
    _bounds: tuple[str, ...] = ()

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        return [self.place.program, *words]

    def begin(self) -> None:
        if self.place.uid == 0:
            self._bounds = hybrid.bounded_group(f"atoll-compare-plain-{os.getpid()}", _MEMORY, _PROCESSES)

    def end(self) -> None:
        hybrid.remove_groups(f"atoll-compare-plain-{os.getpid()}")

    def enter(self) -> None:
        for procs in self._bounds:
            files.write_file(procs, "0")

    def start(self, *words: str, port: int = 0, cwd: str = "") -> Copy:
        return super().start(*words, port=port, cwd=cwd or self.place.folder("process"))

    def start_detached(self, *words: str) -> Copy:
        copy = self.start(*words)
        copy.first()
        return copy

    def stop(self, copy: Copy) -> None:
        copy.process.send_signal(signal.SIGTERM)
        copy.wait()

    def listed(self, copy: Copy) -> bool:
        return False  # there is nobody to ask
