"""`atoll exec`: joining a running container."""

from __future__ import annotations

import subprocess

import pytest

from kit.command import Atoll


@pytest.fixture
def web(anyone: Atoll, busybox: str) -> Atoll:
    """Somebody's Atoll with a running container `web`."""
    anyone.good("run", "-d", "--name", "web", "-e", "FROM=run", busybox, "sleep", "600")
    return anyone


def test_output_code_and_environment(web: Atoll):
    result = web("exec", "web", "sh", "-c", "echo $FROM $EXTRA; echo err >&2; exit 9")
    assert result.code == 9
    assert result.out == "run\n"
    assert "err" in result.err
    assert web.good("exec", "-e", "EXTRA=exec", "web", "sh", "-c", "echo $FROM $EXTRA") == "run exec"


def test_it_joins_every_namespace(web: Atoll):
    script = "for n in mnt pid net ipc uts cgroup user; do readlink /proc/{}/ns/$n; done"
    one = web.good("exec", "web", "sh", "-c", script.format("1"))
    assert web.good("exec", "web", "sh", "-c", script.format("self")) == one
    assert "sleep" in web.good("exec", "web", "ps")


def test_directory_user_and_input(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    assert atoll.good("exec", "-w", "/etc", "web", "pwd") == "/etc"
    assert atoll.good("exec", "-u", "1000", "web", "id", "-u") == "1000"
    assert atoll("exec", "-i", "web", "cat", stdin="through").good() == "through"
    assert atoll("exec", "web", "cat", stdin="unseen").good() == ""
    child = atoll.popen("exec", "-i", "web", "wc", "-c", stdin=subprocess.PIPE)
    assert child.communicate("x" * 3000000, timeout=30)[0].strip() == "3000000"
    assert child.returncode == 0


def test_codes_of_commands_that_cannot_run(web: Atoll):
    web("exec", "web", "nosuch").failed(127, "nosuch")
    web("exec", "-u", "nosuch", "web", "true").failed(126, "unable to find user nosuch")
    web("exec", "web", "/etc/passwd").failed(126, "permission|exec")
    web("exec", "web", "/etc").failed(126, "permission|directory|exec")


def test_no_such_container_and_not_running(atoll: Atoll, busybox: str):
    atoll("exec", "nosuch", "true").failed(1, "no such container.*nosuch")
    atoll.good("run", "--name", "over", busybox, "true")
    atoll("exec", "over", "true").failed(1, "not running")


def test_detached(web: Atoll):
    assert web.good("exec", "-d", "web", "sh", "-c", "echo yes > /tmp/made") == ""
    import time

    for _ in range(100):
        if web("exec", "web", "cat", "/tmp/made").out == "yes\n":
            return
        time.sleep(0.05)
    raise AssertionError("the detached command did not run")


def test_it_gets_the_containers_limits_on_privilege(web: Atoll):
    script = "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/{}/status"
    one = web.good("exec", "web", "sh", "-c", script.format("1"))
    assert web.good("exec", "web", "sh", "-c", script.format("self")) == one


def test_it_is_in_the_containers_cgroup(web: Atoll):
    one = web.good("exec", "web", "cat", "/proc/1/cgroup")
    assert web.good("exec", "web", "cat", "/proc/self/cgroup") == one


def test_many_at_once(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    children = [atoll.popen("exec", "web", "sh", "-c", f"sleep 0.2; exit {n}") for n in range(10)]
    codes = []
    for child in children:
        child.communicate(timeout=30)
        codes.append(child.returncode)
    assert codes == list(range(10))


def test_killing_the_command_does_not_harm_the_container(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    child = atoll.popen("exec", "web", "sleep", "60")
    child.kill()
    child.communicate()
    assert atoll.state("web")["Running"] is True
    assert atoll.good("exec", "web", "echo", "fine") == "fine"


def test_the_end_of_the_container_ends_exec(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    child = atoll.popen("exec", "web", "sh", "-c", "echo ready; sleep 60")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    atoll.good("kill", "web")
    child.communicate(timeout=15)
    assert child.returncode == 137
