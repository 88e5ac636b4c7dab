from __future__ import annotations

import os

import pytest

from atoll.base import errors
from atoll.engine import paths


def test_the_usual_places():
    root = paths.locate({}, 0)
    assert (root.data, root.run) == ("/var/lib/atoll", "/run/atoll")
    user = paths.locate({"HOME": "/home/u", "XDG_RUNTIME_DIR": "/run/user/7"}, 7)
    assert (user.data, user.run) == ("/home/u/.local/share/atoll", "/run/user/7/atoll")
    assert paths.locate({"HOME": "/home/u"}, 7).run == "/tmp/atoll-7"
    assert paths.locate({"XDG_DATA_HOME": "relative", "HOME": "/h"}, 7).data == "/h/.local/share/atoll"
    with pytest.raises(errors.FailedPrecondition, match="HOME"):
        paths.locate({}, 7)


def test_variables_win():
    found = paths.locate({"ATOLL_DATA_ROOT": "/d/", "ATOLL_RUN_ROOT": "/r"}, 0)
    assert (found.data, found.run) == ("/d", "/r")
    assert found.container("x") == "/d/containers/x"
    assert found.container_run("x") == "/r/containers/x"


def test_roots_are_made_private(tmp_path):
    place = paths.Paths(data=str(tmp_path / "a" / "data"), run=str(tmp_path / "b" / "run"))
    paths.prepare(place, os.geteuid())
    for path in (place.data, place.run, place.containers, place.containers_run):
        assert os.stat(path).st_mode & 0o777 == 0o700
    paths.prepare(place, os.geteuid())


@pytest.mark.parametrize("which", ["data", "run"])
def test_a_root_that_others_may_write_is_refused(tmp_path, which):
    place = paths.Paths(data=str(tmp_path / "data"), run=str(tmp_path / "run"))
    os.mkdir(getattr(place, which))
    os.chmod(getattr(place, which), 0o777)
    with pytest.raises(errors.Denied, match="other users may write"):
        paths.prepare(place, os.geteuid())


def test_a_link_or_a_strangers_directory_is_refused(tmp_path):
    os.mkdir(tmp_path / "elsewhere", 0o700)
    os.symlink(tmp_path / "elsewhere", tmp_path / "run")
    place = paths.Paths(data=str(tmp_path / "data"), run=str(tmp_path / "run"))
    with pytest.raises(errors.Denied, match="not a directory"):
        paths.prepare(place, os.geteuid())
    os.unlink(tmp_path / "run")
    with pytest.raises(errors.Denied, match="belongs to user"):
        os.mkdir(tmp_path / "run", 0o700)
        paths.prepare(place, os.geteuid() + 1)
