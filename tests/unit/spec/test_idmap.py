"""Id maps: who gets which, keys, text, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.base import errors
from atoll.spec import idmap
from atoll.spec.idmap import IdMap


def test_root_needs_none():
    assert idmap.for_user(0) is None
    assert idmap.key_of(None) == "id"


def test_a_user_with_nothing_gets_the_single_map(tmp_path: Path):
    found = idmap.for_user(61234, 61235, etc=str(tmp_path))
    assert found == idmap.single(61234, 61235)
    assert idmap.to_text(found.uid_map) == "0 61234 1\n"
    assert found.key == "single"


def test_ranges_by_number_and_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(idmap, "_helper", lambda name: f"/usr/bin/{name}")
    text = "someone:1:2\n61234:100000:65536\n# 61234:5:5\n61234:61234:1\nbroken\n61234:x:1\n"
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text(text)
    found = idmap.for_user(61234, 61234, etc=str(tmp_path))
    assert found is not None
    assert idmap.to_text(found.uid_map) == "0 61234 1\n1 100000 65536\n"
    assert (found.single, found.newuidmap) == (False, "/usr/bin/newuidmap")
    assert found.key == "0-61234-1_1-100000-65536"
    assert idmap.outside_id(found.uid_map, 1000) == 100999
    assert idmap.outside_id(found.uid_map, 70000) is None
    assert idmap.from_json(found.to_json()) == found
    assert found.ways() == {
        "uid_map": [(0, 61234, 1), (1, 100000, 65536)],
        "gid_map": [(0, 61234, 1), (1, 100000, 65536)],
        "newuidmap": "/usr/bin/newuidmap",
        "newgidmap": "/usr/bin/newgidmap",
        "single": False,
    }


def test_without_the_helpers_ranges_are_of_no_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(idmap, "_helper", lambda name: None)
    for name in ("subuid", "subgid"):
        (tmp_path / name).write_text("61234:100000:65536\n")
    found = idmap.for_user(61234, 61234, etc=str(tmp_path))
    assert found is not None
    assert found.single


@pytest.mark.parametrize(
    "maps",
    [
        (),
        (IdMap(inside=0, outside=0, count=0),),
        (IdMap(inside=0, outside=(1 << 32) - 1, count=1),),
        (IdMap(inside=0, outside=0, count=1 << 33),),
        (IdMap(inside=0, outside=0, count=10), IdMap(inside=5, outside=100, count=1)),
        (IdMap(inside=0, outside=0, count=10), IdMap(inside=50, outside=9, count=1)),
        (IdMap(inside=-1, outside=0, count=1),),
    ],
)
def test_what_the_kernel_would_refuse(maps: tuple[IdMap, ...]):
    with pytest.raises(errors.InvalidArgument):
        idmap.check(maps, "uid_map")
