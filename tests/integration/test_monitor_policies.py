"""What monitors do by themselves: start a container again, look at its health, note events."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator

import pytest

from atoll.engine.containers.init_program import PLACES
from kit import processes, system
from kit.command import Atoll
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(300)


def actions(atoll: Atoll, *words: str) -> list[str]:
    """The events so far."""
    out = atoll.good("events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}", *words)
    return out.splitlines()


def restarts(atoll: Atoll, name: str) -> int:
    return int(atoll.good("inspect", name, "--format", "{{.RestartCount}}"))


def test_on_failure_ends_after_its_number_and_a_success(anyone: Atoll, busybox: str):
    anyone.good("run", "-d", "--name", "fails", "--restart", "on-failure:2", busybox, "sh", "-c", "exit 3")
    until(lambda: restarts(anyone, "fails") == 2 and anyone.state("fails")["Status"] == "exited")
    assert anyone.state("fails")["ExitCode"] == 3
    time.sleep(0.6)
    assert actions(anyone, "-f", "container=fails").count("die") == 3
    anyone.good("run", "-d", "--name", "succeeds", "--restart", "on-failure", busybox, "true")
    assert anyone.good("wait", "succeeds") == "0"
    assert restarts(anyone, "succeeds") == 0
    anyone.good("start", "fails")  # counted anew
    until(lambda: actions(anyone, "-f", "container=fails").count("die") >= 6)


def test_stop_is_remembered_and_ends_the_wait(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "again", "--restart", "unless-stopped", busybox, "sh", "-c", "exit 1")
    until(lambda: atoll.state("again")["Status"] == "restarting" and restarts(atoll, "again") >= 4)
    assert "Restarting (1)" in atoll.good("ps", "-a")
    atoll.good("stop", "-t", "0", "again")
    until(lambda: atoll.state("again")["Status"] == "exited")
    until(lambda: not processes.monitors(atoll.run_root), 5)
    dead = actions(atoll).count("die")
    time.sleep(1.0)
    assert actions(atoll).count("die") == dead
    assert atoll.good("internal", "boot") == ""
    atoll.good("rm", "again")


def test_a_restarting_container_is_removed_and_killed_ones_come_back(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--name", "up", "--restart", "always", busybox, "sleep", "600")
    pid = atoll.state("up")["Pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: atoll.state("up")["Running"] and atoll.state("up")["Pid"] != pid)
    assert restarts(atoll, "up") == 1
    atoll.good("kill", "up")
    until(lambda: atoll.state("up")["Status"] == "exited")
    time.sleep(0.3)
    assert atoll.state("up")["Status"] == "exited"
    atoll.good("rm", "-f", "up")
    atoll.good("run", "-d", "--name", "loop", "--restart", "always", busybox, "false")
    until(lambda: restarts(atoll, "loop") >= 2)
    atoll.good("rm", "-f", "loop")
    assert atoll("system", "check").code == 0


def test_reboot_with_a_stale_run_root(atoll: Atoll, busybox: str):
    """The records of another boot: what ran has ended, and policies say what is started again."""
    for name, policy in (
        ("always", "always"),
        ("unless", "unless-stopped"),
        ("no", "no"),
        ("stopped", "unless-stopped"),
    ):
        atoll.good("run", "-d", "--name", name, "--restart", policy, busybox, "sleep", "600")
    atoll.good("stop", "-t", "0", "stopped")
    pids = [atoll.state(name)["Pid"] for name in ("always", "unless", "no")]
    for process in [*processes.spawners(atoll.run_root), *processes.monitors(atoll.run_root)]:
        processes.end(process.pid, signal.SIGKILL)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    for folder, _, names in os.walk(os.path.join(atoll.run_root, "containers")):
        for name in names:
            path = os.path.join(folder, name)
            if name in ("state.json", "monitor.json"):
                with open(path) as stream:
                    record = json.load(stream)
                with open(path, "w") as stream:
                    json.dump({**record, "boot_id": "another"}, stream)
    assert [atoll.state(name)["Status"] for name in ("always", "unless", "no", "stopped")] == ["exited"] * 4
    assert sorted(atoll.good("internal", "boot").split()) == ["always", "unless"]
    found = {name: atoll.state(name)["Status"] for name in ("always", "unless", "no", "stopped")}
    assert found == {"always": "running", "unless": "running", "no": "exited", "stopped": "exited"}


def test_the_host_goes_down(atoll: Atoll, busybox: str):
    """Where only the unit is stopped all run on; where systemd goes down each is stopped, and none as if by hand."""
    folder = os.path.join(atoll.folder, "bin")
    os.mkdir(folder)
    hears = ("sh", "-c", "trap 'echo bye > /said; exit 0' TERM; echo up; while :; do sleep 0.1; done")
    atoll.good("run", "-d", "--name", "unless", "--restart", "unless-stopped", busybox, *hears)
    atoll.good("run", "-d", "--name", "no", "--stop-signal", "KILL", busybox, "sleep", "600")
    atoll.good("run", "-d", "--name", "stopped", "--restart", "unless-stopped", busybox, "sleep", "600")
    atoll.good("stop", "-t", "0", "stopped")
    until(lambda: atoll.good("logs", "unless") == "up")
    path = {"PATH": f"{folder}:{atoll.env['PATH']}"}
    for word, status in (("running", "running"), ("stopping", "exited")):
        with open(f"{folder}/systemctl", "w") as stream:
            stream.write(f"#!/bin/sh\necho {word}\n")
        os.chmod(stream.name, 0o755)
        atoll.good("internal", "halt", env=path)
        assert [atoll.state(name)["Status"] for name in ("unless", "no")] == [status] * 2
    assert atoll.state("unless")["ExitCode"] == 0
    assert atoll.good("diff", "unless") == "A /said"
    assert atoll.good("internal", "boot") == "unless"


def test_the_boot_unit(atoll: Atoll):
    unit = atoll.good("system", "boot-unit")
    assert f'Environment="ATOLL_DATA_ROOT={atoll.data}"' in unit
    assert '"internal" "boot"' in unit
    assert "KillMode=none" in unit
    folder = os.path.join(atoll.folder, "units")
    atoll.env["ATOLL_UNIT_DIR"] = folder
    assert atoll.good("system", "boot-unit", "--install") == f"{folder}/atoll-boot.service"
    with open(f"{folder}/atoll-boot.service") as stream:
        assert stream.read() == unit + "\n"


def test_a_half_removed_container_is_not_started_by_its_policy(anyone: Atoll, busybox: str):
    """Its remover was killed after the plan had gone: whoever waited to start it again says and starts nothing."""
    made = anyone.good("create", "--name", "half", "--restart", "always", busybox, "sleep", "600").strip()
    os.unlink(f"{anyone.data}/containers/{made}/plan.json")
    ended = anyone("internal", "restart", made)
    assert (ended.code, ended.out, ended.err) == (0, "", "")
    assert anyone.all() == []


def test_rm_and_restart_exclude_each_other(atoll: Atoll, busybox: str):
    atoll("run", "--rm", "--restart", "always", busybox, "true").failed(125, "conflict")


def test_health(anyone: Atoll, busybox: str):
    flags = ("--health-cmd", "cat /state && test ! -e /sick", "--health-interval", "100ms", "--health-retries", "2")
    anyone.good("run", "-d", "--name", "web", *flags, busybox, "sh", "-c", "echo fine > /state; sleep 600")
    health = until(lambda: [h for h in [anyone.state("web")["Health"]] if h["Status"] == "healthy"])[0]
    assert health["Log"][-1]["Output"] == "fine\n"
    assert health["Log"][-1]["ExitCode"] == 0
    assert "(healthy)" in anyone.good("ps")
    anyone.good("exec", "web", "touch", "/sick")
    until(lambda: anyone.state("web")["Health"]["Status"] == "unhealthy")
    assert anyone.state("web")["Health"]["FailingStreak"] >= 2
    assert len(anyone.state("web")["Health"]["Log"]) <= 5
    said = [a for a in actions(anyone, "-f", "container=web") if a.startswith("health_status")]
    assert said == ["health_status: healthy", "health_status: unhealthy"]  # and nothing for each look
    anyone.good("stop", "-t", "0", "web")
    assert anyone.state("web")["Health"]["Status"] == "unhealthy"
    anyone.good("rm", "web")


SICK = ("--health-cmd", "test ! -e /sick", "--health-interval", "100ms", "--health-retries", "2")


def test_what_becomes_of_an_unhealthy_container(anyone: Atoll, busybox: str):
    """Podman's --health-on-failure."""
    for action, code in (("kill", 137), ("stop", 7), ("none", None)):
        script = "trap 'exit 7' TERM; while :; do sleep 0.1; done"
        words = (*SICK, "--health-on-failure", action, "--name", action, busybox, "sh", "-c", script)
        anyone.good("run", "-d", *words)
        until(lambda: anyone.state(action)["Health"]["Status"] == "healthy")  # noqa: B023 - called at once
        anyone.good("exec", action, "touch", "/sick")
        if code is None:
            until(lambda: anyone.state(action)["Health"]["FailingStreak"] > 4)  # noqa: B023 - called at once
            assert anyone.state(action)["Running"] is True
        else:
            until(lambda: anyone.state(action)["Status"] == "exited")  # noqa: B023 - called at once
            assert anyone.state(action)["ExitCode"] == code
    anyone.good("rm", "-f", "none")
    anyone("run", "--health-on-failure", "panic", busybox).failed(125, "invalid on-failure action")
    anyone("run", "--health-on-failure", "kill", busybox).failed(125, "without a health check")


