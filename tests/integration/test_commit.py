"""diff and commit."""

from __future__ import annotations

import json

import pytest

from integration.test_lifecycle import started, until_logged
from kit.command import Atoll

CHANGES = "echo new > /new; rm /etc/group; chmod 700 /usr; echo x > /data/x; mkdir /d; chown 3:4 /d; echo ready; "


@pytest.mark.parametrize("whose", ["rootless", "single", pytest.param("atoll", marks=pytest.mark.full)])
def test_diff_and_commit(request: pytest.FixtureRequest, busybox: str, whose: str):
    anyone: Atoll = request.getfixturevalue(whose)
    anyone.good("pull", "-q", busybox)
    owned = "" if anyone.user is not None and anyone.user.name == "atoll-single" else CHANGES
    script = (owned or CHANGES.replace("chown 3:4 /d; ", "")) + "sleep 600"
    started(anyone, busybox, "sh", "-c", script, options=("-v", "vol:/data", "-e", "A=1", "-l", "k=v"))
    until_logged(anyone, "web", "ready")
    anyone.good("create", "--name", "idle", busybox)
    assert anyone.good("diff", "idle") == "", "what the engine makes to mount on is no change"
    anyone.good("start", "idle")
    assert anyone.good("diff", "idle") == ""
    changes = anyone.good("diff", "web").split("\n")
    assert changes == ["A /d", "C /etc", "D /etc/group", "A /new", "C /usr"]
    rows = [json.loads(line) for line in anyone.good("diff", "--format", "json", "web").split("\n")]
    assert rows[0] == {"Kind": "A", "Path": "/d"}
    identity = anyone.good("commit", "-m", "why", "-a", "me", "-c", 'CMD ["cat", "/new"]', "web", "me/app:1")
    assert identity.startswith("sha256:")
    assert anyone.state("web")["Paused"] is False, "it goes on"
    assert anyone.good("run", "--rm", "me/app:1") == "new"
    shown = anyone.good("run", "--rm", "me/app:1", "sh", "-c", "echo $A; ls /etc/group /data/x; stat -c %u:%g /d; :")
    assert shown.startswith("1\n")
    assert shown.endswith("3:4" if owned else "0:0")
    image = json.loads(anyone.good("inspect", "--type", "image", "me/app:1"))[0]
    assert (image["Comment"], image["Author"], image["Config"]["Labels"]) == ("why", "me", {"k": "v"})
    assert anyone.good("commit", "--pause=false", "web") != identity
    anyone("commit", "-c", "FROM x", "web").failed(1, "not a valid change command")
    anyone("commit", "web", "Bad:Name").failed(1, "invalid")
    anyone.good("stop", "-t", "0", "web")
    assert anyone.good("diff", "web").split("\n") == changes
    again = anyone.good("commit", "web", "me/again")
    assert anyone.good("run", "--rm", again[7:19], "cat", "/new") == "new"
