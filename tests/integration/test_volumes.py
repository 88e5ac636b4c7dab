"""Volumes and the other mounts in real containers: filled once, shared, kept inside of their bounds."""

from __future__ import annotations

import os

import pytest

from kit.command import Atoll
from kit.sandbox import FIRST_SUBID


@pytest.fixture
def who(request: pytest.FixtureRequest) -> Atoll:
    return request.getfixturevalue(request.param)


EVERYONE = pytest.mark.parametrize("who", ["atoll", "rootless", "single"], indirect=True)


def data(who: Atoll, volume: str) -> str:
    return f"{who.data}/volumes/{volume}/_data"


@EVERYONE
def test_a_new_volume_begins_with_what_the_image_has_there(who: Atoll, busybox: str):
    names = who.good("run", "--rm", busybox, "sh", "-c", "cd /etc; ls passwd group").split()
    assert set(names) <= set(who.good("run", "--rm", "-v", "vol:/etc", busybox, "ls", "/etc").split())
    assert os.path.isfile(data(who, "vol") + "/passwd")
    # Emptied by its user, it stays so for the container that has been launched; what is not empty is never touched.
    name = who.good(
        "create", "-v", "vol2:/etc", busybox, "sh", "-c", "ls /etc | grep -c passwd; rm -f /etc/passwd /etc/group"
    )
    assert who.good("start", "-a", name) == "1"
    who("start", "-a", name)
    assert not os.path.exists(data(who, "vol2") + "/passwd")
    assert who("run", "--rm", "-v", "vol3:/etc:nocopy", busybox, "ls", "/etc/passwd").code != 0
    who.good("rm", name)
    who.good("volume", "rm", "vol", "vol2", "vol3")


def test_owners_modes_and_links_are_copied_and_no_link_is_followed(rootless: Atoll, atoll: Atoll, debian: str):
    for who in (atoll, rootless):
        who.good("run", "--rm", "-v", "mail:/var/mail", "-v", "rc:/etc/alternatives", debian, "true")
        assert os.stat(data(who, "mail")).st_mode & 0o7777 == 0o2775
        gid = os.stat(data(who, "mail")).st_gid
        assert gid == (8 if who is atoll else FIRST_SUBID + 7)
        links = [name for name in os.listdir(data(who, "rc")) if os.path.islink(f"{data(who, 'rc')}/{name}")]
        assert links, "the image's links came as links"
        who.good("volume", "rm", "mail", "rc")


def test_a_killed_copy_is_begun_anew(atoll: Atoll, busybox: str):
    atoll.good("volume", "create", "half")
    for name in (".atoll-being-filled", "rubbish"):
        with open(f"{data(atoll, 'half')}/{name}", "w"):
            pass
    assert "rubbish" not in atoll.good("run", "--rm", "-v", "half:/etc", busybox, "ls", "-a", "/etc").split()
    assert ".atoll-being-filled" not in os.listdir(data(atoll, "half"))
    atoll.good("volume", "rm", "half")


@EVERYONE
def test_sharing_and_removal(who: Atoll, busybox: str):
    who.good(
        "run",
        "--name",
        "one",
        "-v",
        "shared:/a",
        "-v",
        "/b",
        "--tmpfs",
        "/t",
        busybox,
        "sh",
        "-c",
        "echo 1 > /a/x; echo 2 > /b/y",
    )
    out = who.good(
        "run",
        "--rm",
        "--volumes-from",
        "one:ro",
        busybox,
        "sh",
        "-c",
        "cat /a/x /b/y; touch /a/z 2>&1 | grep -c Read-only",
    )
    assert out.split() == ["1", "2", "1"]
    assert len(who.good("volume", "ls", "-q").split()) == 2, "volumes of another are not removed with --rm"
    who("volume", "rm", "shared").failed(1, "volume is in use - \\[")
    who.good("rm", "-v", "one")
    assert who.good("volume", "ls", "-q") == "shared"
    assert "shared" in who.good("volume", "prune", "-f", "-a")
    assert who.good("volume", "ls", "-q") == ""


