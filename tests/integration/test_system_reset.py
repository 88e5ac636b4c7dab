"""system reset: everything goes, for root and for an ordinary user, also what runs and what lies outside its map."""

from __future__ import annotations

import os

import pytest

from kit.command import Atoll


@pytest.mark.parametrize("who", ["atoll", "rootless"])
def test_nothing_stays(who: str, request: pytest.FixtureRequest, busybox: str):
    atoll: Atoll = request.getfixturevalue(who)
    atoll.good("pull", "-q", busybox)
    # Files of another id than the user's, which only the map may remove.
    atoll.good("run", "--rm", "-v", "kept:/kept", busybox, "sh", "-c", "echo 1 > /kept/file && chown 5:5 /kept/file")
    atoll.good("run", "-d", "--name", "up", "-v", "kept:/kept", busybox, "sleep", "100")
    atoll.good("create", "--name", "made", busybox, "true")
    atoll.good("secret", "create", "word", "-", stdin="secret")
    assert "all volumes" in atoll("system", "reset", stdin="n\n").out
    assert atoll.good("ps", "-q")
    said = atoll.good("system", "reset", "--force")
    assert said == "Removed 2 containers, 0 networks, 1 volumes, 1 secrets and 1 images"
    assert os.listdir(atoll.data) == os.listdir(atoll.run_root) == []
    assert atoll.good("ps", "-aq") == atoll.good("images", "-q") == atoll.good("volume", "ls", "-q") == ""
    assert atoll.good("system", "reset", "-f").startswith("Removed 0 containers")
    atoll.good("pull", "-q", busybox)
    assert atoll.good("run", "--rm", busybox, "echo", "again") == "again"