@pytest.mark.parametrize("options", [(), ("--rm",), ("--restart", "always")], ids=["plain", "rm", "policy"])
def test_an_unhealthy_container_is_restarted(atoll: Atoll, busybox: str, options: tuple[str, ...]):
    script = "rm -f /sick; echo life; exec sleep 600"
    words = (*SICK, "--health-on-failure", "restart", "--stop-timeout", "0", *options, "--name", "web")
    atoll.good("run", "-d", *words, busybox, "sh", "-c", script)
    for lives in (2, 3):
        until(lambda: atoll.state("web")["Health"]["Status"] == "healthy")
        pid = atoll.state("web")["Pid"]
        atoll.good("exec", "web", "touch", "/sick")
        until(lambda: atoll.good("logs", "web").split() == ["life"] * lives)  # noqa: B023 - called at once
        assert atoll.state("web")["Pid"] != pid
    until(lambda: restarts(atoll, "web") == (2 if "always" in options else 0))
    atoll.good("rm", "-f", "web")
    until(lambda: atoll.all() == [])


def test_health_while_a_command_is_attached_and_in_the_start_period(atoll: Atoll, busybox: str):
    flags = ("--health-cmd", "exit 4", "--health-interval", "100ms", "--health-retries", "1")
    child = atoll.popen(
        "run",
        "--name",
        "web",
        *flags,
        "--health-start-period",
        "4s",
        "--health-start-interval",
        "50ms",
        busybox,
        "sleep",
        "60",
    )
    until(lambda: atoll("inspect", "web").code == 0 and atoll.state("web").get("Running"))
    until(lambda: len(atoll.state("web")["Health"]["Log"]) >= 2)
    assert atoll.state("web")["Health"]["Status"] == "starting"
    until(lambda: atoll.state("web")["Health"]["Status"] == "unhealthy")
    atoll.good("kill", "web")
    child.communicate(timeout=30)


