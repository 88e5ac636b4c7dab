"""`--filter` by Docker's rules, whatever the noun."""

from __future__ import annotations

import time

import pytest

from atoll.base import errors
from atoll.engine.filters import by_kind, goes, has_labels, read_prune, split, truth

LABELS = (("team", "x"), ("tier", ""))


def test_words_by_kind() -> None:
    assert split(["Label=a=b", " name = web ", "label=c"]) == {"label": ["a=b", "c"], "name": ["web"]}
    assert by_kind(("name=",), ("name",)) == {"name": [""]}
    with pytest.raises(errors.InvalidArgument, match="bad format of filter"):
        split(["name"])
    with pytest.raises(errors.InvalidArgument, match="invalid filter 'colour'") as refused:
        by_kind(["name=a", "colour=red"], ("name", "id"))
    assert refused.value.hint == "known are name, id"


@pytest.mark.parametrize(
    ("given", "holds"),
    [
        ({}, True),
        ({"label": ["team"]}, True),
        ({"label": ["team=x", "tier="]}, True),
        ({"label": ["team=x", "tier=back"]}, False),
        ({"label": ["team=y"]}, False),
        ({"label": ["tea"]}, False),
        ({"label!": ["colour", "team=y"]}, True),
        ({"label!": ["colour", "team"]}, False),
        ({"label": ["team"], "label!": ["tier"]}, False),
    ],
)
def test_labels(given: dict[str, list[str]], holds: bool) -> None:
    assert has_labels(LABELS, given) is holds


def test_a_truth() -> None:
    assert [truth("dangling", one) for one in ("true", "1", "T", "false", "0", "F")] == [True] * 3 + [False] * 3
    with pytest.raises(errors.InvalidArgument, match="invalid filter 'dangling=perhaps'"):
        truth("dangling", "perhaps")


def test_what_a_prune_takes() -> None:
    hour_ago = time.time_ns() - 3600 * 10**9
    assert goes(read_prune([]), hour_ago, LABELS)
    assert goes(read_prune(["until=30m", "label=team=x"]), hour_ago, LABELS)
    assert not goes(read_prune(["until=2h"]), hour_ago, LABELS)
    assert not goes(read_prune(["until=30m", "label!=team"]), hour_ago, LABELS)
    with pytest.raises(errors.InvalidArgument, match="more than one until"):
        read_prune(["until=1h", "until=2h"])
    for wrong in ("until=soon", "name=x"):
        with pytest.raises(errors.InvalidArgument):
            read_prune([wrong])
