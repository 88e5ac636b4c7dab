"""Which networks `network ls --filter` means: Docker's words, held against the documents that are shown.

Holds: `KINDS`, `Filters`. Does not hold: what all nouns' filters have in common (`engine/filters.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.filters import by_kind, has_labels, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

    Test = Callable[[dict[str, Any]], bool]

KINDS = ("dangling", "driver", "id", "label", "name", "scope", "type")
PREDEFINED = ("bridge", "host", "none")


class Filters:
    """What was asked; `asks_members` says whether a document must have its containers for that. Raises
    InvalidArgument for a kind or value that is none."""

    def __init__(self, filters: Iterable[str]) -> None:
        given = by_kind(filters, KINDS)
        self.asks_members = "dangling" in given
        self._tests = [_test(kind, values) for kind, values in given.items()]

    def hold(self, document: dict[str, Any]) -> bool:
        """Whether all of them do, for a network's document as `network ls` has it."""
        return all(test(document) for test in self._tests)


def _test(kind: str, values: list[str]) -> Test:
    if kind == "label":
        return lambda one: has_labels(one["Labels"].items(), {kind: values})
    if kind == "type" and (wrong := [one for one in values if one not in ("builtin", "custom")]):
        raise errors.InvalidArgument(f"invalid filter: 'type'={wrong[0]!r}", hint="builtin or custom")
    makers: dict[str, Callable[[str], Test]] = {
        "dangling": lambda value: _dangling(wanted=truth(kind, value)),
        "driver": lambda value: lambda one: bool(one["Driver"] == value),
        "id": lambda value: lambda one: bool(one["Id"].startswith(value)),
        "name": lambda value: lambda one: value in one["Name"],
        "scope": lambda value: lambda one: bool(one["Scope"] == value),
        "type": lambda value: lambda one: (one["Name"] in PREDEFINED) == (value == "builtin"),
    }
    alternatives = [makers[kind](value) for value in values]
    return lambda one: any(test(one) for test in alternatives)


def _dangling(*, wanted: bool) -> Test:
    """As Docker: a predefined network counts as used."""
    return lambda one: (one["Name"] not in PREDEFINED and not one["Containers"]) == wanted
