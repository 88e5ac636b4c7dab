"""cp and export: with and without processes, as root and as ordinary users, against a container that fights back."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import tarfile

import pytest

from integration.test_lifecycle import started
from kit.command import Atoll


@pytest.fixture
def here(atoll: Atoll) -> str:
    """A directory with a tree in it."""
    place = f"{atoll.folder}/here"
    os.makedirs(f"{place}/tree/sub")
    for name in ("tree/one", "tree/sub/two"):
        with open(f"{place}/{name}", "w") as file:
            file.write(name)
    os.symlink("tree/one", f"{place}/link")
    os.chmod(f"{place}/tree/one", 0o640)
    return place


@pytest.mark.parametrize(
    ("whose", "runs"),
    [
        ("atoll", True),
        ("rootless", False),
        ("single", True),
        pytest.param("atoll", False, marks=pytest.mark.full),
        pytest.param("rootless", True, marks=pytest.mark.full),
        pytest.param("single", False, marks=pytest.mark.full),
    ],
)
def test_both_ways(request: pytest.FixtureRequest, busybox: str, whose: str, runs: bool):
    anyone: Atoll = request.getfixturevalue(whose)
    anyone.good("pull", "-q", busybox)
    anyone.good("create", "--name", "web", "-v", "vol:/data", busybox, "sleep", "600")
    if runs:
        anyone.good("start", "web")
    place = f"{anyone.folder}/mine"
    made = "mkdir -p {0}/tree/sub; echo one > {0}/tree/one; ln -s one {0}/tree/link; chmod 640 {0}/tree/one"
    subprocess.run(["sh", "-c", made.format(place)], check=True)
    if anyone.user is not None:
        subprocess.run(["chown", "-R", f"{anyone.user.uid}:{anyone.user.gid}", place], check=True)
    assert anyone.good("cp", "tree", "web:/data/copy", cwd=place) == ""
    anyone.good("cp", "tree/one", "web:/etc/", cwd=place)
    anyone.good("cp", "web:/data/copy", "back", cwd=place)
    shown = subprocess.run(["find", "back", "-printf", "%P %y %m %l\\n"], cwd=place, capture_output=True, text=True)
    assert sorted(shown.stdout.splitlines()) == [" d 755 ", "link l 777 one", "one f 640 ", "sub d 755 "]
    anyone.good("cp", "web:/etc/one", ".", cwd=place)
    with open(f"{place}/one") as file:
        assert file.read() == "one\n"
    assert os.stat(f"{place}/one").st_uid == (anyone.user.uid if anyone.user else 0)
    anyone("cp", "web:/nosuch", ".", cwd=place).failed(1, "could not find the file /nosuch")
    if not runs:
        anyone.good("start", "web")
    assert anyone.good("exec", "web", "stat", "-c", "%u %a", "/etc/one", "/data/copy/one") == "0 640\n0 640"


def test_what_is_copied_and_how(atoll: Atoll, busybox: str, here: str):
    started(atoll, busybox, "sleep", "600")
    run = {"cwd": here}
    atoll.good("cp", "link", "web:/as-link", **run)
    atoll.good("cp", "-L", "link", "web:/as-file", **run)
    assert atoll.good("exec", "web", "sh", "-c", "readlink /as-link; cat /as-file") == "tree/one\ntree/one"
    atoll.good("cp", "tree/.", "web:/tmp", **run)
    assert atoll.good("exec", "web", "ls", "/tmp") == "one\nsub"
    atoll.good("exec", "web", "sh", "-c", "ln -s /tmp/sub /dir; ln -s /bin/busybox /prog; chown 7:8 /tmp/one")
    atoll.good("cp", "tree/one", "web:/dir/", **run)
    assert atoll.good("exec", "web", "ls", "/tmp/sub") == "one\ntwo"
    atoll.good("cp", "-a", "web:/tmp/one", "owned", **run)
    assert (os.stat(f"{here}/owned").st_uid, os.stat(f"{here}/owned").st_gid) == (7, 8)
    os.chown(f"{here}/owned", 1000, 1000)
    atoll.good("cp", "-a", "owned", "web:/owned", **run)
    assert atoll.good("exec", "web", "stat", "-c", "%u:%g", "/owned") == "1000:1000"
    assert atoll("cp", "web:/prog", "prog", **run).code == 0
    assert os.path.islink(f"{here}/prog")
    atoll.good("cp", "-L", "web:/prog", "whole", **run)
    assert os.path.getsize(f"{here}/whole") > 100_000
    atoll.good("cp", "tree/one", "web:/etc/hosts", **run)
    assert atoll.good("exec", "web", "cat", "/etc/hosts") == "tree/one", "a mounted file is written into"
    atoll("cp", "web:/x", "web:/y").failed(1, "between containers is not supported")
    atoll("cp", "a", "b", **run).failed(1, "at least one container")
    atoll("cp", "tree", "web:/as-file", **run).failed(1, "it is a file")
    atoll("cp", "tree/one", "web:/no/such/", **run).failed(1, "could not find|no such directory")


def test_archives(atoll: Atoll, busybox: str, here: str):
    started(atoll, busybox, "sleep", "600")
    packed = subprocess.run(
        ["tar", "cz", "--owner=5", "--group=6", "tree"], cwd=here, capture_output=True, check=True
    )
    child = atoll.popen("cp", "-", "web:/tmp", stdin=-1, text=False, errors=None)
    child.communicate(packed.stdout, timeout=20)
    assert child.returncode == 0
    assert atoll.good("exec", "web", "stat", "-c", "%u:%g", "/tmp/tree/one") == "5:6"
    child = atoll.popen("cp", "web:/tmp/tree", "-", text=False, errors=None)
    out, _ = child.communicate(timeout=20)
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert tar.getnames() == ["tree", "tree/one", "tree/sub", "tree/sub/two"]
        assert tar.getmember("tree/one").uid == 5
    assert atoll("cp", "-", "web:/nosuch", stdin="").code == 1
    assert atoll("cp", "-", "web:/tmp", stdin="no archive").failed(1, "not a tar archive")


def test_read_only_roots(atoll: Atoll, busybox: str, here: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("create", "--name", "web", "--read-only", "-v", "vol:/data", busybox, "sleep", "600")
    atoll("cp", "tree", "web:/tmp", cwd=here).failed(1, "read-only")
    atoll.good("start", "web")
    atoll("cp", "tree", "web:/tmp", cwd=here).failed(1, "read-only")
    atoll.good("cp", "tree", "web:/data", cwd=here)
    assert atoll.good("exec", "web", "cat", "/data/tree/one") == "tree/one"


def test_export(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    started(anyone, busybox, "sh", "-c", "echo new > /new; rm /bin/[; sleep 600", options=("-v", "vol:/data"))
    anyone.good("exec", "web", "sh", "-c", "echo in > /data/in; while [ ! -e /new ]; do sleep 0.05; done")
    path = f"{anyone.folder}/out.tar"
    os.chmod(anyone.folder, 0o777)
    anyone.good("export", "-o", path, "web")
    names = {}
    with tarfile.open(path) as tar:
        for entry in tar:
            names[entry.name] = entry
    assert names["new"].size == 4
    assert names["home/user"].uid in (1000, 0)
    assert "data" in names
    assert "data/in" not in names
    assert "bin/[" not in names
    assert not any(name.startswith(("proc/", "sys/", "dev/")) for name in names)
    anyone.good("stop", "-t", "0", "web")
    child = anyone.popen("export", "web", text=False, errors=None)
    out, _ = child.communicate(timeout=30)
    with tarfile.open(fileobj=io.BytesIO(out)) as tar:
        assert sorted(tar.getnames()) == sorted(names)
    assert not [name for name in os.listdir(anyone.folder) if name.endswith(".part")]


RACE = """
mkdir /a /outside; echo inside > /a/secret; ln -s / /root-link
while :; do mv /a /b; ln -s /etc /a; rm /a; mv /b /a; mv /a /b; ln -s ../../../../../../etc /a; rm /a; mv /b /a; done
"""


def test_a_racing_link_never_leads_out(atoll: Atoll, busybox: str, full: bool):
    """CVE-2018-15664: the container exchanges a directory for a link while files are copied through it."""
    place = f"{atoll.folder}/race"
    os.mkdir(place)
    with open(f"{place}/f", "w") as file:
        file.write("payload")
    started(atoll, busybox, "sh", "-c", RACE)
    before = sorted(os.listdir("/etc"))
    for _ in range(200 if full else 12):
        atoll("cp", "f", "web:/a/payload-of-the-race", cwd=place)
        got = atoll("cp", "web:/a/passwd", "passwd", cwd=place)
        if got.code == 0:
            with open(f"{place}/passwd") as file:
                assert "user:x:1000" in file.read(), "the host's own file came out"
    assert sorted(os.listdir("/etc")) == before
    assert not os.path.exists("/etc/payload-of-the-race")


def test_links_of_proc_lead_nowhere(atoll: Atoll, busybox: str):
    """Magic links are the one way out of a root that openat2 would follow: /proc/1/root of a shared pid namespace."""
    place = f"{atoll.folder}/magic"
    os.mkdir(place)
    started(atoll, busybox, "sh", "-c", "ln -s /proc/1/root/etc /way; ln -s /proc/self/fd /fds; sleep 600")
    for source in ("/way/passwd", "/proc/1/root/etc/passwd", "/fds/0", "/proc/1/exe/."):
        atoll("cp", "-L", f"web:{source}", "got", cwd=place).failed(1)
    assert os.listdir(place) == []


def test_the_copier_takes_nothing_of_the_container(atoll: Atoll, busybox: str):
    """CVE-2019-14271: libraries and modules that the container plants are not loaded."""
    place = f"{atoll.folder}/plant"
    os.mkdir(place)
    import atoll as package

    folders = [os.path.dirname(os.path.dirname(package.__file__ or "")), *[p for p in sys.path if p.startswith("/")]]
    plant = "; ".join(f'mkdir -p {folder}; echo \'open("/planted","w")\' > {folder}/grp.py' for folder in folders[:6])
    plant += "; mkdir -p /lib/x86_64-linux-gnu /usr/lib; echo 'passwd: evil' > /etc/nsswitch.conf"
    started(atoll, busybox, "sh", "-c", plant + "; touch /ready; sleep 600")
    atoll.good("exec", "web", "sh", "-c", "while [ ! -e /ready ]; do sleep 0.05; done")
    atoll.good("cp", "web:/etc", "etc", cwd=place)
    atoll.good("cp", "etc", "web:/tmp", cwd=place)
    atoll("exec", "web", "ls", "/planted").failed(1)
