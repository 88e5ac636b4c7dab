"""A network more or less for a machine that runs: what the keeper asks of the VMM, and of the guest."""

from __future__ import annotations

import os
from typing import Any

import pytest

from atoll.base import errors
from atoll.guest import linking

LINK = {"name": "eth1", "mac": "021122334455", "mtu": 1500, "addresses": [["0a530002", 16]], "routes": []}


class Control:
    """A VMM that has all it is given, but for a command that it is to `refuse`. Its hub is never without a port that
    takes what the guest sends."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.there = {"sink"}
        self.refuse = ""

    def give(self, name: str, fd: int) -> None:
        os.fstat(fd)
        self.asked.append(f"getfd {name}")

    def ask(self, command: str, **words: Any) -> None:
        name = words["id"]
        self.asked.append(f"{command} {name}")
        if self.refuse == self.asked[-1]:
            raise errors.Unavailable("no")
        if command == "netdev_add":
            assert name not in self.there
            self.there.add(name)
        else:
            self.there.remove(name)
        assert self.there & {"sink", "second-port"}


class Keeper:
    """What `linking` sees of one."""

    def __init__(self, *links: dict[str, Any]) -> None:
        self.config: dict[str, Any] = {}
        self.started = type("Started", (), {"links": links})
        self.vmm = Control()

    def control(self) -> Control:
        return self.vmm


def _request(keeper: Keeper, link: dict[str, Any], *fds: int) -> dict[str, Any]:
    return linking.request(keeper, {"link": link, "files": {"0": {}}}, fds)  # type: ignore[arg-type]


def _tap() -> int:
    return os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)


def test_a_second_network_comes_and_goes() -> None:
    keeper, first = Keeper({**LINK, "mac": "020000000001"}), _tap()
    asked = _request(keeper, LINK, first)
    assert (asked["ask"], asked["link"], asked["files"]) == ("link", LINK, {"0": {}})
    assert keeper.vmm.asked == [
        "getfd second", "netdev_add second", "netdev_add second-port", "netdev_del sink",
    ]  # fmt: skip
    assert keeper.vmm.there == {"second", "second-port"}
    with pytest.raises(OSError):
        os.fstat(first)  # it is the VMM's alone
    second = _tap()
    with pytest.raises(errors.FailedPrecondition, match="no interface to spare"):
        _request(keeper, LINK, second)
    with pytest.raises(OSError):
        os.fstat(second)
    keeper.vmm.asked.clear()
    _request(keeper, {"gone": LINK["mac"]})
    assert keeper.vmm.asked == ["netdev_add sink", "netdev_del second-port", "netdev_del second"]
    assert keeper.vmm.there == {"sink"}
    _request(keeper, LINK, _tap())


def test_one_that_cannot_be_brought_leaves_nothing() -> None:
    keeper = Keeper({**LINK, "mac": "020000000001"})
    keeper.vmm.refuse = "netdev_add second-port"
    with pytest.raises(errors.Unavailable):
        _request(keeper, LINK, _tap())
    assert keeper.vmm.there == {"sink"}
    keeper.vmm.refuse = ""
    _request(keeper, LINK, _tap())
    assert keeper.vmm.there == {"second", "second-port"}


def test_the_first_one_stays_where_it_is() -> None:
    """Its interface never leaves the machine: the guest is told to give it up."""
    keeper = Keeper({**LINK, "mac": "020000000001"}, LINK)
    assert _request(keeper, {"gone": "020000000001"})["link"] == {"gone": "020000000001"}
    assert keeper.vmm.asked == []
    with pytest.raises(errors.FailedPrecondition):
        _request(keeper, LINK, _tap())


def test_a_machine_without_any_has_none_to_spare() -> None:
    with pytest.raises(errors.Unsupported):
        _request(Keeper(), LINK, _tap())
