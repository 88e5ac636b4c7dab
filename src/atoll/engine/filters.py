"""`--filter KIND=VALUE` of the lists and prunes, by Docker's rules.

Holds: taking the words apart, and what more than one noun is asked: labels, a truth, the filters of a prune. Does not
hold: which kinds a noun has and what they mean (`containers/filters.py`, `images/filters.py`, …).
Values of one kind are alternatives, but labels, which must all be there; kinds must all hold.
"""

from __future__ import annotations

import time

from atoll.base import clock, errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    Given = dict[str, list[str]]

PRUNE = ("until", "label", "label!")
_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


def split(filters: Iterable[str]) -> Given:
    """`kind=value` by kind. Raises InvalidArgument for one without a value."""
    given: Given = {}
    for one in filters:
        kind, equals, value = one.partition("=")
        if not equals:
            raise errors.InvalidArgument(
                f"invalid argument {one!r} for --filter: bad format of filter (expected name=value)"
            )
        given.setdefault(kind.strip().lower(), []).append(value.strip())
    return given


def by_kind(filters: Iterable[str], known: Sequence[str]) -> Given:
    """The same, for kinds that are `known`. Raises InvalidArgument for another one."""
    given = split(filters)
    for kind in given:
        if kind not in known:
            raise errors.InvalidArgument(f"invalid filter '{kind}'", hint="known are " + ", ".join(known))
    return given


def truth(kind: str, value: str) -> bool:
    """A true or false. Raises InvalidArgument."""
    if value.lower() not in (*_TRUE, *_FALSE):
        raise errors.InvalidArgument(f"invalid filter '{kind}={value}'", hint="true or false")
    return value.lower() in _TRUE


def has_labels(labels: Iterable[tuple[str, str]], given: Given) -> bool:
    """Whether all of `label`, and none of `label!`, are there; each is `key`, or `key=value`."""
    known = dict(labels)
    return all(_has(known, one) for one in given.get("label", ())) and not any(
        _has(known, one) for one in given.get("label!", ())
    )


def _has(labels: dict[str, str], wanted: str) -> bool:
    key, equals, value = wanted.partition("=")
    return key in labels and (not equals or labels[key] == value)


def read_prune(filters: Iterable[str]) -> Given:
    """The filters of a prune: `until` (made before), `label`, `label!`. Raises InvalidArgument."""
    given = by_kind(filters, PRUNE)
    if len(given.get("until", ())) > 1:
        raise errors.InvalidArgument("more than one until filter specified")
    for moment in given.get("until", ()):
        clock.since(moment, time.time_ns())
    return given


def goes(given: Given, created_at: int, labels: Iterable[tuple[str, str]]) -> bool:
    """Whether a prune is to take what was made then (nanoseconds since the epoch) and has these labels."""
    now = time.time_ns()
    return all(created_at < clock.since(one, now) for one in given.get("until", ())) and has_labels(labels, given)
