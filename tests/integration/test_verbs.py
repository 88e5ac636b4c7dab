"""start, restart, pause, attach, rename, wait and stop, with Docker's words and codes."""

from __future__ import annotations

import random
import signal
import threading
import time

import pytest

from integration.test_lifecycle import TRAP, started, until_logged
from kit.command import Atoll
from kit.terminal import Terminal


def test_create_start_and_start_again(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    identity = anyone.good("create", "--name", "web", busybox, "sh", "-c", "echo hi; echo no >&2; exit 3")
    assert anyone.state("web")["Status"] == "created"
    shown = anyone("start", "-a", "web")
    assert (shown.code, shown.out) == (3, "hi\n")
    assert "no\n" in shown.err
    assert anyone.good("start", "web") == "web"
    assert anyone.good("wait", identity[:12]) == "3"
    assert anyone.good("logs", "web") == "hi\nhi"
    assert anyone.good("rm", "web") == "web"


def test_start_with_input(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("create", "-i", "--name", "web", busybox, "cat")
    assert atoll("start", "-ai", "web", stdin="some\nlines\n").good() == "some\nlines"
    assert atoll("start", "-i", "web", stdin="again").good() == "again"
    atoll("start", "-a", "web", "web").failed(1, "multiple containers at once")
    atoll("start", "nosuch").failed(1, "no such container.*nosuch")


def test_a_program_that_is_not_there_is_told_at_the_start(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("create", "--name", "web", busybox, "/no/such")
    atoll("start", "web").failed(1, "no/such")
    atoll("start", "-a", "web").failed(127, "no/such")
    assert atoll.state("web")["Status"] == "created"
    assert atoll.state("web")["ExitCode"] == 127


def test_start_of_one_that_goes_with_its_end(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    for options in ((), ("-a",)):
        atoll.good("create", "--rm", "--name", "web", busybox, "echo", "gone")
        shown = atoll.good("start", *options, "web")
        assert shown == ("gone" if options else "web")
        deadline = time.monotonic() + 10
        while atoll.all():
            assert time.monotonic() < deadline
            time.sleep(0.05)


def test_restart_is_another_process(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    started(atoll, busybox, "sh", "-c", TRAP)
    until_logged(atoll, "web", "ready")
    before = atoll.state("web")["Pid"]
    assert atoll.good("restart", "web") == "web"
    assert atoll.state("web")["Pid"] != before
    until_logged(atoll, "web", "ready\ngot\nready")
    atoll.good("restart", "-t", "0", "-s", "USR1", "web")
    atoll.good("stop", "-t", "0", "web")
    atoll.good("restart", "web")
    assert atoll.state("web")["Running"] is True, "one that does not run is started"
    atoll.good("rm", "-f", "web")


def gone(atoll: Atoll) -> None:
    """No container is left."""
    deadline = time.monotonic() + 20
    while atoll.all():
        assert time.monotonic() < deadline, atoll.good("ps", "-a")
        time.sleep(0.05)


def test_restart_of_one_that_goes_with_its_end(anyone: Atoll, busybox: str):
    """Docker keeps it, with what it has written and its anonymous volumes; it goes with a later end."""
    script = "echo life >> /lives; echo life >> /vol/lives; wc -l < /lives; wc -l < /vol/lives; exec sleep 600"
    anyone.good("pull", "-q", busybox)
    started(anyone, busybox, "sh", "-c", script, options=("--rm", "-v", "/vol"))
    until_logged(anyone, "web", "1\n1")
    before = anyone.state("web")["Pid"]
    assert anyone.good("restart", "-t", "0", "web") == "web"
    until_logged(anyone, "web", "1\n1\n2\n2")
    assert anyone.state("web")["Pid"] != before
    anyone.good("restart", "-t", "0", "web")
    until_logged(anyone, "web", "1\n1\n2\n2\n3\n3")
    anyone.good("stop", "-t", "0", "web")
    gone(anyone)
    assert anyone.good("volume", "ls", "-q") == ""
    assert anyone.good("system", "check") == "nothing to repair"


def test_restart_under_the_command_that_runs_it(atoll: Atoll, busybox: str):
    """The command ends with the life that it attended, and does not take the next one along."""
    atoll.good("pull", "-q", busybox)
    child = atoll.popen("run", "--rm", "--name", "web", busybox, "sh", "-c", TRAP)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"
    atoll.good("restart", "web")
    child.communicate(timeout=30)
    assert child.returncode == 7
    until_logged(atoll, "web", "ready\ngot\nready")
    atoll.good("kill", "web")
    gone(atoll)


def test_a_killed_restart_leaves_it_running_or_gone(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    atoll.good("pull", "-q", busybox)
    for _ in range(30 if full else 4):
        started(atoll, busybox, "sleep", "600", options=("--rm",))
        child = atoll.popen("restart", "-t", "0", "web")
        time.sleep(rng.uniform(0, 0.2))
        child.kill()
        child.communicate(timeout=30)
        atoll("rm", "-f", "web")
        gone(atoll)
    assert atoll.good("system", "check") == "nothing to repair"


def test_pause_and_what_it_forbids(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600")
    assert atoll.good("pause", "web") == "web"
    assert atoll.state("web")["Paused"] is True
    assert "(Paused)" in atoll.good("ps")
    atoll("pause", "web").failed(1, "already paused")
    atoll("exec", "web", "true").failed(1, "is paused, unpause")
    atoll("attach", "web").failed(1, "paused container, unpause it first")
    atoll("start", "web").failed(1, "cannot start a paused container, try unpause instead")
    atoll("rm", "web").failed(1, "unpause and then stop")
    assert atoll.good("unpause", "web") == "web"
    atoll("unpause", "web").failed(1, "is not paused")
    assert atoll.good("exec", "web", "echo", "on") == "on"


@pytest.mark.parametrize(("words", "code"), [(("stop",), 7), (("kill",), 137), (("kill", "-s", "TERM"), 7)])
def test_a_paused_container_hears_what_ends_it(atoll: Atoll, busybox: str, words: tuple[str, ...], code: int):
    started(atoll, busybox, "sh", "-c", TRAP)
    until_logged(atoll, "web", "ready")
    atoll.good("pause", "web")
    atoll.good(*words, "web")
    assert atoll.wait_for("web", "exited")["ExitCode"] == code


def test_stop_names_init_and_takes_as_long_as_the_slowest(atoll: Atoll, busybox: str):
    names = ["one", "two", "three"]
    for name in names:
        started(atoll, busybox, "sleep", "600", name=name)
    done = atoll("stop", "-t", "2", *names)
    assert done.out.split() == names
    assert done.err.count("--init") == 3
    wanted = ("--filter", "event=kill", "--format", "{{.Actor.Attributes.signal}}")
    signals = atoll.good("events", "--since", "10m", "--until", "0s", *wanted).split()
    assert signals == ["15"] * 3 + ["9"] * 3, "each was asked before the first was killed"
    assert atoll("stop", "one", "nosuch", "two").failed(1, "no such container.*nosuch")
    assert "--init" not in atoll("stop", "one").err


def test_attach_sees_what_comes_and_sends_what_is_typed(atoll: Atoll, busybox: str):
    script = "while :; do echo beat; sleep 0.1; done & while read line; do echo got $line; done; echo end; exit 4"
    atoll.good("pull", "-q", busybox)
    atoll.good("create", "-i", "--name", "web", busybox, "sh", "-c", script)
    atoll.good("start", "web")
    looker, writer = atoll.popen("attach", "--no-stdin", "web"), atoll.popen("attach", "web", stdin=-1)
    for one in (looker, writer):
        assert one.stdout is not None
        assert one.stdout.readline() == "beat\n"
    out, _ = writer.communicate("a\nb\n", timeout=15)
    assert [line for line in out.split("\n") if line != "beat"] == ["got a", "got b", "end", ""]
    assert writer.returncode == 4
    out, _ = looker.communicate(timeout=15)
    assert [line for line in out.split("\n") if line != "beat"] == ["got a", "got b", "end", ""]
    assert looker.returncode == 4
    atoll("attach", "web").failed(1, "stopped container, start it first")


def test_input_of_a_detached_container_outlives_an_attached_command(atoll: Atoll, busybox: str):
    """As Docker's `run -di`: StdinOnce is off."""
    started(atoll, busybox, "cat", options=("-i",))
    for word in ("one", "two"):
        child = atoll.popen("attach", "--sig-proxy=false", "web", stdin=-1)
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(f"{word}\n")
        child.stdin.close()
        assert child.stdout.readline() == f"{word}\n"
        child.kill()
        child.stdin = None
        child.communicate()
    assert atoll.state("web")["Running"] is True


def test_attach_leaves_by_the_keys_and_comes_back(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    started(atoll, busybox, "sh", options=("-it",))
    for key, option in (("\x10\x11", ()), ("x", ("--detach-keys", "x"))):
        with Terminal(atoll, "attach", *option, "web") as term:
            term.line("echo $((40+2))")
            term.expect("42")
            term.type(key)
            assert term.wait() == 0
            assert term.restored()
    assert atoll.state("web")["Running"] is True
    with Terminal(atoll, "attach", "web") as term:
        term.line("exit 9")
        assert term.wait() == 9


def test_attach_passes_signals_on_unless_told_otherwise(atoll: Atoll, busybox: str):
    ticking = "trap 'echo got; exit 7' TERM; while :; do echo tick; sleep 0.1; done"
    started(atoll, busybox, "sh", "-c", ticking)
    deaf = atoll.popen("attach", "--sig-proxy=false", "web")
    assert deaf.stdout.readline() == "tick\n"  # it is attached
    deaf.send_signal(signal.SIGTERM)
    deaf.communicate(timeout=30)
    assert deaf.returncode == -signal.SIGTERM
    assert atoll.state("web")["Running"] is True
    child = atoll.popen("attach", "web")
    assert child.stdout.readline() == "tick\n"
    child.send_signal(signal.SIGTERM)
    out, _ = child.communicate(timeout=30)
    assert (out.replace("tick\n", ""), child.returncode) == ("got\n", 7)


def test_rename(atoll: Atoll, busybox: str):
    identity = started(atoll, busybox, "sleep", "600")
    assert atoll.good("rename", "web", "other") == ""
    assert atoll.inspect("other")["Id"] == identity
    atoll("inspect", "web").failed(1, "no such")
    started(atoll, busybox, "true")
    atoll("rename", "web", "other").failed(1, "already in use")
    atoll("rename", "web", "web").failed(1, "same name")
    atoll("rename", "web", "--", "-no").failed(1, "invalid container name")
    atoll.good("rename", identity[:10], "third")


def test_wait_for_states(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("create", "--name", "web", busybox, "sh", "-c", "while [ ! -e /go ]; do sleep 0.05; done; exit 5")
    codes: dict[str, str] = {}

    def waits(condition: str) -> None:
        codes[condition] = atoll.good("wait", "--condition", condition, "web")

    waiting = [threading.Thread(target=waits, args=(one,)) for one in ("next-exit", "running", "removed")]
    for one in waiting:
        one.start()
    atoll.good("start", "web")
    waiting[1].join(60)
    time.sleep(1)  # begun together, they wait by now
    atoll.good("exec", "web", "touch", "/go")
    waiting[0].join(60)
    assert codes == {"next-exit": "5", "running": "-1"}
    assert atoll.good("wait", "web", "web") == "5\n5"
    atoll.good("rm", "web")
    waiting[2].join(60)
    assert codes["removed"] == "5"
    atoll("wait", "--condition", "weird", "web").failed(1, "invalid condition")


def test_exec_makes_no_directory(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600", options=("-w", "/made"))
    assert atoll.good("exec", "web", "pwd") == "/made"
    atoll("exec", "-w", "/nosuch", "web", "pwd").failed(126, "/nosuch.*no such file")
    atoll("exec", "web", "ls", "/nosuch").failed(1)


def test_exec_takes_variables_from_a_file(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600")
    path = f"{atoll.folder}/vars"
    with open(path, "w") as file:
        file.write("\ufeffA=1 2\n# no\n\n  B='q'\nHOME\nABSENT\n")
    shown = atoll.good(
        "exec", "--env-file", path, "-e", "A=3", "web", "sh", "-c", 'echo "$A|$B|$HOME|${ABSENT-none}"'
    )
    assert shown == "3|'q'|/root|none"
    with open(path, "w") as file:
        file.write("bad key=1\n")
    atoll("exec", "--env-file", path, "web", "true").failed(1, "line 1", "whitespace")
    atoll("exec", "--env-file", "/no/such", "web", "true").failed(1, "no such file")
