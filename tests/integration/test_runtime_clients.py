"""Podman, dockerd and containerd run their own work through `atoll-runtime` and notice no difference."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator

import pytest

from kit.command import installed
from kit.engines import Containerd, Docker, Podman
from kit.sandbox import Sandbox


@pytest.fixture(scope="module", params=["hybrid", "v1"])
def podman(request: pytest.FixtureRequest, sandbox: Sandbox) -> Iterator[Podman]:
    """Root's podman, with and without the v2 half of the cgroup tree in sight."""
    folder = os.path.join(sandbox.scratch, f"podman-{request.param}")
    engine = Podman(sandbox, folder, installed("atoll-runtime"), hybrid=request.param == "hybrid")
    yield engine
    engine.stop()


@pytest.fixture
def emptied(podman: Podman) -> Iterator[Podman]:
    """The same, without containers afterwards."""
    yield podman
    podman("rm", "--all", "--force", "--time", "0")
    podman("pod", "rm", "--all", "--force", "--time", "0")


@pytest.fixture(scope="module")
def docker(sandbox: Sandbox) -> Iterator[Docker]:
    """dockerd and its client."""
    engine = Docker(sandbox, os.path.join(sandbox.scratch, "docker"), installed("atoll-runtime"))
    yield engine
    engine.stop()


@pytest.fixture(scope="module")
def containerd(sandbox: Sandbox, busybox: str) -> Iterator[Containerd]:
    """containerd and ctr."""
    engine = Containerd(sandbox, os.path.join(sandbox.scratch, "containerd"), installed("atoll-runtime"), busybox)
    yield engine
    engine.stop()


ALONE = ("run", "--rm", "--network", "none")

# --- podman -----------------------------------------------------------------------------------------------------


def test_podman_run(emptied: Podman):
    script = "id -u; hostname; grep Seccomp: /proc/self/status; exit 7"
    result = emptied(*ALONE, "--hostname", "h", "busybox", "sh", "-c", script)
    assert result.code == 7, result
    assert result.out.split() == ["0", "h", "Seccomp:", "2"]
    assert emptied(*ALONE, "busybox", "nope").code == 127
    assert emptied(*ALONE, "busybox", "/etc").code == 126


def test_podman_life(emptied: Podman):
    emptied.good("run", "-d", "--name", "c", "--network", "none", "busybox", "sleep", "100")
    assert emptied.good("exec", "c", "echo", "hi") == "hi"
    assert emptied("exec", "c", "sh", "-c", "exit 3").code == 3
    assert emptied.good("exec", "-t", "c", "tty").strip() == "/dev/pts/0"
    assert emptied("exec", "c", "nope").code == 127
    assert emptied.good("top", "c").count("\n") == 1
    emptied.good("pause", "c")
    assert _status(emptied) == "paused"
    emptied.good("unpause", "c")
    assert _status(emptied) == "running"
    assert "c" in emptied.good("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}}")
    emptied.good("update", "--memory", "64m", "c")
    assert emptied.good("exec", "c", "cat", "/sys/fs/cgroup/memory/memory.limit_in_bytes") == str(64 << 20)
    emptied.good("stop", "--time", "0", "c")
    assert _status(emptied) == "exited"
    emptied.good("start", "c")
    emptied.good("restart", "--time", "0", "c")
    emptied.good("kill", "c")
    emptied.good("wait", "c")
    assert emptied.good("inspect", "-f", "{{.State.ExitCode}}", "c") == "137"


def _status(podman: Podman) -> str:
    return podman.good("inspect", "-f", "{{.State.Status}}", "c")


def test_podman_terminal_and_init(emptied: Podman):
    assert emptied.good(*ALONE, "-t", "busybox", "tty").strip() == "/dev/pts/0"
    assert "podman-init" in emptied.good(*ALONE, "--init", "busybox", "ps")


def test_podman_user_namespaces(emptied: Podman):
    script = "id -u; cat /proc/self/uid_map; touch /x; stat -c %u /x"
    flags = ("--uidmap", "0:100000:1000", "--gidmap", "0:100000:1000")
    assert emptied.good(*ALONE, *flags, "busybox", "sh", "-c", script).split() == ["0", "0", "100000", "1000", "0"]
    emptied.good("run", "-d", "--name", "u", "--network", "none", *flags, "busybox", "sleep", "100")
    link = emptied.good("exec", "u", "readlink", "/proc/self/ns/user")
    for kind, wanted in (("container:u", link), ("host", os.readlink("/proc/self/ns/user"))):
        assert emptied.good(*ALONE, "--userns", kind, "busybox", "readlink", "/proc/self/ns/user") == wanted


