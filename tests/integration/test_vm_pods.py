"""Pods at the level `vm`: several containers in one machine, by the commands of any pod, under TCG."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from kit import kernels, processes, vm
from kit.command import Atoll
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(300)
VM = ("--isolation", "vm")
SLEEP = ("sleep", "600")
COUNTS = "i=0; while :; do i=$((i+1)); echo $i; sleep 0.05; done"
PATIENCE = 60.0


def _boot_id(box: Atoll, name: str) -> str:
    return box.good("exec", name, "cat", "/proc/sys/kernel/random/boot_id")


def _stands_still(box: Atoll, name: str) -> bool:
    """Whether it says nothing for a while; what it had said may still be on its way."""
    before = box.good("logs", "-n", "1", name)
    time.sleep(1)
    return box.good("logs", "-n", "1", name) == before


def test_a_day_of_a_pod(machines: Atoll, busybox: str):
    box = machines
    box.good("pod", "create", *VM, "--name", "web", "-m", "100m", "--hostname", "front")
    serve = "echo up; trap 'exit 4' TERM; while :; do echo served | nc -l -p 8000; done & while :; do sleep 0.1; done"
    box.good("run", "-d", "--pod", "web", "--name", "one", "-m", "32m", busybox, "sh", "-c", serve)
    box.good("run", "-d", "--pod", "web", "--name", "two", busybox, "sh", "-c", COUNTS)
    # One kernel, which is not ours; one network, host name and /dev/shm; a root each.
    assert _boot_id(box, "one") == _boot_id(box, "two")
    assert box.good("exec", "two", "uname", "-r") != os.uname().release
    until(lambda: "served" in box("exec", "two", "sh", "-c", "nc 127.0.0.1 8000 </dev/null").out)
    script = "hostname; echo there > /dev/shm/file; echo mine > /file"
    assert box.good("exec", "one", "sh", "-c", script) == "front"
    assert box.good("exec", "two", "cat", "/dev/shm/file") == "there"
    assert box("exec", "two", "cat", "/file").code == 1
    # Each its own streams, codes and limits.
    assert box.good("logs", "one") == "up"
    done = box("run", "--rm", "-i", "--pod", "web", busybox, "sh", "-c", "cat; echo err >&2; exit 3", stdin="typed")
    assert (done.code, done.out, done.err) == (3, "typed", "err\n")
    box("run", "--rm", "--pod", "web", busybox, "/no/such").failed(127)
    assert box("exec", "two", "sh", "-c", "exit 7").code == 7
    assert box.good("exec", "one", "cat", "/sys/fs/cgroup/memory.max") == str(32 << 20)
    rows = box.good("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}", "one", "two").splitlines()
    assert rows[0].endswith("/ 32MiB")
    assert box.good("pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}") == "Running 3"
    assert "while :; do" in box.good("top", "two")
    assert "/pause" in box.good("pod", "top", "web")
    # What the guest's kernel kills of one is told of that one.
    box.good("run", "-d", "--pod", "web", "--name", "hungry", "-m", "16m", busybox, "tail", "/dev/zero")
    state = box.wait_for("hungry", "exited", PATIENCE)
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (137, True, "out of memory")
    box.good("rm", "hungry")
    # One stands still, or all of them.
    box.good("pause", "two")
    assert box.good("exec", "one", "true") == ""
    until(lambda: _stands_still(box, "two"))
    before = box.good("logs", "-n", "1", "two")
    box.good("unpause", "two")
    until(lambda: box.good("logs", "-n", "1", "two") != before)
    box.good("pod", "pause", "web")
    assert box.good("pod", "ps", "--format", "{{.Status}}") == "Paused"
    box.good("pod", "unpause", "web")
    # Their ends, and another life with what they wrote.
    box.good("stop", "one")
    assert box.state("one")["ExitCode"] == 4
    box.good("kill", "two")
    assert box.wait_for("two", "exited", PATIENCE)["ExitCode"] == 137
    box.good("pod", "stop", "-t", "0", "web")
    assert box.good("pod", "ps", "--format", "{{.Status}}") == "Exited"
    box.good("start", "one")
    assert box.good("exec", "one", "cat", "/file") == "mine"
    box.good("pod", "rm", "-f", "web")
    assert box.all() == []
    assert box("system", "check").code == 0
    assert os.listdir(f"{box.run_root}/doors") == []


DOCUMENT = """
apiVersion: v1
kind: Pod
metadata:
  name: play
  annotations: {{org.atoll.isolation: vm}}
