"""`network ls --filter`: Docker's words against documents."""

from __future__ import annotations

from typing import Any

import pytest

from atoll.base import errors
from atoll.engine.networks.filters import Filters


def _document(
    name: str, *, driver: str = "bridge", labels: tuple[str, ...] = (), used: bool = False
) -> dict[str, Any]:
    return {
        "Name": name,
        "Id": name[0] * 64,
        "Driver": driver,
        "Scope": "local",
        "Containers": {"c": {}} if used else {},
        "Labels": dict.fromkeys(labels, "yes"),
    }


ALL = (
    _document("bridge"),
    _document("app", labels=("team", "tier"), used=True),
    _document("web", labels=("team",)),
    _document("cni-x", driver="cni"),
    _document("none", driver="null"),
)


@pytest.mark.parametrize(
    ("filters", "names"),
    [
        ((), "bridge app web cni-x none"),
        (("name=b",), "bridge web"),
        (("name=app", "name=web"), "app web"),
        (("name=app", "driver=cni"), ""),
        (("driver=cni", "driver=null"), "cni-x none"),
        (("id=aa",), "app"),
        (("scope=local", "label=team"), "app web"),
        (("label=team", "label=tier=yes"), "app"),
        (("type=custom",), "app web cni-x"),
        (("type=builtin",), "bridge none"),
        (("dangling=true",), "web cni-x"),
        (("dangling=0",), "bridge app none"),
    ],
)
def test_which_are_meant(filters: tuple[str, ...], names: str) -> None:
    wanted = Filters(filters)
    assert [one["Name"] for one in ALL if wanted.hold(one)] == names.split()
    assert wanted.asks_members == any(one.startswith("dangling") for one in filters)


@pytest.mark.parametrize("wrong", ["colour=red", "name", "type=odd", "dangling=perhaps"])
def test_what_is_no_filter(wrong: str) -> None:
    with pytest.raises(errors.InvalidArgument):
        Filters((wrong,))