@EVERYONE
def test_no_subpath_leads_out_of_its_volume(who: Atoll, busybox: str):
    """A link that a container has put there is looked up within the volume."""
    script = (
        "mkdir -p /v/etc /v/sub; echo inside > /v/etc/hostname; echo ok > /v/sub/f;"
        " ln -s /etc /v/out; ln -s ../../../../etc /v/up"
    )
    who.good("run", "--rm", "-v", "vol:/v", busybox, "sh", "-c", script)

    def mounted(subpath: str, command: str) -> str:
        return who.good(
            "run",
            "--rm",
            "--mount",
            f"type=volume,src=vol,dst=/m,volume-subpath={subpath}",
            busybox,
            "sh",
            "-c",
            command,
        )

    assert mounted("sub", "cat /m/f") == "ok"
    assert mounted("out", "cat /m/hostname; ls /m | wc -l").split() == ["inside", "1"]
    assert mounted("up", "cat /m/hostname; ls /m | wc -l").split() == ["inside", "1"]
    who("run", "--rm", "--mount", "type=volume,src=vol,dst=/m,volume-subpath=../..", busybox, "true").failed(
        125, "relative path"
    )
    who("run", "--rm", "--mount", "type=volume,src=vol,dst=/m,volume-subpath=none", busybox, "true").failed(125, "/m")
    who.good("volume", "rm", "vol")


@EVERYONE
def test_other_kinds_of_mounts(who: Atoll, busybox: str):
    flags = ("--mount", "type=tmpfs,dst=/t,tmpfs-size=65536,tmpfs-mode=700", "--tmpfs", "/x:size=8k,exec,mode=1750",
             "--mount", f"type=image,src={busybox},dst=/i", "--mount", "type=devpts,dst=/p")  # fmt: skip
    script = "stat -c %a /t /x; grep -E ' /(t|x|p) ' /proc/mounts; ls /i/bin/busybox; touch /i/y || echo refused"
    out = who.good("run", "--rm", *flags, busybox, "sh", "-c", script).split("\n")
    assert out[:2] == ["700", "1750"]
    assert "noexec" in next(line for line in out if " /t tmpfs" in line)
    assert "noexec" not in next(line for line in out if " /x tmpfs" in line)
    assert any(" /p devpts" in line for line in out)
    assert out[-1] == "refused"
    full = who("run", "--rm", "--tmpfs", "/x:size=8k", busybox, "sh", "-c", "head -c 100000 /dev/zero > /x/f")
    assert full.code != 0
    who("run", "--rm", "--mount", "type=bind,src=/no/such,dst=/x", busybox, "true").failed(
        125, "source path does not exist: /no/such"
    )


def test_binds_below_binds(atoll: Atoll, busybox: str, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "f").write_text("1")
    flags = ("-v", f"{tmp_path}/b:/x/y", "-v", f"{tmp_path}/a:/x")
    assert atoll.good("run", "--rm", *flags, busybox, "cat", "/x/y/f") == "1", "parents come first"


@EVERYONE
def test_options_of_the_local_driver(who: Atoll, busybox: str):
    who.good("volume", "create", "-o", "type=tmpfs", "-o", "o=size=64k", "memory")
    who.good("volume", "create", "-o", "type=none", "-o", "o=bind,ro", "-o", "device=/usr", "usr")
    script = "grep -c ' /m tmpfs ' /proc/mounts; touch /u/x || echo refused"
    assert who.good("run", "--rm", "-v", "memory:/m", "-v", "usr:/u", busybox, "sh", "-c", script).split()[-2:] == [
        "1",
        "refused",
    ]
    if who.user is not None:
        who("volume", "create", "-o", "type=nfs", "-o", "device=:/x", "-o", "o=addr=127.0.0.1", "net").failed(
            1, "ordinary user"
        )
    who.good("volume", "rm", "memory", "usr")