def test_a_check_that_hangs_is_ended(atoll: Atoll, busybox: str):
    flags = ("--health-cmd", "sleep 100", "--health-interval", "50ms", "--health-timeout", "200ms")
    atoll.good("run", "-d", "--name", "web", *flags, busybox, "sleep", "600")
    log = until(lambda: atoll.state("web")["Health"]["Log"])
    assert log[0]["ExitCode"] == -1
    assert log[0]["Output"] == "Health check exceeded timeout (200ms)"


def test_events_of_a_life(atoll: Atoll, busybox: str):
    atoll.good("run", "--name", "web", "--label", "k=v", busybox, "true")
    atoll.good("start", "web")
    atoll.good("wait", "web")
    atoll.good("rm", "web")
    atoll.good("run", "-d", "--name", "exec", busybox, "sleep", "600")
    atoll("exec", "exec", "sh", "-c", "exit 4")
    atoll.good("rm", "-f", "exec")
    assert actions(atoll, "-f", "container=web", "-f", "type=container") == [
        "create",
        "attach",
        "start",
        "die",
        "start",
        "die",
        "destroy",
    ]
    assert actions(atoll, "-f", "container=exec", "-f", "type=container") == [
        "create",
        "start",
        "exec_create: sh -c exit 4",
        "exec_start: sh -c exit 4",
        "exec_die",
        "die",
        "destroy",
    ]
    line = json.loads(
        atoll.good("events", "--since", "10m", "--until", "0s", "--format", "json", "-f", "event=exec_die")
    )
    assert line["Actor"]["Attributes"]["exitCode"] == "4"
    labelled = actions(atoll, "-f", "label=k=v")
    assert labelled.count("die") == 2


