"""From `run -d` to `rm` and `rmi`: logs, ps, stop, kill, inspect, images, and commands that outlive their caller."""

from __future__ import annotations

import json
import os
import re
import signal
import time

import pytest

from kit import processes
from kit.command import Atoll

TRAP = "trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 0.1; done"


def started(atoll: Atoll, image: str, *words: str, name: str = "web", options: tuple[str, ...] = ()) -> str:
    """A detached container; its id."""
    identity = atoll.good("run", "-d", "--name", name, *options, image, *words)
    assert re.fullmatch("[0-9a-f]{64}", identity), identity
    return identity


def until_logged(atoll: Atoll, name: str, text: str) -> None:
    """Poll `logs` for text."""
    deadline = time.monotonic() + 10
    while text not in atoll.good("logs", name):
        assert time.monotonic() < deadline, f"{text!r} was never logged"
        time.sleep(0.05)


def test_the_name_of_another_one(anyone: Atoll, busybox: str):
    """Podman's --replace: what runs under the name goes, but for its volumes, once the new one is right."""
    first = anyone.good(
        "run", "-d", "--name", "web", "-v", "kept:/vol", busybox, "sh", "-c", "touch /vol/x; sleep 600"
    )
    anyone("run", "--replace", busybox, "true").failed(125, "without --name")
    anyone("create", "--replace", "--name", "web", "--cpus", "nonsense", busybox).failed(125, "cpus")
    assert anyone.inspect("web")["Id"] == first
    words = (
        "--replace",
        "--name",
        "web",
        "-v",
        "kept:/vol",
        "--umask",
        "0077",
        busybox,
        "sh",
        "-c",
        "ls /vol; umask",
    )
    assert anyone.good("run", "--rm", *words) == "x\n0077"
    assert anyone.all() == []
    second = anyone.good("create", *words)
    assert anyone.inspect("web")["Id"] == second
    anyone.good("rm", "web")


def test_detached_outlives_the_command(anyone: Atoll, busybox: str):
    identity = started(anyone, busybox, "sh", "-c", "echo hello; sleep 600")
    until_logged(anyone, "web", "hello")
    assert anyone.state("web")["Running"] is True
    assert anyone.good("ps", "-q") == identity[:12]
    assert anyone.good("stop", "-t", "0", "web") == "web"
    assert anyone.state("web")["ExitCode"] == 137
    assert anyone.good("rm", "web") == "web"
    assert anyone.all() == []


def test_logs_streams_and_follow(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "for i in 1 2 3 4 5; do echo out $i; echo err $i >&2; sleep 0.1; done")
    follow = atoll("logs", "-f", "web", timeout=20)
    assert follow.out == "".join(f"out {n}\n" for n in range(1, 6))
    assert follow.err == "".join(f"err {n}\n" for n in range(1, 6))
    again = atoll("logs", "web")
    assert (again.out, again.err) == (follow.out, follow.err)
    assert atoll.good("logs", "--tail", "1", "web") in ("out 5", "")


def test_logs_of_nobody(atoll: Atoll):
    atoll("logs", "nosuch").failed(1, "no such container.*nosuch")


def test_logs_follow_ends_on_interrupt(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "echo x; sleep 600")
    child = atoll.popen("logs", "-f", "web")
    assert child.stdout is not None
    assert child.stdout.readline() == "x\n"
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert atoll.state("web")["Running"] is True


def test_logs_are_bounded(atoll: Atoll, busybox: str):
    """Three files of ten MiB by default, whatever is written."""
    started(atoll, busybox, "sh", "-c", "yes 0123456789012345678901234567890123456789 | head -c 60000000")
    atoll.wait_for("web", "exited", 90)
    folder = os.path.join(atoll.data, "containers")
    logs = [os.path.join(f, n) for f, _, names in os.walk(folder) for n in names if ".log" in n]
    assert 0 < sum(os.path.getsize(path) for path in logs) <= 33 << 20


