"""The `host` image: this machine, throw-away. Canaries prove what is out of sight."""

from __future__ import annotations

import os

import pytest

from kit.command import Atoll
from kit.sandbox import FIRST_UID, Sandbox


@pytest.fixture
def project(anyone: Atoll) -> str:
    """A working directory with a script in it, owned by whoever runs."""
    path = os.path.join(anyone.folder, "project")
    os.mkdir(path)
    with open(os.path.join(path, "script.py"), "w") as stream:
        stream.write("import os, sys\nprint('pid', os.getpid(), 'in', os.getcwd())\nopen('made', 'w').write('x')\n")
    if anyone.user:
        os.chown(path, anyone.user.uid, anyone.user.gid)
        os.chown(os.path.join(path, "script.py"), anyone.user.uid, anyone.user.gid)
    return path


def test_a_script_runs_and_its_writes_vanish(anyone: Atoll, project: str):
    before = sorted(os.listdir("/usr/bin"))
    out = anyone.good("run", "--rm", "host", "python3", "script.py", cwd=project)
    pid, place = out.split()[1], out.split()[3]
    assert pid == "1"
    assert place == project
    assert os.listdir(project) == ["script.py"]
    assert sorted(os.listdir("/usr/bin")) == before
    assert anyone.all() == []


def test_no_registry_is_asked(anyone: Atoll, project: str):
    assert anyone.good("run", "--rm", "host", "echo", "fine", cwd=project) == "fine"
    assert anyone.good("images", "-q").split() in ([], ["host"])


def test_it_is_the_machines_own_file_system(anyone: Atoll, project: str):
    out = anyone.good("run", "--rm", "host", "cat", "/etc/os-release", cwd=project)
    with open("/etc/os-release") as stream:
        assert out.strip() == stream.read().strip()


def test_writes_anywhere_vanish(atoll: Atoll):
    path = os.path.join(atoll.folder, "project")
    os.mkdir(path)
    script = (
        "echo x > /usr/bin/atoll-canary && echo x > /etc/atoll-canary && rm /etc/hostname; ls /usr/bin/atoll-canary"
    )
    assert atoll.good("run", "--rm", "host", "sh", "-c", script, cwd=path) == "/usr/bin/atoll-canary"
    assert not os.path.exists("/usr/bin/atoll-canary")
    assert not os.path.exists("/etc/atoll-canary")


def test_a_volume_makes_a_path_real(anyone: Atoll, project: str):
    anyone.good("run", "--rm", "-v", f"{project}:{project}", "host", "python3", "script.py", cwd=project)
    assert sorted(os.listdir(project)) == ["made", "script.py"]


def test_own_proc_sys_dev_run_tmp(anyone: Atoll, project: str):
    script = "ls /proc | grep -c '^[0-9]'; ls -A /tmp /run | wc -l; cat /proc/net/route | wc -l; ls /dev | wc -l"
    with open("/tmp/atoll-canary-tmp", "w"):
        pass
    try:
        out = anyone.good("run", "--rm", "host", "sh", "-c", f"{script}; ls /tmp", cwd=project).split("\n")
    finally:
        os.unlink("/tmp/atoll-canary-tmp")
    assert int(out[0]) <= 4
    assert "atoll-canary-tmp" not in out
    assert int(out[3]) < 25


@pytest.fixture
def canaries(sandbox: Sandbox) -> dict[str, str]:
    """Secrets in the places where secrets lie; each file's text is its own path. Made in the corner only."""
    from kit import system

    made = {}
    covered = []
    for folder in ("/root", "/home", "/srv", "/etc/ssh", "/var/backups"):
        if os.path.isdir(folder):
            system.mount("tmpfs", folder, "tmpfs", 0, "mode=0755")
            covered.append(folder)
    plan = {
        "/root/.ssh/id_ed25519": (0o600, 0),
        "/root/.aws/credentials": (0o600, 0),
        "/root/readable": (0o644, 0),
        "/home/someone/.ssh/id_rsa": (0o644, FIRST_UID + 1),
        "/home/someone/notes": (0o644, FIRST_UID + 1),
        "/srv/private": (0o600, 0),
        "/srv/mine": (0o600, FIRST_UID + 1),
        "/srv/group": (0o640, FIRST_UID + 1),
        "/srv/closed/inner": (0o644, 0),
        "/etc/ssh/ssh_host_ed25519_key": (0o600, 0),
        "/var/backups/shadow.bak": (0o600, 0),
        "/srv/public": (0o644, 0),
    }
    for path, (mode, owner) in plan.items():
        folder = os.path.dirname(path)
        if not any(path.startswith(f) for f in covered):
            continue
        os.makedirs(folder, exist_ok=True)
        with open(path, "w") as stream:
            stream.write(f"canary {path}")
        os.chmod(path, mode)
        os.chown(path, owner, owner)
        made[path] = f"canary {path}"
    os.chmod("/srv/closed", 0o700)
    yield made
    for folder in reversed(covered):
        system.umount(folder)


