"""The commands that do one thing to each of several names: go on after a failure, and say so at the end."""

from __future__ import annotations

import sys

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def for_each(names: list[str], act: Callable[[str], str | None]) -> int:
    """Call `act` for each name and print what it returns (None: nothing). 0 if all went well, else 1."""
    from atoll.cli.display import printable

    code = 0
    for name in names:
        try:
            said = act(name)
        except errors.AtollError as error:
            sys.stdout.flush()
            sys.stderr.write(f"atoll: {printable(str(error))}\n")
            code = 1
            continue
        if said is not None:
            sys.stdout.write(said + "\n")
            sys.stdout.flush()
    return code


def remove_each(names: list[str], remove: Callable[[str], object], *, force: bool) -> int:
    """The same for commands that remove: each name is printed; with `force` one that is not there is fine."""

    def one(name: str) -> str:
        try:
            remove(name)
        except errors.NotFound:
            if not force:
                raise
        return name

    return for_each(names, one)
