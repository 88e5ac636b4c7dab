"""Containers whose root is a full copy of their image's layers: `[storage] driver = "copy"`."""

from __future__ import annotations

import json
import os

import pytest

from kit.command import Atoll, installed

SCRIPT = "echo new > /new; rm /etc/group; chmod 700 /usr; echo changed"


@pytest.mark.parametrize("whose", ["atoll", "rootless", pytest.param("single", marks=pytest.mark.full)])
def test_a_container_from_a_copy(request: pytest.FixtureRequest, busybox: str, whose: str):
    anyone: Atoll = request.getfixturevalue(whose)
    anyone.good("pull", "-q", busybox)
    with open(anyone.config, "w") as file:
        file.write('[storage]\ndriver = "copy"\n')
    assert anyone.good("run", "--name", "one", busybox, "sh", "-c", SCRIPT) == "changed"
    changes = ["C /etc", "D /etc/group", "A /new", "C /usr"]
    assert anyone.good("diff", "one").split("\n") == changes
    assert anyone.inspect("one")["GraphDriver"]["Name"] == "vfs"
    anyone.good("cp", "one:/new", f"{anyone.folder}/copied")
    assert os.path.getsize(f"{anyone.folder}/copied") == 4
    anyone.good("commit", "one", "me/app")
    # What a container was made with stays; the new way is for new ones.
    with open(anyone.config, "w") as file:
        file.write('[storage]\ndriver = "overlay"\n')
    assert anyone.good("start", "-a", "one").split("\n")[-1].endswith("changed")
    assert anyone.good("diff", "one").split("\n") == changes
    assert anyone.good("run", "--name", "two", "me/app", "sh", "-c", "cat /new; ls /etc/group; :") == "new"
    assert anyone.inspect("two")["GraphDriver"]["Name"] == "overlay2"
    assert anyone.good("run", "--rm", "--read-only", "me/app", "sh", "-c", "echo > /no || echo refused") == "refused"
    shown = json.loads(anyone.good("info", "--format", "json"))
    assert (shown["Driver"], shown["DriverStatus"][1]) == ("overlay2", ["Storage Driver", "overlay (overlay)"])
    assert anyone.good("system", "df", "-v").endswith("Storage driver: overlay")
    anyone.good("rm", "one", "two")
    assert os.listdir(f"{anyone.data}/snapshots/writable") == []
    assert anyone.good("system", "check") == "nothing to repair"


def test_a_read_only_copy_and_a_bounded_one(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    with open(atoll.config, "w") as file:
        file.write('[storage]\ndriver = "copy"\n')
    refused = atoll.good("run", "--rm", "--read-only", busybox, "sh", "-c", "echo > /no || echo refused")
    assert refused == "refused"
    full = "dd if=/dev/zero of=/big bs=64k count=4000 2>&1 | grep -c 'No space left'"
    assert atoll.good("run", "--rm", "--storage-opt", "size=32m", busybox, "sh", "-c", full) == "1"
    atoll("run", "--rm", "--storage-opt", "size=2m", busybox, "true").failed(125, "no space left")
    assert os.listdir(f"{atoll.data}/snapshots/writable") == []
    with open(atoll.config, "w") as file:
        file.write('[storage]\ndriver = "zfs"\n')
    atoll("run", "--rm", busybox, "true").failed(125, "expected one of auto, overlay, fuse-overlayfs, copy")


def test_a_copy_that_is_killed_leaves_nothing(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    with open(atoll.config, "w") as file:
        file.write('[storage]\ndriver = "copy"\n')
    calls = "utimensat,copy_file_range,mkdirat,symlinkat"
    inject = ("-e", f"trace={calls}", "-e", f"inject={calls}:signal=SIGKILL:when=6")
    words = ("-f", "-qq", "-o", "/dev/null", *inject, installed(), "create", busybox, "true")
    assert atoll(*words, program="strace", env={"ATOLL_SPAWNER": "off"}).code != 0
    atoll("system", "check", "--repair")
    assert atoll.good("system", "check") == "nothing to repair"
    assert os.listdir(f"{atoll.data}/snapshots/writable") == []
    assert atoll.good("run", "--rm", busybox, "echo", "whole") == "whole"


def test_an_image_that_is_only_mounted_stays(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("run", "--name", "base", busybox, "sh", "-c", "echo kept > /data")
    atoll.good("commit", "base", "only/mounted")
    atoll.good("commit", "base", "not/used")
    mount = ("--mount", "type=image,source=only/mounted,target=/mnt")
    assert atoll.good("run", "--name", "user", *mount, busybox, "cat", "/mnt/data") == "kept"
    atoll.good("rm", "base")
    atoll("rmi", "only/mounted").failed(1, "must be forced", "container .* is using")
    atoll.good("rmi", "-f", "only/mounted")  # its name alone goes
    assert "deleted: sha256:" not in atoll.good("image", "prune", "-f")
    assert atoll.good("image", "prune", "-af").count("not/used:latest") == 1
    assert atoll.good("start", "-a", "user") == "kept"
    atoll.good("rm", "user")
    assert atoll.good("image", "prune", "-f").count("deleted: sha256:") >= 1
    assert atoll.good("system", "check") == "nothing to repair"
