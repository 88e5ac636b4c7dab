"""Which containers get what was made beforehand: those that ask for all of it, and for nothing else in its place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from atoll.engine.containers import defaults
from atoll.runtime import usual
from atoll.spec.runtime import Device, Linux, Mount, Spec

MOUNTS = defaults.mounts(shm_size=64 << 20, terminals_group=True)
BIND = Mount(destination="/etc/hosts", type="bind", source="/x", options=("bind",))
MADE = {one.destination: 100 + number for number, one in enumerate(MOUNTS) if one.type != "cgroup"}


@pytest.fixture(autouse=True)
def expected() -> Iterator[None]:
    """The defaults; afterwards none again."""
    usual.expect(MOUNTS)
    yield
    usual.expect(())


def spec(*mounts: Mount, **linux: object) -> Spec:
    return Spec(mounts=mounts, linux=Linux(**linux))


def test_one_that_asks_for_them_gets_each_in_its_place():
    found = usual.trees_for(spec(BIND, *MOUNTS), MADE)
    assert {(BIND, *MOUNTS)[index].destination: fd for index, fd in found} == MADE
    assert "/sys/fs/cgroup" not in MADE


@pytest.mark.parametrize("place", sorted(MADE))
def test_another_mount_in_a_place_or_none_means_none_of_them(place):
    others = [one for one in MOUNTS if one.destination != place]
    changed = [one.replace(options=("ro",)) if one.destination == place else one for one in MOUNTS]
    over = Mount(destination=place + "/", type="tmpfs", source="tmpfs", options=())
    for mounts in (others, changed, [*MOUNTS, over], []):
        assert usual.trees_for(spec(*mounts), MADE) == ()


def test_nodes_of_its_own_or_a_label_mean_none_of_them():
    device = Device(path="/dev/null", type="c", major=1, minor=3, file_mode=0o600)
    assert usual.trees_for(spec(*MOUNTS, devices=(device,)), MADE) == ()
    assert usual.trees_for(spec(*MOUNTS, mount_label="x"), MADE) == ()
    assert usual.trees_for(Spec(mounts=MOUNTS), MADE) == ()
    assert usual.trees_for(spec(*MOUNTS), {}) == ()
