"""Pods: what their containers share, their verbs, their limits as a whole, and commands killed in the middle."""

from __future__ import annotations

import glob
import json
import os
import random
import shutil
import signal
import socket
import time

import pytest

from kit import processes
from kit.command import Atoll
from kit.waiting import until

SLEEP = ("sleep", "600")


def pod_of(atoll: Atoll, name: str) -> dict[str, object]:
    """`pod inspect`."""
    return dict(json.loads(atoll.good("pod", "inspect", name))[0])


def namespaces(atoll: Atoll, container: str, *kinds: str) -> list[str]:
    """The namespaces of a container's first process."""
    pid = atoll.state(container)["Pid"]
    return [os.readlink(f"/proc/{pid}/ns/{kind}") for kind in kinds]


def cgroups_of_pods() -> list[str]:
    """Directories of pods' cgroups in any hierarchy."""
    return glob.glob("/sys/fs/cgroup/**/*pod-*", recursive=True)


def test_what_is_shared(anyone: Atoll, busybox: str):
    pod = anyone.good("pod", "create", "--name", "web", "--hostname", "front", "--share", "ipc,net,uts,pid")
    anyone.good("run", "-d", "--pod", "web", "--name", "one", busybox, "sh", "-c", "echo hi | nc -l -p 8000")
    anyone.good("run", "-d", "--pod", pod[:12], "--name", "two", busybox, *SLEEP)
    anyone.good("run", "-d", "--name", "stranger", busybox, *SLEEP)
    shared = ("ipc", "net", "uts", "pid", "user")
    assert namespaces(anyone, "one", *shared) == namespaces(anyone, "two", *shared)
    assert namespaces(anyone, "one", "mnt", "cgroup") != namespaces(anyone, "two", "mnt", "cgroup")
    ours, others = namespaces(anyone, "two", *shared[:4]), namespaces(anyone, "stranger", *shared[:4])
    assert not set(ours) & set(others)
    assert (
        anyone.good("exec", "two", "sh", "-c", "hostname; cat /etc/hostname; echo $HOSTNAME")
        == "front\n" * 2 + "front"
    )
    assert anyone.good("exec", "two", "sh", "-c", "nc 127.0.0.1 8000 </dev/null") == "hi"
    anyone.good("exec", "two", "sh", "-c", "echo there > /dev/shm/file")
    anyone.good("start", "one")
    assert anyone.good("exec", "one", "cat", "/dev/shm/file") == "there"
    seen = anyone.good("exec", "two", "ps")
    assert "/pause" in seen
    assert "nc -l" in seen
    assert "front" not in anyone.good("exec", "stranger", "hostname")


def test_life_of_a_pod(atoll: Atoll, busybox: str):
    pod = atoll.good("pod", "create", "web")
    assert atoll.good("pod", "ps", "--format", "{{.Name}} {{.Status}} {{.NumberOfContainers}}") == "web Created 1"
    atoll.good("create", "--pod", "web", "--name", "one", busybox, *SLEEP)
    atoll.good("create", "--pod", "web", "--name", "two", busybox, *SLEEP)
    assert atoll.good("pod", "start", "web") == pod
    assert pod_of(atoll, "web")["State"] == "Running"
    assert {atoll.state(name)["Status"] for name in ("one", "two")} == {"running"}
    atoll.good("pod", "pause", "web")
    assert pod_of(atoll, "web")["State"] == "Paused"
    atoll.good("pod", "unpause", "web")
    atoll.good("kill", "two")
    atoll.wait_for("two", "exited")
    assert pod_of(atoll, "web")["State"] == "Degraded"
    before = atoll.state("one")["Pid"]
    atoll.good("pod", "restart", "-t", "0", "web")
    assert atoll.state("one")["Pid"] != before
    assert atoll.state("two")["Status"] == "running"
    assert "sleep 600" in atoll.good("pod", "top", "web")
    rows = atoll.good("pod", "stats", "--no-stream", "--format", "{{.Name}} {{.PIDS}}", "web").splitlines()
    assert [row.split()[1] for row in rows] == ["1", "1", "1"]
    atoll.good("pod", "kill", "web")
    atoll.wait_for("one", "exited")
    atoll.good("pod", "stop", "web")
    assert pod_of(atoll, "web")["State"] == "Exited"
    # A container of a pod that is not running wakes what it joins.
    atoll.good("start", "one")
    assert pod_of(atoll, "web")["State"] == "Degraded"
    infra = str(pod_of(atoll, "web")["InfraContainerID"])
    atoll("rm", "-f", infra).failed(1, "infra container of pod .* cannot be removed without")
    atoll("pod", "rm", "web").failed(2, "running or paused containers cannot be removed without force")
    assert atoll("pod", "exists", "web").code == 0
    assert atoll.good("pod", "rm", "-f", "web") == pod
    assert atoll("pod", "exists", "web").code == 1
    assert atoll.all() == []
    assert cgroups_of_pods() == []
    atoll("pod", "rm", "web").failed(1, "no pod with name or ID web found: no such pod")
    atoll("pod", "start", "web").failed(125, "no such pod")


