"""The root of the `host` image, built by the runtime's own code in a throw-away namespace: canaries and writes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from integration import images_tool
from kit import system
from kit.sandbox import Sandbox, User

TOOL = os.path.abspath(images_tool.__file__)


@pytest.fixture(params=["root", "full", "single"])
def who(request: pytest.FixtureRequest, sandbox: Sandbox) -> User | None:
    return None if request.param == "root" else sandbox.users[f"atoll-{request.param}"]


@pytest.fixture
def srv(sandbox: Sandbox, who: User | None) -> Iterator[dict[str, bool]]:
    """A file system on /srv with canaries: path → whether a stranger may read it."""
    system.mount("tmpfs", "/srv", "tmpfs", 0, "mode=0755")
    owner = who.uid if who else 0
    plan = {
        "public": (0o644, 0, True),
        "rootonly": (0o600, 0, False),
        "mine": (0o600, owner, False),
        "group": (0o640, owner, False),
        "closed/inner": (0o644, owner, False),
        "dir/deep/secret": (0o600, owner, False),
        "dir/deep/open": (0o644, owner, True),
    }
    for name, (mode, uid, _) in plan.items():
        path = f"/srv/{name}"
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w") as stream:
            stream.write(f"canary {name}")
        os.chmod(path, mode)
        os.chown(path, uid, uid)
    os.chown("/srv/closed", owner, owner)
    os.chmod("/srv/closed", 0o700)
    yield {f"/srv/{name}": open_to_all for name, (_, _, open_to_all) in plan.items()}
    system.umount("/srv")


@pytest.fixture
def project(sandbox: Sandbox, who: User | None) -> Iterator[str]:
    """A working directory below a closed home, with a script and a secret."""
    home = who.home if who else os.path.join(sandbox.scratch, "root-home")
    path = f"{home}/project"
    os.makedirs(f"{path}/sub")
    os.chmod(home, 0o700)
    for name, mode in (("script.py", 0o644), (".env", 0o600), ("sub/data", 0o644)):
        with open(f"{path}/{name}", "w") as stream:
            stream.write(f"canary {name}")
        os.chmod(f"{path}/{name}", mode)
    if who:
        for folder, dirs, names in os.walk(path):
            for name in [*dirs, *names, ""]:
                os.chown(os.path.join(folder, name), who.uid, who.gid)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


def inside(who: User | None, cwd: str, script: str) -> str:
    """Output of a shell script in the container's root."""
    how = {"user": who.uid, "group": who.gid, "extra_groups": []} if who else {}
    done = subprocess.run(
        [sys.executable, TOOL, "host", cwd, script],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin", "HOME": who.home if who else "/root"},
        **how,
    )
    assert "Error" not in done.stderr, done.stderr
    return done.stdout + done.stderr


def test_strangers_eyes_only(who: User | None, srv: dict[str, bool], project: str):
    script = "; ".join(f"echo '{path}:'; cat {path}; echo" for path in srv) + "; id -u; cat /etc/shadow"
    out = inside(who, project, script)
    for path, readable in srv.items():
        assert (f"canary {path.removeprefix('/srv/')}" in out) == readable, (path, out)
    assert "\n0\n" in out
    assert "root:*" not in out
    assert "root:!" not in out


def test_no_trick_helps(who: User | None, srv: dict[str, bool], project: str):
    out = inside(
        who,
        project,
        "chmod -R a+r /srv 2>/dev/null; chown -R 0:0 /srv 2>/dev/null; mv /srv/rootonly /srv/x; cat /srv/x;"
        "ln /srv/mine /srv/y; cat /srv/y; cp -a /srv /tmp/copy 2>/dev/null; cat /tmp/copy/mine /tmp/copy/rootonly;"
        "chmod 755 /srv/closed; cat /srv/closed/inner; dd if=/srv/dir/deep/secret 2>/dev/null;"
        "rm -rf /.atoll; ls -A /.atoll",
    )
    for name in ("rootonly", "mine", "closed/inner", "dir/deep/secret"):
        assert f"canary {name}" not in out, out


def test_the_working_directory_and_its_secrets(who: User | None, srv: dict[str, bool], project: str):
    out = inside(
        who,
        project,
        "pwd; cat script.py; echo; cat sub/data; echo; cat .env; echo x > new; echo x > sub/new; ls . sub",
    )
    lines = out.split("\n")
    assert lines[0] == project
    assert "canary script.py" in lines
    assert "canary sub/data" in lines
    assert "canary .env" not in out
    assert lines.count("new") == 2
    assert not os.path.exists(f"{project}/new")
    assert not os.path.exists(f"{project}/sub/new")


def test_the_rest_of_a_home_is_hidden(who: User | None, project: str):
    home = os.path.dirname(project)
    with open(f"{home}/notes", "w") as stream:
        stream.write("canary notes")
    try:
        out = inside(who, project, f"ls -A {home}; cat {home}/notes; ls -A /root /home")
    finally:
        os.unlink(f"{home}/notes")
    assert "canary notes" not in out
    assert out.split("\n")[0] == "project"


def test_writes_vanish(who: User | None, project: str):
    before = {path: sorted(os.listdir(path)) for path in ("/usr/bin", "/etc", "/var", "/srv")}
    out = inside(who, project, "echo x > /etc/atoll-canary && cat /etc/atoll-canary; echo x > /srv/c; rm -rf /srv/*")
    assert out.startswith("x")
    assert {path: sorted(os.listdir(path)) for path in before} == before


def test_it_is_a_live_view(who: User | None, srv: dict[str, bool], project: str):
    with open("/srv/late", "w") as stream:
        stream.write("later")
    assert inside(who, project, "cat /srv/late") == "later"
