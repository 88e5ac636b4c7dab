"""Undo: what was acquired is given back in reverse order unless the whole succeeds.

Holds: `Rollback`. The first error stays the error; an undo that fails becomes a note on it (PEP 678), where a
plain ExitStack would let the failed undo replace the cause.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self


class Rollback:
    """Collects undo steps; runs them, last first, when its block fails or `release` was not called.

    Register each undo on the line after its acquisition. `release` keeps everything. The undo steps run even
    while the block ends by KeyboardInterrupt or SystemExit, each one whatever became of those before it.
    """

    def __init__(self) -> None:
        self._steps: list[tuple[Callable[..., object], tuple[Any, ...]]] = []

    def push(self, undo: Callable[..., object], *args: Any) -> None:
        """Register `undo(*args)`."""
        self._steps.append((undo, args))

    def release(self) -> None:
        """Keep everything: forget the undo steps."""
        self._steps.clear()

    def run(self) -> list[Exception]:
        """Undo now, last first. Returns what failed; never raises an Exception."""
        failed: list[Exception] = []
        while self._steps:
            undo, args = self._steps.pop()
            try:
                undo(*args)
            except Exception as error:  # noqa: BLE001 - one of the three edges: an undo must not hide the cause
                failed.append(error)
        return failed

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failed = self.run()
        if error is not None:
            for failure in failed:
                error.add_note(f"while undoing: {type(failure).__name__}: {failure}")
        elif failed:
            raise failed[0]