def test_a_line_without_an_end(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "head -c 300000 /dev/zero | tr '\\0' x")
    atoll.wait_for("web", "exited", 30)
    assert atoll.good("logs", "web") == "x" * 300000


def test_stop_asks_first(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", TRAP)
    until_logged(atoll, "web", "ready")
    atoll.good("stop", "web")
    assert atoll.state("web")["ExitCode"] == 7
    assert atoll.good("stop", "web") == "web", "stopping twice is fine"


def test_stop_kills_in_the_end(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "trap '' TERM; echo ready; while :; do sleep 0.1; done")
    until_logged(atoll, "web", "ready")
    began = time.monotonic()
    atoll.good("stop", "-t", "1", "web")
    assert 0.8 < time.monotonic() - began < 6
    assert atoll.state("web")["ExitCode"] == 137


def test_kill_with_a_signal(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "trap 'echo usr1' USR1; echo ready; while :; do sleep 0.1; done")
    until_logged(atoll, "web", "ready")
    for word in ("USR1", "SIGUSR1", "10"):
        atoll.good("kill", "-s", word, "web")
    until_logged(atoll, "web", "usr1")
    assert atoll.state("web")["Running"] is True
    atoll("kill", "-s", "NOSUCH", "web").failed(1, "signal")
    atoll.good("kill", "web")
    atoll.wait_for("web", "exited")
    atoll("kill", "web").failed(1, "not running")


def test_rm_refuses_a_running_container(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600")
    atoll("rm", "web").failed(1, "running", "-f|force|stop")
    assert atoll.good("rm", "-f", "web") == "web"
    atoll("rm", "web").failed(1, "no such container.*web")


def test_every_way_to_name_a_container(atoll: Atoll, busybox: str):
    identity = started(atoll, busybox, "sleep", "600")
    for name in ("web", identity, identity[:12], identity[:5]):
        assert atoll.inspect(name)["Id"] == identity


def test_ps(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600")
    assert atoll("run", "--name", "done", busybox, "sh", "-c", "exit 3").code == 3
    running, everything = atoll.good("ps").split("\n"), atoll.good("ps", "-a").split("\n")
    for column in ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES"):
        assert column in running[0]
    assert len(running) == 2
    assert re.search(r'"sleep 600".*Up .*second.*web', running[1])
    assert len(everything) == 3
    assert any(re.search(r"Exited \(3\) .*ago.*done", line) for line in everything)


def test_inspect_has_dockers_shape(atoll: Atoll, busybox: str):
    identity = started(atoll, busybox, "sleep", "600", options=("-e", "A=1", "-m", "64m", "-w", "/tmp"))
    seen = atoll.inspect("web")
    assert seen["Id"] == identity
    assert seen["Name"] == "/web"
    assert seen["Path"] == "sleep"
    assert seen["Args"] == ["600"]
    assert re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", str(seen["Created"]))
    assert str(seen["Image"]).startswith("sha256:")
    state, config, host = seen["State"], seen["Config"], seen["HostConfig"]
    assert isinstance(state, dict)
    assert isinstance(config, dict)
    assert isinstance(host, dict)
    assert state["Status"] == "running"
    assert state["Running"] is True
    assert state["Paused"] is False
    assert state["OOMKilled"] is False
    assert state["ExitCode"] == 0
    assert os.path.exists(f"/proc/{state['Pid']}")
    assert config["Image"] == busybox
    assert config["Cmd"] == ["sleep", "600"]
    assert "A=1" in config["Env"]
    assert config["WorkingDir"] == "/tmp"
    assert config["Tty"] is False
    assert host["Memory"] == 64 << 20
    assert host["NetworkMode"] == "none"
    atoll("inspect", "nosuch").failed(1, "no such", "nosuch")


def test_images_and_rmi(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    head, line = atoll.good("images").split("\n")
    for column in ("REPOSITORY", "TAG", "IMAGE ID", "CREATED", "SIZE"):
        assert column in head
    assert re.match(rf"{busybox.rsplit(':', 1)[0]}\s+latest\s+[0-9a-f]{{12}}\s+.*[kM]B", line)
    image = json.loads(atoll.good("inspect", busybox))[0]
    assert busybox in image["RepoTags"]
    assert image["Architecture"] == "amd64"
    assert image["RootFS"]["Type"] == "layers"
    started(atoll, busybox, "sleep", "600")
    atoll("rmi", busybox).failed(1, "in use|being used|using")
    atoll.good("rm", "-f", "web")
    out = atoll.good("rmi", busybox)
    assert "Untagged:" in out
    assert "Deleted:" in out
    assert atoll.good("images", "-q") == ""
    atoll("rmi", busybox).failed(1, "no such image")
    assert blobs(atoll) == [], "the layers' bytes are given back"


def blobs(atoll: Atoll) -> list[str]:
    """Files of the content store."""
    return [n for _, _, names in os.walk(os.path.join(atoll.data, "content", "blobs")) for n in names]


def test_rm_and_exit_automatically(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--rm", "--name", "web", busybox, "sleep", "0.3")
    deadline = time.monotonic() + 10
    while atoll.all():
        assert time.monotonic() < deadline, "--rm did not remove a detached container"
        time.sleep(0.1)


def test_version_and_info(anyone: Atoll):
    assert "Version" in anyone.good("version")
    info = anyone.good("info")
    for word in ("containers", "images", "cgroup", "kernel"):
        assert word in info.lower()


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_are_forwarded(atoll: Atoll, busybox: str, signum: int):
    script = "trap 'echo term; exit 5' TERM; trap 'echo int; exit 5' INT; trap 'echo hup; exit 5' HUP; echo ready;"
    child = atoll.popen("run", "--rm", busybox, "sh", "-c", script + "while :; do sleep 0.1; done")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.send_signal(signum)
    out, _ = child.communicate(timeout=15)
    assert out == {signal.SIGTERM: "term\n", signal.SIGINT: "int\n", signal.SIGHUP: "hup\n"}[signal.Signals(signum)]
    assert child.returncode == 5
    assert atoll.all() == []


def test_killing_the_command_leaves_a_removable_container(atoll: Atoll, busybox: str):
    child = atoll.popen("run", "--name", "web", busybox, "sh", "-c", "echo ready; sleep 600")
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    child.kill()
    child.communicate()
    assert atoll.state("web")["Running"] is True
    atoll.good("rm", "-f", "web")


def test_a_killed_monitor_is_noticed(atoll: Atoll, busybox: str):
    """Whatever is killed, the next command finds the truth and finishes or undoes the rest."""
    started(atoll, busybox, "sleep", "600")
    found = processes.monitors(atoll.run_root)
    assert len(found) == 1
    processes.end(found[0].pid, signal.SIGKILL)
    atoll.good("ps", "-a")
    atoll.good("rm", "-f", "web")
    assert atoll.all() == []


def test_the_spawner_may_die_under_running_containers(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", TRAP)
    until_logged(atoll, "web", "ready")
    atoll.end_spawner(signal.SIGKILL)
    assert atoll.good("exec", "web", "echo", "alive") == "alive"
    atoll.good("stop", "web")
    assert atoll.state("web")["ExitCode"] == 7


def test_a_lost_run_root_reads_as_a_reboot(atoll: Atoll, busybox: str):
    """/run is empty after a reboot; every container then reads as exited and can be removed."""
    import shutil

    atoll.good("run", "--name", "web", busybox, "true")
    atoll.end_spawner()
    shutil.rmtree(atoll.run_root)
    assert atoll.state("web")["Status"] == "exited"
    atoll.good("rm", "web")


def test_orphans_are_reaped_and_ended_with_pid_one(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "sleep 600 & sleep 600 & sleep 0.5")
    atoll.wait_for("web", "exited")
    atoll.good("rm", "web")
