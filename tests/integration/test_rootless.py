"""An ordinary user: identity maps, files, limits in a delegated cgroup, what is refused and how it is said."""

from __future__ import annotations

import os

from kit.command import Atoll
from kit.sandbox import FIRST_SUBID, Sandbox


def test_single_map(single: Atoll, busybox: str, sandbox: Sandbox):
    uid = sandbox.users["atoll-single"].uid
    out = single.good("run", "--rm", busybox, "sh", "-c", "cat /proc/self/uid_map; cat /proc/self/setgroups")
    assert out.split("\n")[0].split() == ["0", str(uid), "1"]
    assert out.split("\n")[-1] == "deny"


def test_full_map(rootless: Atoll, busybox: str, sandbox: Sandbox):
    uid = sandbox.users["atoll-full"].uid
    lines = rootless.good("run", "--rm", busybox, "cat", "/proc/self/uid_map").split("\n")
    assert lines[0].split() == ["0", str(uid), "1"]
    assert lines[1].split() == ["1", str(FIRST_SUBID), "65536"]


def test_owners_with_a_full_map(rootless: Atoll, debian: str):
    """Files keep the owners that the image gives them, and new ones can be given away."""
    script = "stat -c '%u:%g %n' /etc/shadow /var/mail; touch /x; chown 33:33 /x; stat -c %u:%g /x"
    out = rootless.good("run", "--rm", debian, "bash", "-c", script).split("\n")
    assert out[0] == "0:42 /etc/shadow"
    assert out[1] == "0:8 /var/mail"
    assert out[2] == "33:33"


def test_owners_with_a_single_map_are_kept_in_an_attribute(single: Atoll, debian: str):
    """Nobody else's ids exist here, so all is the user's own; what was wanted is written beside the file."""
    out = single.good("run", "--rm", debian, "stat", "-c", "%u:%g", "/etc/shadow", "/var/mail")
    assert out.split("\n") == ["0:0", "0:0"]
    found = {}
    for folder, folders, names in os.walk(os.path.join(single.data, "snapshots")):
        for name in [*folders, *names]:
            path = os.path.join(folder, name)
            if path.endswith(("/etc/shadow", "/var/mail")):
                attributes = os.listxattr(path, follow_symlinks=False)
                found[name] = [a for a in attributes if a.startswith("user.") and "overlay" not in a]
    assert found.get("shadow"), "no attribute keeps the wanted owner of /etc/shadow"


def test_another_user_inside(rootless: Atoll, single: Atoll, busybox: str):
    assert rootless.good("run", "--rm", "-u", "1000:1000", busybox, "id", "-u") == "1000"
    single("run", "--rm", "-u", "1000:1000", busybox, "id", "-u").failed(125, "map|subuid|newuidmap|1000")


def test_root_inside_is_nobody_special_outside(rootless: Atoll, busybox: str):
    source = os.path.join(rootless.folder, "shared")
    os.mkdir(source, 0o777)
    os.chmod(source, 0o777)
    rootless.good("run", "--rm", "-v", f"{source}:/in", busybox, "touch", "/in/x")
    assert rootless.user is not None
    assert os.stat(os.path.join(source, "x")).st_uid == rootless.user.uid
    secret = os.path.join(rootless.folder, "shared", "secret")
    with open(secret, "w") as stream:
        stream.write("root's own")
    os.chmod(secret, 0o600)
    result = rootless("run", "--rm", "-v", f"{source}:/in", busybox, "cat", "/in/secret")
    assert result.code == 1
    assert "root's own" not in result.out


def test_the_process_runs_as_the_user(rootless: Atoll, busybox: str):
    rootless.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    pid = rootless.state("web")["Pid"]
    assert rootless.user is not None
    assert os.stat(f"/proc/{pid}").st_uid in (rootless.user.uid, 0)
    with open(f"/proc/{pid}/status") as stream:
        uids = next(line for line in stream if line.startswith("Uid:")).split()[1:]
    assert set(uids) == {str(rootless.user.uid)}


def test_limits_lie_in_the_delegated_subtree(rootless: Atoll, busybox: str):
    identity = rootless.good("run", "-d", "-m", "64m", "--pids-limit", "50", busybox, "sleep", "600")
    pid = rootless.state(identity)["Pid"]
    with open(f"/proc/{pid}/cgroup") as stream:
        places = {line.split(":")[1]: line.strip().split(":", 2)[2] for line in stream}
    for controller in ("memory", "pids"):
        place = next((p for name, p in places.items() if controller in name.split(",")), places.get(""))
        assert place is not None
        assert place.startswith("/user-"), places


def test_the_whole_life_of_a_container(anyone: Atoll, debian: str):
    """The issue's own sentence: pulled, run, limited, exec'd into and removed."""
    anyone.good("pull", debian)
    anyone.good(
        "run", "-d", "--name", "web", "-m", "128m", "--cpus", "1", "--pids-limit", "64", debian, "sleep", "600"
    )
    assert anyone.good("exec", "web", "cat", "/etc/debian_version").startswith("12")
    assert "web" in anyone.good("ps")
    anyone.good("stop", "-t", "0", "web")
    anyone.good("rm", "web")
    anyone.good("rmi", debian)
    assert anyone.good("images", "-q") == ""


def test_two_users_do_not_see_each_other(rootless: Atoll, atoll: Atoll, busybox: str):
    rootless.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    assert rootless.inspect("web")["Id"] != atoll.inspect("web")["Id"]
    assert len(rootless.all()) == len(atoll.all()) == 1


def test_roots_of_somebody_else_are_refused(rootless: Atoll, busybox: str):
    """A run root that somebody else owns could feed us his sockets and records."""
    os.mkdir(rootless.run_root, 0o777)
    os.chmod(rootless.run_root, 0o777)
    rootless("run", "--rm", busybox, "true").failed(125, "owned|owner|belongs|permission|denied")
    os.rmdir(rootless.run_root)
