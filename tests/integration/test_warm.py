"""Commands that run in a fork of the spawner: as if each were a process of its own (docs/startup.md).

A command is made cold by another niceness, which the door declines: all else stays the same.
"""

from __future__ import annotations

import os
import re
import resource
import signal
import subprocess
import time
from typing import Any

import pytest

from atoll.base import launch
from atoll.cli import quick
from kit import processes
from kit.command import Atoll, Result
from kit.waiting import until

pytestmark = pytest.mark.timeout(180)
SLEEP = ("run", "--rm", "--name", "sleeper", "host", "sleep", "600")


@pytest.fixture
def warm(atoll: Atoll) -> Atoll:
    """An Atoll whose spawner has opened its door."""
    open_door(atoll)
    return atoll


def open_door(atoll: Atoll) -> None:
    atoll.good("run", "--rm", "host", "true")
    until(lambda: os.path.exists(f"{atoll.run_root}/door.sock"))


def ran_warm(atoll: Atoll, *words: str, **how: Any) -> bool:
    """Whether a command ran elsewhere: its own process then never imports what runs commands."""
    command = launch.argv(*words)
    command[1:2] = ["-SI", "-X", "importtime"]
    settings = {"env": atoll.env, "cwd": "/", "stdin": subprocess.DEVNULL, **how}
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **settings)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines() if "import time:" in line}
    assert "atoll.cli.quick" in imported, result
    assert ("os" in imported) == ("atoll.cli.main" in imported)
    return "atoll.cli.main" not in imported


def workers(atoll: Atoll) -> list[int]:
    """Forks of the spawner that run a command."""
    spawners = {process.pid for process in processes.spawners(atoll.run_root)}
    return [p.pid for p in processes.everyone() if p.parent in spawners and p.title.startswith("atoll:[command")]


def running(atoll: Atoll, *words: str, **how: Any) -> tuple[subprocess.Popen[str], int]:
    """A command that runs warm, and the pid of the fork that it runs in, once its container runs."""
    child = atoll.popen(*words, **how)
    until(lambda: atoll("inspect", "-f", "{{.State.Running}}", "sleeper").out == "true\n")
    (worker,) = workers(atoll)
    return child, worker


def gone(atoll: Atoll) -> None:
    """No worker and no container is left."""
    until(lambda: not workers(atoll) and not atoll.all())
    assert atoll("system", "check").code == 0


COMMANDS = (
    ("run", "--rm", "host", "sh", "-c", "echo out; echo err >&2; exit 7"),
    ("run", "--rm", "host", "sh", "-c", "pwd; umask; ulimit -n; ulimit -Hn"),
    ("run", "--rm", "-e", "GIVEN", "host", "sh", "-c", "echo $GIVEN"),
    ("run", "--rm", "host", "echo", "caf\udce9", ""),
    ("run", "--rm", "host", "no-such-program"),
    ("run", "--no-such-flag"),
    ("ps", "-a", "--format", "{{.Names}} {{.Status}}"),
    ("ps", "--help"),
    ("inspect", "nobody"),
    ("exec", "nobody", "true"),
    ("container", "ls", "-q"),
    ("rm", "-f", "nobody"),
    ("volume", "ls"),
)


def test_warm_and_cold_say_the_same(warm: Atoll) -> None:
    folder = os.path.join(warm.folder, "here")
    os.mkdir(folder)

    def circumstances() -> None:
        os.umask(0o027)
        resource.setrlimit(resource.RLIMIT_NOFILE, (123, 456))

    def cold() -> None:
        circumstances()
        os.nice(1)

    def told(result: Result) -> tuple[int, str, str]:
        return result.code, re.sub(r"[0-9a-f]{12,}", "ID", result.out), re.sub(r"[0-9a-f]{12,}", "ID", result.err)

    how: dict[str, Any] = {"cwd": folder, "env": {"GIVEN": "caf\udce9", "TZ": "Asia/Tokyo"}}
    for words in COMMANDS:
        here, there = warm(*words, before=cold, **how), warm(*words, before=circumstances, **how)
        assert told(there) == told(here), words
    assert ran_warm(warm, "ps")
    assert ran_warm(warm, "run", "--rm", "host", "true")


def test_circumstances_that_are_taken_over(warm: Atoll) -> None:
    many = "x" * 100_000
    assert warm.good("run", "--rm", "-e", "A", "host", "sh", "-c", "echo ${#A}", env={"A": many}) == "100000"
    assert warm.good("run", "-i", "--rm", "host", "cat", stdin="through\n") == "through"
    folder = os.path.join(warm.folder, "removed")
    os.mkdir(folder)

    def lose() -> None:
        os.chdir(folder)
        os.rmdir(folder)

    assert warm("ps", "-q", cwd=".", before=lose).code == 0
    path = os.path.join(warm.folder, "output")
    with open(path, "w") as stream:
        stream.write("before\n")
        stream.flush()
        assert warm("ps", "-q", "--no-such", stdout=stream, stderr=stream).code == 125
    with open(path) as stream:
        assert stream.read().startswith("before\natoll: ")
    assert ran_warm(warm, "ps", env={**warm.env, "HOME": "/elsewhere"})


