"""erofs images of layers: what is in them, for whom, the same bytes; and layers that come back from their blobs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

from kit.command import Atoll

MAKE = """
import json, os
from atoll.images import erofs
from atoll.snapshots.store import Snapshots
from atoll.spec import idmap
import sys
snapshots = Snapshots(sys.argv[1] + "/snapshots", idmap.for_user(os.getuid()))
made = erofs.make(snapshots, sys.argv[2:])
again = erofs.make(snapshots, sys.argv[2:])
first = open(made.path, "rb").read()
erofs.remove(snapshots, sys.argv[-1])
erofs.make(snapshots, sys.argv[2:])
print(json.dumps([made.path, made.size, made == again, first == open(made.path, "rb").read()]))
"""


def make(atoll: Atoll, name: str) -> list[object]:
    """The erofs image of an image, made twice."""
    document = json.loads(atoll.good("image", "inspect", name))[0]
    diffs = document["RootFS"]["Layers"]
    from atoll.spec.digest import chain_ids

    user = {"user": atoll.user.uid, "group": atoll.user.gid, "extra_groups": []} if atoll.user else {}
    done = subprocess.run(
        [sys.executable, "-c", MAKE, atoll.data, *chain_ids(diffs)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**atoll.env},
        cwd="/",
        **user,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def dump(path: object, inside: str) -> str:
    return subprocess.run(
        ["dump.erofs", f"--path={inside}", str(path)], capture_output=True, text=True, check=True
    ).stdout


def test_owners_modes_times_and_whiteouts(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    anyone.good("run", "--name", "more", busybox, "sh", "-c", "rm /etc/group; echo x > /new; chmod 4711 /new")
    anyone.good("commit", "more", "two/layers")
    path, size, once, same = make(anyone, "two/layers")
    assert once
    assert same
    assert int(str(size)) > 100_000
    shown = dump(path, "/new")
    assert "Access: 0711" in shown
    assert "1970" not in shown
    listed = subprocess.run(["dump.erofs", "--path=/etc/group", str(path)], capture_output=True, text=True)
    assert "File :" not in listed.stdout
    home = dump(path, "/home/user")
    single = anyone.user is not None and anyone.user.name == "atoll-single"
    assert ("Uid: 1000" in home) != single
    assert anyone.good("system", "check") == "nothing to repair"
    anyone.good("rm", "more")
    anyone.good("rmi", "two/layers")
    assert not os.path.exists(str(path))


def test_layers_come_back_from_their_blobs_without_a_network(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    subprocess.run(["rm", "-rf", f"{atoll.data}/snapshots/layers"], check=True)
    found = atoll("system", "check")
    assert found.code == 1
    assert "they can be unpacked again" in found.out
    again = atoll("run", "--rm", "--pull", "never", busybox, "echo", "back")
    assert again.good() == "back"
    assert re.search(r"^Unpacking image '.*' again: 1 layer, [0-9.]+MB$", again.err, re.MULTILINE), again
    subprocess.run(["rm", "-rf", f"{atoll.data}/snapshots/layers"], check=True)
    assert atoll("run", "--rm", "-q", "--pull", "never", busybox, "true").err == ""
    subprocess.run(["rm", "-rf", f"{atoll.data}/snapshots/layers"], check=True)
    atoll.good("system", "check", "--repair")
    assert atoll.good("system", "check") == "nothing to repair"
