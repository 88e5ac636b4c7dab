"""The lowest rung: the program itself, a child of this process.

Holds: `Plain`.
"""

from __future__ import annotations

import signal

from atoll.compare.rungs.way import SHARED, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy


class Plain(Way):
    """No wall: fork and execve. Its files lie where the others' do, in a directory of the store's file system."""

    name = "process"
    title = "plain process"
    network = SHARED

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        return [self.place.program, *words]

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