def test_nothing_is_held_once_the_code_is_known(warm: Atoll, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither files nor mappings nor a directory, so that a file system can be taken down at once. The worker has
    ended by then or has not: it may not matter."""
    environ = {os.fsencode(name): os.fsencode(value) for name, value in warm.env.items()}
    monkeypatch.chdir(warm.folder)
    for words in (["ps", "-aq"], ["volume", "create", "kept"], ["volume", "rm", "kept"], ["inspect", "nobody"]):
        found = quick._ask(words, launch.directory(), environ)
        assert found is not None, words
        peer, pidfd, alive = found
        with open(f"/proc/self/fdinfo/{pidfd}") as stream:
            worker = int(stream.read().partition("Pid:")[2].split()[0])
        assert peer.recv(1) == (b"\1" if words[0] == "inspect" else b"\0")
        assert held(worker, warm.folder) == []
        for fd in (pidfd, alive):
            os.close(fd)
        peer.close()


def held(pid: int, folder: str) -> list[str]:
    """What of a folder a process has open or mapped shared, or is in."""
    found = []
    try:
        found.append(os.readlink(f"/proc/{pid}/cwd"))
        found += [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/maps") as stream:
            found += [line.split()[-1] for line in stream if line.split()[1][3] == "s"]
    except OSError:  # it has ended
        return []
    return [path for path in found if path.startswith(folder)]


LOOK = """readlink /proc/self/ns/ipc
for f in /dev/* /dev/pts/*; do stat -c '%n %F %a %u %g %t %T' $f; readlink $f; done
cat /sys/class/net/lo/flags /proc/sys/kernel/hostname; ls /proc/acpi /sys/firmware /dev/shm /dev/mqueue
cut -d ' ' -f 4- /proc/self/mountinfo"""


def test_a_container_of_an_init_that_was_ready_is_like_any_other(
    warm: Atoll, busybox: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was mounted before it was asked for (`runtime/usual.py`) is what is mounted otherwise."""

    def look() -> tuple[str, str]:
        result = warm("run", "--rm", busybox, "sh", "-c", LOOK)
        space, _, rest = result.out.partition("\n")
        return space, re.sub(r"[0-9a-f]{12,64}|writable/.*?,", "ID", rest)

    def prepared() -> str | None:
        """What one says whose IPC namespace was there before."""
        there = set()
        for one in processes.everyone():
            if one.title.startswith("atoll:[spare"):
                try:
                    there.add(os.readlink(f"/proc/{one.pid}/ns/ipc"))
                except OSError:
                    continue
        space, rest = look()
        return rest if space in there else None

    of_spare = until(prepared, 120)
    monkeypatch.setitem(warm.env, "ATOLL_SPAWNER", "off")
    assert of_spare == look()[1]


def test_a_closed_input(warm: Atoll) -> None:
    assert warm("ps", "-q", before=lambda: os.close(0)).code == 0
    assert not ran_warm(warm, "ps", preexec_fn=lambda: os.close(0))


def test_a_reader_that_goes(warm: Atoll) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as stream:
        assert warm("ps", "-a", stdout=stream).code == 141


def test_who_is_declined(warm: Atoll) -> None:
    """And where the reason lies with what is asked, and not with who asks."""
    assert ran_warm(warm, "ps")
    assert not ran_warm(warm, "ps", preexec_fn=lambda: os.nice(1))
    assert not ran_warm(warm, "ps", preexec_fn=lambda: os.setgroups([12]))
    assert not ran_warm(warm, "ps", preexec_fn=lambda: os.setgid(12))
    for cold in ({"ATOLL_TIMING": "1"}, {"ATOLL_SPAWNER": "off"}, {"LC_ALL": "de_DE.ISO-8859-1"}):
        assert not ran_warm(warm, "ps", env={**warm.env, **cold}), cold
    assert not ran_warm(warm, "ps", env={**warm.env, "ATOLL_DATA_ROOT": f"{warm.folder}/other"})
    assert not ran_warm(warm, "-D", "ps")
    signal_set = {signal.SIGUSR1}
    assert not ran_warm(warm, "ps", preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal_set))


def test_roots_that_are_not_normalised(warm: Atoll) -> None:
    """They are found, or the command runs where it is: never in another store."""
    warm.good("run", "-d", "--name", "here", "host", "sleep", "600")
    name = os.path.basename(warm.folder)
    for env, cwd in (
        ({"ATOLL_RUN_ROOT": "run", "ATOLL_DATA_ROOT": "data"}, warm.folder),
        ({"ATOLL_RUN_ROOT": f"../{name}/run", "ATOLL_DATA_ROOT": f"{warm.folder}//data/."}, warm.folder),
        ({"ATOLL_RUN_ROOT": warm.run_root + "/"}, "/"),
    ):
        assert warm.good("ps", "--format", "{{.Names}}", env=env, cwd=cwd) == "here"
        assert ran_warm(warm, "ps", env={**warm.env, **env}, cwd=cwd)
    other = {"ATOLL_DATA_ROOT": warm.data.removeprefix("/")}  # relative to another directory
    assert warm.good("ps", "-q", env=other, cwd=warm.folder) == ""


def test_a_spawner_that_is_gone_or_stands_still(warm: Atoll) -> None:
    (spawner,) = processes.spawners(warm.run_root)
    os.kill(spawner.pid, signal.SIGSTOP)
    try:
        # To a file: what was sent to it and not taken holds a pipe open for as long as it stands still.
        with open(f"{warm.folder}/output", "w") as stream:
            assert warm("ps", "-q", stdout=stream, stderr=stream).code == 0
    finally:
        os.kill(spawner.pid, signal.SIGCONT)
    warm.end_spawner(signal.SIGKILL)
    assert os.path.exists(f"{warm.run_root}/door.sock")
    assert not ran_warm(warm, "ps")
    open_door(warm)
    until(lambda: ran_warm(warm, "ps"))


def test_the_door_goes_with_the_spawner(atoll: Atoll) -> None:
    atoll.env["ATOLL_SPAWNER_IDLE"] = "1"
    open_door(atoll)
    until(lambda: not os.path.exists(f"{atoll.run_root}/door.sock"))
    until(lambda: not processes.spawners(atoll.run_root))
    assert atoll("ps", "-q").code == 0


def test_kill_of_the_command(warm: Atoll) -> None:
    """The kernel ends the worker with it; the monitor ends and removes the container, as of any command killed."""
    child, worker = running(warm, *SLEEP)
    child.kill()
    child.communicate(timeout=30)
    until(lambda: (found := processes.read(worker)) is None or found.state == "Z")
    warm("rm", "-f", "sleeper")
    gone(warm)


def test_kill_of_the_command_at_any_moment(warm: Atoll, rng: Any, full: bool) -> None:
    for _ in range(60 if full else 6):
        child = warm.popen("run", "--rm", "--name", "victim", "host", "true")
        time.sleep(rng.uniform(0, 0.15))
        child.kill()
        child.communicate(timeout=30)
        until(lambda: not workers(warm))
        warm("rm", "-f", "victim")
        warm.good("run", "--rm", "host", "true")  # a directory without its row is mended by the next creation
        gone(warm)


def test_kill_of_the_worker(warm: Atoll) -> None:
    child, worker = running(warm, *SLEEP)
    os.kill(worker, signal.SIGKILL)
    _, err = child.communicate(timeout=30)
    assert (child.returncode, err) == (137, "atoll: the process that ran this command was killed\n")
    warm("rm", "-f", "sleeper")
    gone(warm)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_signals_reach_the_container(warm: Atoll, number: int) -> None:
    script = "trap 'kill $!; exit 42' TERM INT HUP; sleep 600 & echo ready; wait"
    heard = {"before": lambda: signal.signal(number, signal.SIG_DFL)}  # also below nohup(1)
    child, _ = running(warm, *SLEEP[:-2], "sh", "-c", script, **heard)
    assert child.stdout is not None
    assert child.stdout.readline() == "ready\n"  # before, a first process does not hear them
    child.send_signal(number)
    child.communicate(timeout=30)
    assert child.returncode == 42
    gone(warm)


def test_a_signal_that_ends_the_command(warm: Atoll) -> None:
    warm.good("run", "-d", "--name", "sleeper", "host", "sleep", "600")
    for number, code in ((signal.SIGTERM, -signal.SIGTERM), (signal.SIGINT, 130)):
        child = warm.popen("wait", "sleeper")
        until(lambda: workers(warm))
        time.sleep(0.3)  # it has got as far as to wait
        child.send_signal(number)
        child.communicate(timeout=30)
        assert child.returncode == code
    warm.good("rm", "-f", "sleeper")
    gone(warm)


def test_what_is_ignored_stays_ignored(warm: Atoll) -> None:
    """`nohup atoll logs -f` and the like."""
    warm.good("run", "-d", "--name", "sleeper", "host", "sleep", "600")
    child = warm.popen("wait", "sleeper", before=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN))
    until(lambda: workers(warm))
    child.send_signal(signal.SIGHUP)
    time.sleep(0.2)
    warm.good("kill", "sleeper")
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, out) == (0, "137\n")
    warm.good("rm", "sleeper")


def test_a_stop_holds_the_worker_too(warm: Atoll) -> None:
    """Ctrl-Z and `fg`, in a shell's job."""
    warm.good("run", "-d", "--name", "sleeper", "host", "sleep", "600")
    # The kernel stops a group for the terminal's signal only while its session has another one, as a shell's jobs do.
    child = subprocess.Popen(
        launch.argv("wait", "sleeper"),
        env=warm.env,
        stdout=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
        preexec_fn=os.setpgrp,
    )
    (worker,) = until(lambda: workers(warm))
    time.sleep(0.2)
    child.send_signal(signal.SIGTSTP)
    until(lambda: all((found := processes.read(pid)) and found.state == "T" for pid in (child.pid, worker)))
    warm.good("kill", "sleeper")
    child.send_signal(signal.SIGCONT)
    out, _ = child.communicate(timeout=30)
    assert (child.returncode, out) == (0, "137\n")
    warm.good("rm", "sleeper")