def test_podman_volumes_and_limits(emptied: Podman):
    folder = os.path.join(emptied.folder, "volume")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "file"), "w") as stream:
        stream.write("content\n")
    script = "cat /v/file; touch /v/x 2>/dev/null || echo ro; touch /n/y; touch /x 2>/dev/null || echo root"
    flags = ("-v", f"{folder}:/v:ro", "-v", "named:/n", "--read-only", "--tmpfs", "/t")
    assert emptied.good(*ALONE, *flags, "busybox", "sh", "-c", script).split() == ["content", "ro", "root"]
    flags = ("--memory", "32m", "--pids-limit", "20", "--cpus", "0.5", "--oom-score-adj", "500")
    script = "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max /proc/self/oom_score_adj"
    assert emptied.good(*ALONE, *flags, "busybox", "sh", "-c", script).split() == ["33554432", "20", "500"]
    flags = ("--memory", "16m", "--memory-swap", "16m")
    assert emptied(*ALONE, *flags, "busybox", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=50").code == 137


def test_podman_pod(emptied: Podman):
    infra = ("--infra-image", "busybox", "--infra-command", "sleep 1000")
    emptied.good("pod", "create", "--name", "p", "--network", "none", *infra)
    emptied.good("run", "-d", "--pod", "p", "busybox", "sleep", "100")
    assert emptied.good("run", "--rm", "--pod", "p", "busybox", "hostname") == "p"
    assert emptied.good("pod", "ps", "--format", "{{.Status}} {{.NumberOfContainers}}") == "Running 2"
    emptied.good("pod", "rm", "--force", "--time", "0", "p")


def test_podman_healthcheck(emptied: Podman):
    health = ("--health-cmd", "true", "--health-interval", "disable")
    emptied.good("run", "-d", "--name", "h", "--network", "none", *health, "busybox", "sleep", "100")
    emptied.good("healthcheck", "run", "h")


def test_podman_privileged_and_host_namespaces(emptied: Podman):
    bounding = emptied.good(*ALONE, "--privileged", "busybox", "grep", "CapEff", "/proc/self/status").split()[1]
    with open("/proc/self/status") as stream:
        ours = re.search(r"CapEff:\s*(\w+)", stream.read())
    assert ours
    assert bounding == ours[1]
    flags = ("--pid", "host", "--ipc", "host", "--uts", "host")
    assert emptied.good(*ALONE, *flags, "busybox", "hostname") == os.uname().nodename


def test_podman_of_an_ordinary_user(sandbox: Sandbox):
    folder = os.path.join(sandbox.scratch, "podman-rootless")
    user = sandbox.users["atoll-full"]
    engine = Podman(sandbox, folder, installed("atoll-runtime"), user=user)
    try:
        script = "id -u; cat /proc/self/uid_map; grep Seccomp: /proc/self/status"
        out = engine.good(*ALONE, "busybox", "sh", "-c", script).split()
        assert out[0] == "0"
        assert out[1:4] == ["0", str(user.uid), "1"]
        assert out[-1] == "2"
        engine.good("run", "-d", "--name", "c", "--network", "none", "busybox", "sleep", "100")
        assert engine.good("exec", "c", "echo", "hi") == "hi"
        assert engine.good("exec", "-t", "c", "tty").strip() == "/dev/pts/0"
        assert engine.good(*ALONE, "--userns", "keep-id", "busybox", "id", "-u") == str(user.uid)
        assert engine(*ALONE, "--pid", "host", "busybox", "nope").code == 127
        assert engine("healthcheck", "run", "c").code != 0  # it has none
        engine.good("rm", "--force", "--time", "0", "c")
        nobody = f"grep -c {user.uid} /proc/self/uid_map"
        assert engine(*ALONE, "--userns", "nomap", "busybox", "sh", "-c", nobody).out.strip() == "0"
        assert "podman-init" in engine.good(*ALONE, "--init", "busybox", "ps")
        script = "echo kept > /v/file; stat -c %u /v/file; touch /x 2>/dev/null || echo ro"
        flags = ("-v", "named:/v", "--read-only")
        assert engine.good(*ALONE, *flags, "busybox", "sh", "-c", script).split() == ["0", "ro"]
        assert engine.good(*ALONE, *flags, "busybox", "cat", "/v/file") == "kept"
    finally:
        engine.stop()


# --- docker -----------------------------------------------------------------------------------------------------


def test_docker_run(docker: Docker):
    result = docker(*ALONE, "busybox", "sh", "-c", "id; grep Seccomp: /proc/self/status; exit 7")
    assert result.code == 7, result
    assert "uid=0(root) gid=0(root) groups=0(root)" in result.out
    assert docker(*ALONE, "busybox", "nope").code == 127
    assert docker(*ALONE, "busybox", "/etc").code == 126
    assert docker.good(*ALONE, "-t", "busybox", "tty").strip() == "/dev/pts/0"
    assert docker(*ALONE, "-i", "busybox", "cat", stdin="fed\n").good() == "fed"


def test_docker_life(docker: Docker):
    docker.good("run", "-d", "--name", "life", "--network", "none", "busybox", "sleep", "100")
    try:
        assert docker.good("exec", "life", "echo", "hi") == "hi"
        assert docker("exec", "life", "sh", "-c", "exit 3").code == 3
        assert docker("exec", "life", "nope").code in (126, 127)
        assert docker.good("exec", "-t", "life", "tty").strip() == "/dev/pts/0"
        docker.good("pause", "life")
        assert "(Paused)" in docker.good("ps")
        docker.good("unpause", "life")
        assert "life" in docker.good("stats", "--no-stream")
        assert "sleep 100" in docker.good("top", "life")
        docker.good("update", "--memory", "64m", "--memory-swap", "64m", "life")
        docker.good("stop", "--time", "0", "life")
        docker.good("start", "life")
        docker.good("restart", "--time", "0", "life")
        docker.good("kill", "life")
        docker.good("wait", "life")
        assert docker.good("inspect", "-f", "{{.State.ExitCode}} {{.HostConfig.Runtime}}", "life") == "137 judged"
    finally:
        docker("rm", "--force", "life")


def test_docker_options(docker: Docker):
    script = "pwd; id -u; id -g; touch /x 2>/dev/null || echo ro; touch /v/x && echo rw"
    flags = ("--read-only", "--tmpfs", "/t", "-v", "vol:/v", "-w", "/new", "-u", "0:2")
    assert docker.good(*ALONE, *flags, "busybox", "sh", "-c", script).split() == ["/new", "0", "2", "ro", "rw"]
    assert "docker-init" in docker.good(*ALONE, "--init", "busybox", "ps")
    assert "CapEff" in docker.good(*ALONE, "--privileged", "busybox", "grep", "CapEff", "/proc/self/status")
    flags = ("--memory", "16m", "--memory-swap", "16m")
    assert docker(*ALONE, *flags, "busybox", "dd", "if=/dev/zero", "of=/dev/shm/x", "bs=1M", "count=50").code == 137


def test_docker_health_and_users(docker: Docker):
    health = ("--health-cmd", "test -e /healthy", "--health-interval", "1s", "--health-retries", "1")
    docker.good("run", "-d", "--name", "health", "--network", "none", *health, "busybox", "sleep", "100")
    try:
        docker.good("exec", "health", "touch", "/healthy")
        deadline = time.monotonic() + 20
        while docker.good("inspect", "-f", "{{.State.Health.Status}}", "health") != "healthy":
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert docker.good(
            "exec", "-u", "7:8", "-w", "/tmp", "-e", "A=b", "health", "sh", "-c", "id -u; pwd; echo $A"
        )
    finally:
        docker("rm", "--force", "health")


def test_docker_many_at_once(docker: Docker):
    names = [f"m{number}" for number in range(6)]
    try:
        for name in names:
            docker.good("run", "-d", "--name", name, "--network", "none", "busybox", "sleep", "100")
        assert len(docker.good("ps", "-q").split()) == len(names)
    finally:
        docker.good("rm", "--force", *names)


# --- containerd -------------------------------------------------------------------------------------------------


def test_containerd_run(containerd: Containerd):
    result = containerd.run("r1", "sh", "-c", "id -u; exit 7")
    assert (result.code, result.out) == (7, "0\n")
    containerd.run("r2", "nope").failed(1, 'OCI runtime create failed: .*exec: "nope": executable file not found')
    containerd("container", "rm", "r2")
    flags = ("--rm", "--read-only", "--seccomp", "--memory-limit", "20000000")
    result = containerd.run(
        "r3", "sh", "-c", "touch /x 2>/dev/null || echo ro; grep Seccomp: /proc/self/status", flags=flags
    )
    assert result.good().split() == ["ro", "Seccomp:", "2"]
    assert containerd.run("r4", "tty", flags=("--rm",)).code == 1


def test_containerd_life(containerd: Containerd):
    containerd.run("life", "sleep", "100", flags=("--detach",)).good()
    try:
        assert "RUNNING" in containerd.good("task", "ls")
        result = containerd("task", "exec", "--exec-id", "e", "life", "sh", "-c", "echo hi; exit 3")
        assert (result.code, result.out) == (3, "hi\n")
        containerd.good("task", "exec", "--detach", "--exec-id", "d", "life", "sleep", "50")
        assert containerd.good("task", "ps", "life").count("\n") == 2
        containerd.good("task", "kill", "--exec-id", "d", "--signal", "SIGKILL", "life")
        containerd.good("task", "pause", "life")
        assert "PAUSED" in containerd.good("task", "ls")
        containerd.good("task", "resume", "life")
        assert "pids.current" in containerd.good("task", "metrics", "life")
        assert len(json.dumps(containerd.good("task", "ps", "life"))) > 10
    finally:
        containerd("task", "kill", "--signal", "SIGKILL", "life")
        deadline = time.monotonic() + 10
        while "STOPPED" not in containerd("task", "ls").out and time.monotonic() < deadline:
            time.sleep(0.05)
        containerd("task", "rm", "life")
        containerd.good("container", "rm", "life")