def test_init_passes_signals_on_reaps_and_gives_the_exit_code(anyone: Atoll, busybox: str):
    assert anyone("run", "--rm", "--init", busybox, "sh", "-c", "exit 9").code == 9
    script = "(sleep 0.1 &) ; trap 'exit 6' TERM; while :; do sleep 0.05; done"
    anyone.good("run", "-d", "--init", "--name", "web", busybox, "sh", "-c", script)
    time.sleep(0.6)
    found = [line.split() for line in anyone.good("exec", "web", "ps", "-o", "stat,ppid").splitlines()]
    assert not [one for one in found if one[0].startswith("Z") and one[1] == "1"]
    anyone.good("stop", "-t", "5", "web")
    assert anyone.state("web")["ExitCode"] == 6
    anyone.good("rm", "web")


@pytest.fixture
def no_init_installed(sandbox: Sandbox) -> Iterator[None]:
    """In this corner neither catatonit nor tini can be read."""
    hidden = [path for path in dict.fromkeys(map(os.path.realpath, PLACES)) if os.path.exists(path)]
    for path in hidden:
        system.mount("/dev/null", path, "", system.MS_BIND)
    yield
    for path in hidden:
        system.umount(path)


@pytest.mark.parametrize("user", ["atoll", "single"])
def test_our_own_init(no_init_installed: None, request: pytest.FixtureRequest, user: str, busybox: str):
    one: Atoll = request.getfixturevalue(user)
    script = "(sleep 0.1 &) ; trap 'exit 6' TERM; while :; do sleep 0.05; done"
    one.good("run", "-d", "--init", "--name", "web", busybox, "sh", "-c", script)
    time.sleep(0.3)
    found = [line.split() for line in one.good("exec", "web", "ps", "-o", "stat,ppid").splitlines()]
    assert not [words for words in found if words[0].startswith("Z") and words[1] == "1"]
    assert one.good("exec", "web", "cat", "/proc/1/comm") == "init"
    assert int(one.good("exec", "web", "grep", "VmRSS", "/proc/1/status").split()[1]) < 64
    one.good("stop", "-t", "5", "web")
    assert one.state("web")["ExitCode"] == 6
    one.good("rm", "web")
    assert one("run", "--rm", "--init", busybox, "no-such-program").code == 127


def test_usage_is_kept_over_restarts_and_after_a_crash(atoll: Atoll, busybox: str):
    busy = "i=0; while [ $i -lt 60000 ]; do i=$((i+1)); done; exit 1"
    atoll.good("run", "-d", "--name", "busy", "--label", "team=red", busybox, "sh", "-c", busy)
    atoll.good("wait", "busy")
    first = used(atoll, "busy")
    assert first["cpu_ns"] > 10_000_000
    atoll.good("start", "busy")
    atoll.good("wait", "busy")
    assert used(atoll, "busy")["cpu_ns"] > 1.5 * first["cpu_ns"]
    atoll.good("run", "-d", "--name", "idle", "--label", "team=red", busybox, "sleep", "600")
    os.kill(atoll.state("idle")["Pid"], signal.SIGKILL)
    atoll.good("wait", "idle")
    assert used(atoll, "idle")["cpu_ns"] > 0
    lines = atoll.good("usage", "--by-label", "team", "--format", "json").splitlines()
    red = json.loads(lines[0])
    assert red["Name"] == "red"
    assert red["Raw"]["cpu_ns"] == used(atoll, "busy")["cpu_ns"] + used(atoll, "idle")["cpu_ns"]
    assert "CPU SECONDS" in atoll.good("usage")


def used(atoll: Atoll, name: str) -> dict[str, int]:
    found: dict[str, int] = json.loads(atoll.good("usage", "--format", "json", name))["Raw"]
    return found