def test_secrets_are_unreadable(anyone: Atoll, project: str, canaries: dict[str, str]):
    """What "other" may not read on the host is unreadable inside, even for root; and a list on top."""
    readable = {"/srv/public"}
    for path, text in canaries.items():
        result = anyone("run", "--rm", "host", "cat", path, cwd=project)
        if path in readable:
            assert result.out == text, str(result)
        else:
            assert "canary" not in result.out, f"{path} is readable: {result}"
            assert result.code != 0


def test_secrets_stay_so_for_every_trick(anyone: Atoll, project: str, canaries: dict[str, str]):
    """Changing mode or owner, linking, renaming, copying up: root inside has power over nothing of the host."""
    script = (
        "chmod 666 /srv/private; chown 0:0 /srv/private; cat /srv/private; cp /srv/private /tmp/a; cat /tmp/a;"
        "ln /srv/private /srv/b; cat /srv/b; mv /srv/private /srv/c; cat /srv/c; chmod 777 /srv/closed;"
        "cat /srv/closed/inner; dd if=/srv/mine bs=1 count=200 2>/dev/null;"
        "tar cf - /srv /root /home 2>/dev/null | grep -a canary"
    )
    result = anyone("run", "--rm", "host", "sh", "-c", script, cwd=project)
    assert "canary /srv/private" not in result.out, result
    assert "canary /srv/closed/inner" not in result.out, result
    assert "canary /srv/mine" not in result.out, result
    assert "canary /root" not in result.out, result
    assert "canary /home" not in result.out, result


def test_shadow_is_unreadable(anyone: Atoll, project: str):
    result = anyone("run", "--rm", "host", "sh", "-c", "cat /etc/shadow /etc/gshadow; id -u", cwd=project)
    assert "root:" not in result.out
    assert result.out.strip().endswith("0")


def test_atolls_own_store_is_hidden(anyone: Atoll, project: str, busybox: str):
    anyone.good("pull", "-q", busybox)
    out = anyone(
        "run", "--rm", "host", "sh", "-c", f"ls -A {anyone.data} {anyone.run_root} 2>/dev/null; true", cwd=project
    )
    for name in ("atoll.db", "content", "containers", "snapshots"):
        assert name not in out.out, out


def test_a_home_is_never_the_working_directory(anyone: Atoll):
    """The current directory appears at its own path, but a home directory itself does not."""
    home = anyone.env["HOME"]
    if anyone.user:
        marker = os.path.join(home, "canary-home")
        with open(marker, "w") as stream:
            stream.write("canary home")
        os.chmod(marker, 0o644)
        result = anyone("run", "--rm", "host", "cat", marker, cwd=home)
        os.unlink(marker)
        assert "canary" not in result.out
    else:
        result = anyone("run", "--rm", "host", "ls", "-A", "/root", cwd="/root")
        assert result.out.strip() == "", result


def test_processes_and_network_are_out_of_sight_unless_asked_for(anyone: Atoll, project: str):
    inside = anyone.good("run", "--rm", "host", "readlink", "/proc/self/ns/net", cwd=project)
    assert inside != os.readlink("/proc/self/ns/net")
    asked = anyone.good("run", "--rm", "--network", "host", "host", "readlink", "/proc/self/ns/net", cwd=project)
    assert asked == os.readlink("/proc/self/ns/net")


def test_directories_of_unmapped_owners_refuse_writes(single: Atoll):
    """Documented: only what the user's own namespace maps can be copied up."""
    path = os.path.join(single.folder, "project")
    os.mkdir(path)
    assert single.user is not None
    os.chown(path, single.user.uid, single.user.gid)
    result = single("run", "--rm", "host", "sh", "-c", "echo x > /etc/atoll-canary", cwd=path)
    assert not os.path.exists("/etc/atoll-canary")
    assert result.code != 0 or result.out == ""


def test_exec_into_it(anyone: Atoll, project: str):
    anyone.good("run", "-d", "--name", "here", "host", "sleep", "600", cwd=project)
    assert anyone.good("exec", "here", "pwd") == project
    anyone.good("rm", "-f", "here")