spec:
  restartPolicy: OnFailure
  volumes:
  - {{name: shared, emptyDir: {{}}}}
  - {{name: host, hostPath: {{path: {place}, type: Directory}}}}
  initContainers:
  - name: first
    image: {image}
    command: [sh, -c, "echo made > /shared/made"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
  containers:
  - name: web
    image: {image}
    command: [sh, -c, "cat /shared/made /host/a; echo no > /host/b; sleep 600"]
    volumeMounts: [{{name: shared, mountPath: /shared}}, {{name: host, mountPath: /host, readOnly: true}}]
  - name: side
    image: {image}
    command: [sh, -c, "test -e /tried || {{ touch /tried; exit 1; }}; echo again > /shared/again; sleep 600"]
    volumeMounts: [{{name: shared, mountPath: /shared}}]
"""


@pytest.mark.full
def test_a_document_with_volumes(machines: Atoll, busybox: str, sandbox: Sandbox):
    """Init containers, volumes that are shared or the host's, and a restart: as in namespaces."""
    place = f"{sandbox.scratch}/host"
    os.mkdir(place)
    with open(f"{place}/a", "w") as stream:
        stream.write("from the host\n")
    with open(f"{sandbox.scratch}/pod.yaml", "w") as stream:
        stream.write(DOCUMENT.format(place=place, image=busybox))
    machines.good("kube", "play", "--network", "none", f"{sandbox.scratch}/pod.yaml")
    until(lambda: "again" in machines("exec", "play-web", "cat", "/shared/again").out)
    until(lambda: "Read-only" in machines("logs", "play-web").err)
    assert machines.good("logs", "play-web").splitlines() == ["made", "from the host"]
    assert sorted(os.listdir(place)) == ["a"]
    assert machines.inspect("play-side")["RestartCount"] == 1
    assert "org.atoll.isolation: vm" in machines.good("kube", "generate", "play")
    late = ("run", "--rm", "--pod", "play", "-v", f"{sandbox.scratch}:/late", busybox, "true")
    machines(*late).failed(125, "the pod's machine runs already, and does not show")
    machines.good("pod", "stop", "-t", "0", "play")
    machines.good("kube", "down", f"{sandbox.scratch}/pod.yaml")
    assert machines.all() == []


def test_its_network_is_the_pods(net: Atoll, busybox: str, machine_store: str):
    """A published port leads to whichever container listens; names of the network are known in all."""
    vm.give(net, machine_store)
    net.good("network", "create", "front")
    serve = "while :; do echo served | nc -l -p 80; done"
    net.good("run", "-d", "--name", "peer", "--network", "front", busybox, "sh", "-c", serve)
    net.good("pod", "create", *VM, "--name", "web", "--network", "front", "-p", "8080:80")
    net.good("run", "-d", "--pod", "web", "--name", "one", busybox, "sh", "-c", serve)
    net.good("run", "-d", "--pod", "web", "--name", "two", busybox, *SLEEP)
    until(lambda: "served" in net("exec", "two", "nc", "-w", "5", "peer", "80").out)
    until(lambda: "served" in net("exec", "peer", "nc", "-w", "5", "web", "80").out)
    words = ("busybox", "nc", "-w", "5", "127.0.0.1", "8080")
    ask = {"stdin": subprocess.DEVNULL, "capture_output": True, "text": True}
    until(lambda: "served" in subprocess.run(words, **ask).stdout)  # type: ignore[call-overload]
    net.good("pod", "rm", "-f", "web")
    net.good("rm", "-f", "peer")
    net.good("network", "rm", "front")


def test_what_such_a_pod_cannot_be(machines: Atoll, busybox: str):
    for flags in (
        ("--infra=false",),
        ("--share", "ipc,uts"),
        ("--pid", "host"),
        ("--network", "host"),
        ("--userns", "auto"),
        ("--device", "/dev/null"),
    ):
        machines("pod", "create", *VM, *flags).failed(125, "a pod of isolation level 'vm' cannot")
    machines("pod", "create", "--isolation", "gvisor").failed(125, "isolation level 'gvisor' cannot have a pod")
    assert json.loads(machines.good("pod", "ps", "--format", "json")) == []
    machines.good("pod", "create", *VM, "--name", "web")
    run = ("create", "--pod", "web")
    machines(*run, "--isolation", "container", busybox, "true").failed(125, "conflicting options: --isolation")
    machines(*run, "--storage-opt", "size=64m", busybox, "true").failed(125, "they share its disk")
    machines.good(*run, "--name", "one", "-v", "/dev/null:/null", "--device", "/dev/null:/dev/x", busybox, "true")
    machines("start", "one").failed(1, "isolation level 'vm' cannot give a container devices of the host")
    machines.good("pod", "create", "--name", "plain")
    machines("create", "--pod", "plain", *VM, busybox, "true").failed(125, "pod create --isolation vm")
    machines.good("pod", "rm", "web", "plain")
    assert machines.all() == []


def test_a_sigkill_leaves_nothing(machines: Atoll, busybox: str, rng: random.Random, full: bool):
    """Of a container's stand-in, its monitor, or the machine's keeper: what depends on it ends, the rest stays."""
    everyone = ("stand", "monitor", "keeper")
    machines.good("pod", "create", *VM, "--name", "web")
    for name in ("one", "two"):
        machines.good("create", "--pod", "web", "--name", name, busybox, *SLEEP)
    for whom in everyone if full else (rng.choice(everyone),):
        machines.good("pod", "start", "web")
        _kill_one(machines, whom)
        machines.good("pod", "stop", "-t", "0", "web")
    machines.good("pod", "rm", "web")
    assert machines("system", "check").code == 0


def _kill_one(box: Atoll, whom: str) -> None:
    infra = json.loads(box.good("pod", "inspect", "web"))[0]["InfraContainerID"]
    stand, keeper = int(str(box.state("one")["Pid"])), int(str(box.state(infra)["Pid"]))
    family = {one.pid: one for one in processes.everyone()}
    os.kill({"stand": stand, "monitor": family[stand].parent, "keeper": keeper}[whom], signal.SIGKILL)
    if whom == "monitor":  # another takes over
        assert box("exec", "one", "true").code == 0
        return
    assert box.wait_for("one", "exited", PATIENCE)["ExitCode"] in (137, 255)
    if whom == "stand":
        assert box.good("exec", "two", "ps").count("sleep 600") == 1
    else:
        state = box.wait_for("two", "exited", PATIENCE)
        assert state["ExitCode"] in (137, 255)
        assert "its machine has ended" in str(state["Error"])


@pytest.mark.full  # a kernel, a closure and a template of that user's own
def test_an_ordinary_user(fresh_rootless: Callable[..., Atoll], busybox: str, sandbox: Sandbox, machine_store: str):
    one = fresh_rootless("atoll-full")
    kernels.allow(one)
    source = kernels.wheel(sandbox.run_outside)
    one.good("pull", "-q", busybox)
    one.good("vm", "kernel", "install", "--from", source)
    one.good("pod", "create", *VM, "--name", "web")
    one.good("run", "-d", "--pod", "web", "--name", "one", busybox, *SLEEP, timeout=120)
    one.good("run", "-d", "--pod", "web", "--name", "two", busybox, *SLEEP)
    assert _boot_id(one, "one") == _boot_id(one, "two")
    assert one.good("exec", "two", "id", "-u") == "0"
    one.good("pod", "rm", "-f", "web")
    assert one.all() == []
