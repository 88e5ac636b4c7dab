"""Namespaces that wait in a template: lent once, to a container that wants just such ones."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from atoll.base import files
from atoll.guest import lent
from atoll.linux import netdevice, process
from atoll.spec import runtime as oci

NEW = tuple([oci.Namespace(type=kind) for kind in ("pid", "network", "ipc")])


@pytest.fixture
def entered(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """The kinds that were entered; what waits is our own."""
    found: list[int] = []
    monkeypatch.setattr(process, "unshare", lambda flags: None)
    monkeypatch.setattr(process, "setns", lambda fd, flag: found.append(flag))
    monkeypatch.setattr(netdevice, "set_up", lambda name: None)
    monkeypatch.setattr(files, "write_file", lambda path, value: None)
    lent.prepare()
    kept = list(lent._kept.values())
    found.clear()
    yield found
    lent.leave()
    for fd in kept:
        os.close(fd)


def _spec(namespaces: tuple[oci.Namespace, ...], sysctl: tuple[tuple[str, str], ...]) -> oci.Spec:
    return oci.Spec(linux=oci.Linux(namespaces=namespaces, sysctl=sysctl))


def test_a_usual_container_is_lent_them_once(entered: list[int]):
    before = len(os.listdir("/proc/self/fd"))
    left = lent.enter(_spec(NEW, tuple(reversed(lent.SYSCTL)))).linux
    assert left is not None
    assert [one.type for one in left.namespaces] == ["pid"]
    assert left.sysctl == ()
    assert sorted(entered) == sorted((process.CLONE_NEWNET, process.CLONE_NEWIPC))
    lent.leave()
    assert len(entered) == 4
    assert len(os.listdir("/proc/self/fd")) == before
    second = _spec(NEW, lent.SYSCTL)
    assert lent.enter(second) is second


def test_one_with_the_guests_own_network_is_lent_the_other(entered: list[int]):
    left = lent.enter(_spec((NEW[0], NEW[2]), ())).linux
    assert left is not None
    assert [one.type for one in left.namespaces] == ["pid"]
    assert entered == [process.CLONE_NEWIPC]


@pytest.mark.parametrize("sysctl", [(), (*lent.SYSCTL, ("kernel.shm_rmid_forced", "1"))])
def test_one_that_asks_for_something_else_gets_new_ones(entered: list[int], sysctl: tuple[tuple[str, str], ...]):
    wanted = _spec(NEW, sysctl)
    assert lent.enter(wanted) is wanted
    assert entered == []


def test_one_that_names_anothers_keeps_it(entered: list[int]):
    other = oci.Namespace(type="network", path="/proc/1/ns/net")
    left = lent.enter(_spec((other, NEW[2]), ())).linux
    assert left is not None
    assert left.namespaces == (other,)
    assert entered == [process.CLONE_NEWIPC]
