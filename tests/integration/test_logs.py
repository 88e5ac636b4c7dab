"""Log drivers end to end: what `run` writes, `logs` shows, in every shape that can be read."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from kit import leaks, processes, system
from kit.command import Atoll
from kit.sandbox import Sandbox

JOURNALD = "/usr/lib/systemd/systemd-journald"
CONFIG = "[Journal]\nStorage=volatile\nReadKMsg=no\nAudit=no\nRateLimitBurst=0\n"
BUSY = "i=0; while [ $i -lt 400 ]; do echo line $i; i=$((i+1)); done; echo end >&2"


@pytest.fixture(scope="module")
def journald(sandbox: Sandbox) -> Iterator[None]:
    """systemd's journal, in this corner's own /run/systemd and /run/log."""
    places = ("/run/systemd", "/run/log")
    for place in places:
        os.makedirs(place, exist_ok=True)
        system.mount("tmpfs", place, "tmpfs", 0, "mode=0755")
    os.makedirs("/run/log/journal")
    os.makedirs("/run/systemd/journal")
    os.makedirs("/run/systemd/journald.conf.d")
    with open("/run/systemd/journald.conf.d/test.conf", "w") as stream:
        stream.write(CONFIG)
    daemon = subprocess.Popen([JOURNALD], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    leaks.SERVICES.add(daemon.pid)
    deadline = time.monotonic() + 10
    while not os.path.exists("/run/systemd/journal/socket"):
        assert time.monotonic() < deadline, daemon.poll()
        time.sleep(0.02)
    yield
    daemon.terminate()
    daemon.wait(10)
    leaks.SERVICES.discard(daemon.pid)
    for place in places:
        system.umount(place)


def shown(atoll: Atoll, *words: str) -> tuple[list[str], list[str]]:
    """What `logs` prints on its two streams."""
    result = atoll("logs", *words)
    assert result.code == 0, result
    return result.out.splitlines(), result.err.splitlines()


def settled(atoll: Atoll, name: str) -> None:
    """journald takes entries in on its own time."""
    deadline = time.monotonic() + 10
    while "end" not in atoll("logs", name).err:
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("driver", ["json-file", "k8s-file", "journald"])
def test_every_driver_that_can_be_read(atoll: Atoll, busybox: str, journald: None, driver: str):
    bounds = () if driver == "journald" else ("--log-opt", "max-size=4k", "--log-opt", "max-file=20")
    packed = ("--log-opt", "compress=true") if bounds else ()
    words = ("--log-driver", driver, *bounds, *packed)
    atoll.good("run", "--name", "talks", *words, busybox, "sh", "-c", BUSY)
    settled(atoll, "talks")
    every = [f"line {number}" for number in range(400)]
    assert shown(atoll, "talks") == (every, ["end"])
    assert shown(atoll, "--tail", "51", "talks") == (every[-50:], ["end"])
    assert shown(atoll, "--since", "10m", "--tail", "3", "talks") == (every[-2:], ["end"])
    assert shown(atoll, "--until", "10m", "talks") == ([], [])
    stamped = shown(atoll, "--timestamps", "talks")[0]
    assert [line.split(" ", 1)[1] for line in stamped] == every
    assert stamped == sorted(stamped, key=lambda line: line.split()[0])
    assert stamped[0].split()[0].endswith("Z")
    assert shown(atoll, "-f", "talks") == (every, ["end"])
    files = os.listdir(os.path.dirname(atoll.inspect("talks")["LogPath"])) if bounds else []
    assert bool([name for name in files if name.endswith(".gz")]) is bool(packed)


@pytest.mark.parametrize("driver", ["k8s-file", "journald"])
def test_follow_ends_with_the_container(atoll: Atoll, busybox: str, journald: None, driver: str):
    script = "sleep 0.5; echo late; sleep 0.5; echo end >&2"
    atoll.good("run", "-d", "--name", "talks", "--log-driver", driver, busybox, "sh", "-c", script)
    assert shown(atoll, "-f", "talks") == (["late"], ["end"])


def test_labels_variables_and_tag_stand_in_every_entry(atoll: Atoll, busybox: str, journald: None):
    wanted = ("labels=team,none", "env-regex=^NO", "tag={{.Name}}/{{.ID}}")
    options = [word for one in wanted for word in ("--log-opt", one)]
    given = ("--label", "team=red", "--label", "other=1", "-e", "NOTE=x", "-e", "OTHER=y")
    atoll.good("run", "--name", "file", *options, *given, busybox, "echo", "hello")
    container = atoll.inspect("file")
    with open(container["LogPath"]) as stream:
        entry = json.loads(stream.readline())
    assert entry["attrs"] == {"NOTE": "x", "team": "red", "tag": f"file/{container['Id'][:12]}"}
    assert container["HostConfig"]["LogConfig"]["Config"]["labels"] == "team,none"
    assert atoll.good("logs", "--details", "file") == "NOTE=x,team=red hello"
    words = ("--log-driver", "journald", *options, *given)
    atoll.good("run", "--name", "journal", *words, busybox, "sh", "-c", "echo end >&2")
    settled(atoll, "journal")
    identity = atoll.inspect("journal")["Id"]
    found = subprocess.run(
        ["journalctl", "-o", "json", f"CONTAINER_ID_FULL={identity}"], capture_output=True, text=True, check=True
    )
    fields = json.loads(found.stdout.splitlines()[0])
    assert (fields["CONTAINER_NAME"], fields["CONTAINER_ID"]) == ("journal", identity[:12])
    assert (fields["TEAM"], fields["NOTE"], fields["PRIORITY"]) == ("red", "x", "3")
    assert fields["SYSLOG_IDENTIFIER"] == f"journal/{identity[:12]}"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--log-driver", "syslog"), "logging driver 'syslog' is not there"),
        (("--log-driver", "nonsense"), "no log driver named 'nonsense' is registered"),
        (("--log-opt", "compress=true", "--log-opt", "max-file=1"), "compress cannot be true"),
        (("--log-opt", "tag={{.Nonsense}}"), "no field Nonsense"),
        (("--log-opt", "labels-regex=("), "invalid value for labels-regex"),
        (("--log-driver", "k8s-file", "--log-opt", "tag=x"), "unknown log opt 'tag' for k8s-file log driver"),
        (("--log-opt", "mode=sometimes"), "logging mode not supported"),
    ],
)
def test_what_is_refused(atoll: Atoll, words: tuple[str, ...], said: str):
    atoll("run", *words, "host", "true").failed(125, said)


def test_a_reader_that_goes_away_ends_logs(atoll: Atoll, busybox: str):
    atoll.good("run", "--name", "talks", busybox, "sh", "-c", f"{BUSY}; {BUSY}")
    for words in (("logs", "talks"), ("logs", "-f", "-t", "talks")):
        child = atoll.popen(*words)
        assert child.stdout is not None
        child.stdout.close()
        assert child.stderr is not None
        assert "Traceback" not in child.stderr.read()
        child.stderr.close()
        child.wait(10)
        processes.KEEP.discard(child.pid)
        assert child.returncode in (0, 141)
