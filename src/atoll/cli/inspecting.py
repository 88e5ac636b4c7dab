"""The `inspect` of one kind of thing: an array of documents, or a line each by a template."""

from __future__ import annotations

import sys

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def inspect_each(names: list[str], find: Callable[[str], dict[str, Any]], style: str | None) -> int:
    """Print what `find` gives for each name: 0, or 1 if one was not found, which is said on standard error."""
    from atoll.cli.display import printable

    found, code = [], 0
    for name in names:
        try:
            found.append(find(name))
        except errors.AtollError as error:
            sys.stderr.write(f"atoll: {printable(str(error))}\n")
            code = 1
    if style is None:
        sys.stdout.write(jsontext.pretty(found) + "\n")
    else:
        from atoll.cli.document import show

        sys.stdout.write("".join([show(document, style) for document in found]))
    return code
