"""Removing trees whose files may be of other ids of a map."""

import pytest

from atoll.base import files
from atoll.snapshots import store, worker
from atoll.spec import idmap
from atoll.spec.idmap import IdMap, RootlessMap

RANGES = RootlessMap(
    uid_map=(IdMap(inside=0, outside=1000, count=1),), gid_map=(IdMap(inside=0, outside=1000, count=1),)
)


@pytest.fixture
def refused(monkeypatch):
    """Removal as whoever this is fails; what is asked of a worker."""
    asked = []

    def refuse(path):
        raise PermissionError(path)

    monkeypatch.setattr(files, "remove_tree", refuse)
    monkeypatch.setattr(worker, "remove_trees", lambda paths, map_: asked.append((paths, map_)))
    return asked


def test_what_is_ones_own_needs_no_map(tmp_path):
    (tmp_path / "tree/below").mkdir(parents=True)
    store.remove_tree(str(tmp_path / "tree"), RANGES)
    store.remove_tree(str(tmp_path / "tree"), RANGES)
    assert list(tmp_path.iterdir()) == []


def test_what_is_not_is_removed_inside_the_map(refused):
    store.remove_tree("/data/x", RANGES)
    assert refused == [(["/data/x"], RANGES)]


@pytest.mark.parametrize("map_", [None, idmap.single(1000, 1000)], ids=["root", "single"])
def test_where_there_is_no_other_id_the_refusal_counts(refused, map_):
    with pytest.raises(PermissionError):
        store.remove_tree("/data/x", map_)
    assert refused == []
