"""top, stats, port and update: what a container does and may use."""

from __future__ import annotations

import json
import os
import re
import signal
import time

from integration.test_lifecycle import started
from kit.command import Atoll


def test_top(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    started(anyone, busybox, "sh", "-c", "sleep 601 & exec sleep 600")
    head, *lines = anyone.good("top", "web").split("\n")
    assert head.split() == ["UID", "PID", "PPID", "C", "STIME", "TTY", "TIME", "CMD"]
    assert sorted(line.split()[-1] for line in lines) == ["600", "601"]
    head, *lines = anyone.good("top", "web", "-o", "pid,comm").split("\n")
    assert head.split() == ["PID", "COMMAND"]
    assert str(anyone.state("web")["Pid"]) in [line.split()[0] for line in lines]
    anyone("top", "web", "-o", "comm").failed(1, "PID field")
    anyone("top", "web", "-o", "pid=X").failed(1, "heading")
    anyone("top", "web", "--nosuchoption").failed(1, "ps:")
    anyone.good("stop", "-t", "0", "web")
    anyone("top", "web").failed(1, "is not running")


def test_stats(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sh", "-c", "while :; do :; done", options=("-m", "64m"))
    started(atoll, busybox, "true", name="done")
    head, line = atoll.good("stats", "--no-stream").split("\n")
    assert re.split(r"\s{2,}", head.strip()) == [
        "CONTAINER ID", "NAME", "CPU %", "MEM USAGE / LIMIT", "MEM %", "NET I/O", "BLOCK I/O", "PIDS",
    ]  # fmt: skip
    cells = re.split(r"\s{2,}", line.strip())
    assert cells[1] == "web"
    assert float(cells[2].rstrip("%")) > 1
    assert re.fullmatch(r"[\d.]+[KM]iB / 64MiB", cells[3])
    assert cells[7] == "1"
    rows = [json.loads(one) for one in atoll.good("stats", "-a", "--no-stream", "--format", "json").split("\n")]
    assert {row["Name"]: row["PIDs"] for row in rows} == {"web": "1", "done": "0"}
    assert atoll.good("stats", "--no-stream", "--format", "{{.Name}}:{{.PIDs}}", "web") == "web:1"
    child = atoll.popen("stats", "web")
    assert child.stdout is not None
    shown = [child.stdout.readline() for _ in range(4)]
    child.send_signal(signal.SIGINT)
    child.communicate(timeout=10)
    assert "--" in shown[1], "the first look has nothing to compare with"
    assert "--" not in shown[3]
    atoll("stats", "nosuch").failed(1, "no such container")


def test_port_without_any(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600")
    assert atoll.good("port", "web") == ""
    atoll("port", "web", "80").failed(1, "no public port '80/tcp' published for web")
    atoll("port", "web", "x").failed(1, "invalid port")


def test_update(atoll: Atoll, busybox: str):
    started(atoll, busybox, "sleep", "600", options=("-m", "64m", "--pids-limit", "50"))
    words = ("-m", "128m", "--memory-swap", "256m", "--pids-limit", "60", "--cpus", "0.5", "--cpu-shares", "300")
    assert atoll.good("update", *words, "web") == "web"

    def limits() -> tuple[object, ...]:
        host = atoll.inspect("web")["HostConfig"]
        assert isinstance(host, dict)
        return host["Memory"], host["PidsLimit"], host["NanoCpus"]

    assert limits() == (128 << 20, 60, 500_000_000)
    assert "/ 128MiB" in atoll.good("stats", "--no-stream", "web")
    atoll.good("restart", "-t", "0", "web")
    assert limits() == (128 << 20, 60, 500_000_000)
    assert "/ 128MiB" in atoll.good("stats", "--no-stream", "web"), "a later start goes by them"
    atoll.good("update", "--restart", "on-failure:3", "web")
    host = atoll.inspect("web")["HostConfig"]
    assert isinstance(host, dict)
    assert host["RestartPolicy"] == {"Name": "on-failure", "MaximumRetryCount": 3}
    atoll("update", "-m", "512m", "web").failed(1, "already set memoryswap limit")
    atoll("update", "-m", "1m", "web").failed(1, "minimum memory limit")
    atoll("update", "--restart", "odd", "web").failed(1, "restart policy")
    atoll("update", "web").failed(1, "one or more flags")
    atoll("update", "--cpus", "1", "nosuch").failed(1, "no such container")


def test_a_restart_policy_that_is_changed_counts_from_the_next_end_on(atoll: Atoll, busybox: str):
    go = f"{atoll.folder}/go"
    os.makedirs(go)
    script = "until [ -e /go/now ]; do sleep 0.05; done; echo run; exit 3"
    atoll.good("run", "-d", "--name", "late", "-v", f"{go}:/go", busybox, "sh", "-c", script)
    atoll.good("update", "--restart", "on-failure:2", "late")
    open(f"{go}/now", "w").close()
    deadline = time.monotonic() + 30
    while atoll.good("logs", "late").count("run") < 3 or "Exited" not in atoll.good("ps", "-a"):
        assert time.monotonic() < deadline, atoll.inspect("late")
        time.sleep(0.1)
    assert atoll.inspect("late")["RestartCount"] == 2
    atoll.good("update", "--restart", "no", "late")
    assert atoll.good("start", "late") == "late"
    assert atoll.good("wait", "late") == "3"
    assert atoll.inspect("late")["RestartCount"] == 0