def test_logs_of_a_pod_and_lists(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--pod", "new:web", "--name", "one", busybox, "echo", "first")
    atoll.wait_for("one", "exited")
    atoll.good("run", "--pod", "web", "--name", "two", busybox, "echo", "second")
    assert atoll.good("pod", "logs", "--names", "web") == "one first\ntwo second"
    assert sorted(atoll.good("pod", "logs", "-f", "-n", "web").splitlines()) == ["one first", "two second"]
    assert atoll.good("pod", "logs", "-c", "two", "web") == "second"
    assert atoll.good("ps", "-a", "--filter", "pod=web", "--format", "{{.Names}} {{.PodName}}").splitlines()[:2] == [
        "two web",
        "one web",
    ]
    heading = atoll.good("ps", "--pod").splitlines()[0]
    assert heading.split("  ")[-1].strip() == "PODNAME"
    assert atoll.good("pod", "ps", "--ctr-names", "--noheading").split()[-1].split(",")[1:] == ["one", "two"]
    assert atoll.good("pod", "ps", "-q", "--filter", "name=nothing") == ""
    atoll("pod", "ps", "--filter", "colour=red").failed(125, "colour is an invalid filter")
    atoll.good("pod", "stop", "web")
    assert len(atoll.good("pod", "prune", "-f")) == 64


def test_limits_hold_for_all_of_it(atoll: Atoll, busybox: str):
    atoll.good("pod", "create", "--name", "small", "--pids-limit", "6", "--memory", "64m", "--cpus", "0.5")
    atoll.good("run", "-d", "--pod", "small", "--name", "one", busybox, "sh", "-c", "sleep 600 & sleep 600 & wait")
    # The two of them and what holds the namespaces have 4 processes; a second container's third finds no room.
    result = atoll(
        "run", "--rm", "--pod", "small", busybox, "sh", "-c", "for i in 1 2 3 4; do sleep 5 & done; echo done"
    )
    assert "fork" in result.err, result
    shown = pod_of(atoll, "small")
    assert (shown["memory_limit"], shown["pids_limit"], shown["cpu_quota"]) == (64 << 20, 6, 50000)
    out = atoll("run", "--pod", "small", "--name", "big", busybox, "sh", "-c", "head -c 200m /dev/zero | tail")
    assert out.code != 0, "more memory than the pod has"
    atoll.good("pod", "rm", "-f", "-t", "0", "small")
    assert cgroups_of_pods() == []


def test_limits_are_audited_and_everything_is_reset(atoll: Atoll, busybox: str):
    atoll.good("pod", "create", "--name", "small", "--pids-limit", "20", "--network", "none")
    atoll.good("run", "-d", "--pod", "small", "--name", "one", busybox, *SLEEP)
    assert atoll("audit", "limits").out.splitlines()[1:] == []
    (place,) = [one for one in cgroups_of_pods() if os.path.exists(f"{one}/pids.max")]
    with open(f"{place}/pids.max", "w") as file:
        file.write("99")
    assert "asked for 20 processes for all of the pod" in atoll("audit", "limits", "--repair").out
    with open(f"{place}/pids.max") as file:
        assert file.read().strip() == "20"
    atoll("run", "--pod", "small", "--isolation", "gvisor", busybox, "true").failed(125, "shares namespaces")
    assert "pod create" in atoll.good("events", "--since", "1h", "--until", "0s", "--filter", "pod=small")
    atoll.good("system", "reset", "--force")
    assert cgroups_of_pods() == []
    assert atoll.good("pod", "ps", "-q") == ""


def from_outside(port: int) -> bytes:
    """What the published port answers; the server inside takes one connection and begins anew."""
    deadline = time.monotonic() + 10
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as connection:
                connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
                if answer := connection.recv(1000):
                    return answer
        except OSError:
            assert time.monotonic() < deadline, "nobody answers"
        time.sleep(0.1)


def test_a_network_and_its_ports(atoll: Atoll, busybox: str):
    """The pod's: its containers have one address, and reach one another by 127.0.0.1."""
    atoll.good("network", "create", "--subnet", "10.99.7.0/24", "mine")
    atoll.good(
        "pod", "create", "--name", "web", "--network", "mine", "-p", "18080:8000", "--add-host", "far:192.0.2.1"
    )
    serve = "while :; do printf 'HTTP/1.0 200 OK\\r\\n\\r\\nhello' | nc -l -p 8000; done"
    atoll.good("run", "-d", "--pod", "web", "--name", "one", busybox, "sh", "-c", serve)
    atoll.good("run", "-d", "--pod", "web", "--name", "two", busybox, *SLEEP)
    atoll.good("run", "-d", "--network", "mine", "--name", "other", busybox, *SLEEP)

    def fetched(*words: str) -> str:
        deadline = time.monotonic() + 10
        while "hello" not in (found := atoll("exec", *words)).out:
            assert time.monotonic() < deadline, found
            time.sleep(0.1)
        return found.out

    assert fetched("two", "sh", "-c", "nc 127.0.0.1 8000 </dev/null").endswith("hello")
    for name in ("web", "one"):
        assert fetched("other", "sh", "-c", f"nc {name} 8000 </dev/null").endswith("hello")
    assert b"hello" in from_outside(18080)
    shown = pod_of(atoll, "web")["InfraConfig"]
    assert isinstance(shown, dict)
    assert shown["Networks"] == ["mine"]
    assert "8000/tcp" in shown["PortBindings"]
    assert "18080->8000/tcp" in atoll.good("ps", "--filter", "pod=web", "--format", "{{.Ports}}")
    atoll.good("pod", "rm", "-f", "-t", "0", "web")
    atoll.good("rm", "-f", "other")
    atoll.good("network", "rm", "mine")
    atoll.good("network", "prune", "--all", "-f")


def test_limits_of_an_ordinary_user(rootless: Atoll, undelegated: Atoll, busybox: str):
    undelegated("pod", "create", "--pids-limit", "5").failed(125, "--pids-limit", "delegate")
    rootless.good("pod", "create", "--name", "small", "--pids-limit", "5")
    rootless.good("run", "-d", "--pod", "small", "--name", "one", busybox, "sh", "-c", "sleep 600 & sleep 600 & wait")
    result = rootless("run", "--rm", "--pod", "small", busybox, "sh", "-c", "sleep 5 & sleep 5 & sleep 5")
    assert "fork" in result.err or result.code, result


def test_contradictions_are_refused(atoll: Atoll, busybox: str):
    atoll.good("pod", "create", "web")
    run = ("run", "--pod", "web")
    atoll(*run, "--network", "host", busybox, "true").failed(125, "--network and pod web")
    atoll(*run, "-p", "80:80", busybox, "true").failed(125, "publish them with the pod")
    atoll(*run, "--hostname", "other", busybox, "true").failed(125, "hostname")
    atoll(*run, "--userns", "auto", busybox, "true").failed(125, "user namespace")
    atoll("run", "--pod", "nosuch", busybox, "true").failed(125, "no such pod")
    atoll("pod", "create", "web").failed(125, "already in use")
    atoll("pod", "create", "--share", "nett").failed(125, "did you mean net")
    atoll("pod", "create", "--infra=false", "--network", "host").failed(125, "without an infra container")
    assert atoll.good("pod", "create", "--replace", "web") != ""
    assert len(atoll.good("pod", "ps", "-q").split()) == 1


def test_without_infra_and_host_namespaces(atoll: Atoll, busybox: str):
    atoll.good("pod", "create", "--infra=false", "--name", "loose", "--pids-limit", "10")
    atoll.good("run", "-d", "--pod", "loose", "--name", "one", busybox, *SLEEP)
    atoll.good("run", "-d", "--pod", "loose", "--name", "two", busybox, *SLEEP)
    assert namespaces(atoll, "one", "net", "ipc") != namespaces(atoll, "two", "net", "ipc")
    path = open(f"/proc/{atoll.state('one')['Pid']}/cgroup").read()
    assert "/pod-" in path
    atoll.good("pod", "create", "--name", "open", "--pid", "host", "--network", "host")
    atoll.good("run", "-d", "--pod", "open", "--name", "three", busybox, *SLEEP)
    assert namespaces(atoll, "three", "pid", "net") == [
        os.readlink(f"/proc/self/ns/{kind}") for kind in ("pid", "net")
    ]


def test_a_pod_stops_with_its_last_container(atoll: Atoll, busybox: str):
    atoll.good("pod", "create", "--name", "job", "--exit-policy", "stop")
    atoll.good("run", "-d", "--pod", "job", "--name", "one", busybox, "sleep", "0.3")
    atoll.good("run", "--rm", "--pod", "job", busybox, "true")
    deadline = time.monotonic() + 15
    while pod_of(atoll, "job")["State"] != "Exited":
        assert time.monotonic() < deadline, pod_of(atoll, "job")
        time.sleep(0.1)


def test_commands_killed_in_the_middle(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    """Whatever is killed, the next command finds pods whole or none, and a check is content."""
    atoll.good("pod", "create", "warm")
    began = atoll("pod", "rm", "-f", "warm").seconds
    for _ in range(60 if full else 4):
        _kill(atoll, rng.uniform(0, began), "pod", "create", "--name", "victim", "--pids-limit", "20")
        again = atoll("pod", "create", "--name", "victim", "--pids-limit", "20")
        if again.code:
            again.failed(125, "already in use")
        atoll.good("run", "-d", "--pod", "victim", "--name", "one", busybox, *SLEEP)
        _kill(atoll, rng.uniform(0, began * 2), "pod", "rm", "-f", "victim")
        left = atoll("pod", "rm", "-f", "victim")
        assert left.code == 0, left
        assert atoll.all() == []
        check = atoll("system", "check")
        assert check.code == 0, check
    assert cgroups_of_pods() == []


def test_a_reboot(atoll: Atoll, busybox: str):
    """What is gone then is made again: cgroup, limits, namespaces."""
    atoll.good("run", "-d", "--pod", "new:web", "--name", "one", "--restart", "always", busybox, *SLEEP)
    atoll.good("pod", "stop", "-t", "0", "web")
    atoll.end_spawner()
    for place in sorted(cgroups_of_pods(), key=len, reverse=True):
        os.rmdir(place)
    shutil.rmtree(atoll.run_root)
    assert pod_of(atoll, "web")["State"] == "Exited"
    assert atoll.good("internal", "boot") == "one"
    assert pod_of(atoll, "web")["State"] == "Running"
    assert any("/pods" not in place for place in cgroups_of_pods())
    atoll.good("pod", "rm", "-f", "-t", "0", "web")
    assert cgroups_of_pods() == []


def _kill(atoll: Atoll, seconds: float, *words: str) -> None:
    child = atoll.popen(*words)
    time.sleep(seconds)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=30)
    processes.KEEP.discard(child.pid)


@pytest.mark.parametrize("userns", ["auto", "host"])
def test_user_namespaces_of_root(atoll: Atoll, busybox: str, userns: str):
    atoll.good("pod", "create", "--name", "web", "--userns", userns)
    first = atoll.good(
        "run", "--rm", "--pod", "web", busybox, "sh", "-c", "readlink /proc/self/ns/user; cat /proc/self/uid_map"
    )
    second = atoll.good(
        "run", "--rm", "--pod", "web", busybox, "sh", "-c", "readlink /proc/self/ns/user; cat /proc/self/uid_map"
    )
    assert first == second
    assert ("4294967295" in first) == (userns == "host")


def test_a_restart_is_no_end_for_its_pod(atoll: Atoll, busybox: str):
    """The pod stops with its last container, and this one is down for a moment: its end is told all the same."""
    atoll.good("pull", "-q", busybox)
    atoll.good("pod", "create", "--network", "none", "--exit-policy", "stop", "--name", "p")
    atoll.good("run", "-d", "--pod", "p", "--name", "only", busybox, "sleep", "600")
    for _ in range(8):
        pid = atoll.state("only")["Pid"]
        atoll.good("restart", "-t", "0", "only")
        assert atoll.state("only")["Pid"] != pid
        atoll.good("internal", "pod", atoll.inspect("only")["Id"])  # whoever tells of the end, and is late
        assert atoll.good("pod", "ps", "--format", "{{.Status}}") == "Running"
    until(lambda: not any("internal" in one.title for one in processes.descendants(os.getpid())))
    assert atoll.good("pod", "ps", "--format", "{{.Status}}") == "Running"
    atoll.good("stop", "-t", "0", "only")
    until(lambda: atoll.good("pod", "ps", "--format", "{{.Status}}") == "Exited")
    atoll.good("pod", "rm", "-f", "p")
