"""Every property of config.json on a real container: hooks, namespaces by path, mounts, placement, notifications."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import threading
import time
from typing import Any

import pytest

from kit.bundle import Bundle, Runtime, words

HOOKS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


def hook(log: str, kind: str, extra: str = "", **how: Any) -> dict[str, Any]:
    """A hook that notes its name and the state it reads."""
    script = f'read -r state; echo "{kind} $state" >> {log}; {extra}'
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"], **how}


# --- hooks ------------------------------------------------------------------------------------------------------


@pytest.mark.spec("config#hooks.prestart-first", "config#hooks.createContainer-after")
def test_hooks_run_in_order_with_the_state(runtime: Runtime):
    bundle = runtime.bundle()
    log = os.path.join(bundle.folder, "log")
    with open(log, "w"):
        os.chmod(log, 0o666)
    bundle.config["annotations"] = {"key": "value"}
    bundle.config["mounts"].append({"destination": "/log", "source": log, "type": "bind", "options": ["bind"]})
    bundle.config["hooks"] = {kind: [hook(log, kind)] for kind in HOOKS}
    bundle.config["hooks"]["startContainer"] = [hook("/log", "startContainer")]
    name = runtime.create(bundle, "sh", "-c", "echo program >> /log")
    pid = runtime.state(name)["pid"]
    before = _lines(log)
    assert [line[0] for line in before] == ["prestart", "createRuntime", "createContainer"]
    for _, state in before:
        assert (state["id"], state["status"], state["bundle"]) == (name, "creating", bundle.folder)
        assert state["annotations"] == {"key": "value"}
        assert state["ociVersion"] == "1.2.0"
    assert before[0][1]["pid"] == before[1][1]["pid"] == pid
    runtime.good("start", name)
    _await_stopped(runtime, name)
    runtime.good("delete", name)
    names = [line[0] for line in _lines(log)]
    assert names[:3] == ["prestart", "createRuntime", "createContainer"]
    assert names[3] == "startContainer"
    assert sorted(names[4:6]) == ["poststart", "program"]
    assert names[6] == "poststop"
    states = {line[0]: line[1] for line in _lines(log) if line[1]}
    assert states["startContainer"]["status"] == "created"
    assert states["poststart"]["status"] == "running"
    assert states["poststop"]["status"] == "stopped"


def _lines(path: str) -> list[tuple[str, dict[str, Any]]]:
    found = []
    with open(path) as stream:
        for line in stream:
            name, _, state = line.strip().partition(" ")
            found.append((name, json.loads(state) if state else {}))
    return found


def test_namespaces_of_hooks(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    script = "readlink /proc/self/ns/mnt /proc/self/ns/net >> {}; cat /proc/mounts >> {}"
    logs = {kind: os.path.join(bundle.folder, kind) for kind in ("createRuntime", "createContainer")}
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script.format(log, log)], "env": ["PATH=/bin:/usr/bin"]}]
        for kind, log in logs.items()
    }
    root_runtime.create(bundle, "true")
    texts = {kind: open(log).read().split() for kind, log in logs.items()}
    own = [os.readlink("/proc/self/ns/mnt"), os.readlink("/proc/self/ns/net")]
    assert texts["createRuntime"][:2] == own
    assert texts["createContainer"][0] != own[0]
    assert texts["createContainer"][1] != own[1]


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer"])
@pytest.mark.spec("runtime#lifecycle.prestart-fails", "runtime#lifecycle.createRuntime-fails")
@pytest.mark.spec("runtime#lifecycle.createContainer-fails")
def test_failing_hook_ends_the_creation_and_poststop_runs(root_runtime: Runtime, kind: str):
    bundle = root_runtime.bundle()
    log = os.path.join(bundle.folder, "log")
    second = hook(log, "second")
    bundle.config["hooks"] = {kind: [hook(log, kind, "echo too bad >&2; exit 3"), second]}
    bundle.config["hooks"]["poststop"] = [hook(log, "poststop")]
    result = root_runtime("create", "-b", bundle.save("true").folder, "failing")
    result.failed(1, f"error running {kind} hook #0 .*exit status 3: too bad")
    assert not os.path.exists(os.path.join(root_runtime.root, "failing"))
    assert [line[0] for line in _lines(log)] == [kind, "poststop"]


@pytest.mark.spec("runtime#lifecycle.startContainer-fails", "runtime#lifecycle.poststart-fails")
def test_failing_start_hooks(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    name = root_runtime.create(bundle, "sh", "-c", "echo ran > /tmp/ran")
    root_runtime("start", name).failed(1, "error running startContainer hook #0 .*exit status 1")
    assert not os.path.exists(bundle.path("/tmp/ran"))
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/false"}]}
    name = root_runtime.create(bundle, "sleep", "100")
    root_runtime("start", name).failed(1, "error running poststart hook #0")
    _await_stopped(root_runtime, name)


@pytest.mark.spec("runtime#lifecycle.poststop-fails", "runtime#warnings.go-on")
def test_failing_poststop_hook_is_a_warning(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    log = os.path.join(bundle.folder, "log")
    bundle.config["hooks"] = {"poststop": [{"path": "/bin/false"}, hook(log, "poststop")]}
    name = root_runtime.create(bundle, "true")
    result = root_runtime("delete", "--force", name)
    assert result.code == 0
    assert "poststop hook #0" in result.err
    assert [line[0] for line in _lines(log)] == ["poststop"]


def test_hook_timeout(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1}]}
    began = time.monotonic()
    result = root_runtime("create", "-b", bundle.save("true").folder, "slow")
    result.failed(1, "createRuntime hook #0 .*did not end within 1 seconds")
    assert time.monotonic() - began < 10


def test_hook_environment_is_its_own(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    log = os.path.join(bundle.folder, "log")
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/usr/bin/env", "args": ["env"]}, hook(log, "x", 'env >> "$LOG"', timeout=5)]
    }
    bundle.config["hooks"]["createRuntime"][1]["env"] = [f"LOG={log}", "PATH=/usr/bin:/bin"]
    root_runtime.create(bundle, "true")
    with open(log) as stream:
        text = stream.read()
    assert f"LOG={log}" in text
    assert "HOME=" not in text


# --- namespaces -------------------------------------------------------------------------------------------------


@pytest.mark.spec("config-linux#namespaces.path-entered")
def test_joining_the_namespaces_of_another_container(root_runtime: Runtime):
    first = root_runtime.started(root_runtime.bundle())
    pid = root_runtime.state(first)["pid"]
    kinds = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts"}
    bundle = root_runtime.bundle()
    del bundle.config["hostname"]
    for namespace in bundle.config["linux"]["namespaces"]:
        if namespace["type"] in kinds:
            namespace["path"] = f"/proc/{pid}/ns/{kinds[namespace['type']]}"
    script = (
        "busybox hostname; ps | grep -c 'sleep 100'; for n in net ipc uts pid; do readlink /proc/self/ns/$n; done"
    )
    out = words(root_runtime.run(bundle, "sh", "-c", script))
    assert out[0] == "box"
    assert int(out[1]) >= 1
    assert out[2:] == [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "ipc", "uts", "pid")]


def test_joining_a_user_namespace(runtime: Runtime):
    other = runtime.bundle()
    if runtime.user is None:
        _map_ids(other)
    first = runtime.started(other)
    pid = runtime.state(first)["pid"]
    bundle = runtime.bundle()
    linux = bundle.config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
    linux["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})
    linux.pop("uidMappings", None)
    linux.pop("gidMappings", None)
    out = words(runtime.run(bundle, "sh", "-c", "id -u; readlink /proc/self/ns/user"))
    assert out == ["0", os.readlink(f"/proc/{pid}/ns/user")]


def test_new_user_namespace_in_a_network_of_the_host(root_runtime: Runtime):
    """podman's case: the network namespace was made outside of the new user namespace, which has no right over it."""
    holder = subprocess.Popen(["unshare", "--net", "sleep", "60"])
    try:
        path = f"/proc/{holder.pid}/ns/net"
        _await(lambda: os.readlink(path) != os.readlink("/proc/self/ns/net"))
        bundle = root_runtime.bundle()
        _map_ids(bundle)
        bundle.config["linux"]["namespaces"][1]["path"] = path
        out = words(root_runtime.run(bundle, "sh", "-c", "id -u; readlink /proc/self/ns/net"))
        assert out == ["0", os.readlink(path)]
    finally:
        holder.kill()
        holder.wait()


@pytest.mark.spec("config-linux#namespaces.path-kind")
def test_wrong_namespace_paths(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    for path, pattern in (
        ("/nonexistent", "No such file"),
        ("/proc/self/ns/net", "is no pid namespace"),
        ("/etc/passwd", "is no pid namespace"),
    ):
        bundle.config["linux"]["namespaces"][0]["path"] = path
        root_runtime("create", "-b", bundle.save("true").folder, "x").failed(1, pattern)


def test_time_offsets(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["linux"]["namespaces"].append({"type": "time"})
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 1000000}, "monotonic": {"secs": 5, "nanosecs": 7}}
    out = words(runtime.run(bundle, "sh", "-c", "head -c 20 /proc/uptime; echo; cat /proc/self/timens_offsets"))
    assert float(out[0]) > 1000000
    assert "1000000" in out
    name = runtime.started(bundle)
    assert float(words(runtime("exec", name, "cat", "/proc/uptime"))[0]) > 1000000


# --- mounts -----------------------------------------------------------------------------------------------------


def test_tmpcopyup(runtime: Runtime):
    bundle = runtime.bundle()
    os.makedirs(bundle.path("/data/sub"))
    with open(bundle.path("/data/sub/file"), "w") as stream:
        stream.write("content")
    os.symlink("sub/file", bundle.path("/data/link"))
    os.chmod(bundle.path("/data/sub/file"), 0o640)
    if runtime.user is not None:
        subprocess.run(["chown", "-hR", f"{runtime.user.uid}:{runtime.user.gid}", bundle.path("/data")], check=True)
    bundle.config["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["tmpcopyup", "ro"]}
    )
    script = "cat /data/link; echo; stat -c %a /data/sub/file; echo x > /data/new 2>/dev/null || echo refused"
    out = words(runtime.run(bundle, "sh", "-c", script))
    assert out == ["content", "640", "refused"]


@pytest.mark.spec("config#mounts.idmap-own-mapping")
def test_idmapped_mount(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    source = os.path.join(bundle.folder, "source")
    os.makedirs(source)
    with open(os.path.join(source, "file"), "w"):
        pass
    os.chown(os.path.join(source, "file"), 1000, 1001)
    mapping = [{"containerID": 1000, "hostID": 2000, "size": 10}]
    bundle.config["mounts"].append(
        {
            "destination": "/mapped",
            "source": source,
            "type": "bind",
            "options": ["bind", "idmap"],
            "uidMappings": mapping,
            "gidMappings": mapping,
        }
    )
    assert words(root_runtime.run(bundle, "stat", "-c", "%u %g", "/mapped/file")) == ["2000", "2001"]


def test_idmapped_mount_by_the_containers_own_map(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    _map_ids(bundle)
    source = os.path.join(bundle.folder, "source")
    os.makedirs(source)
    os.chown(source, 7, 8)
    bundle.config["mounts"].append(
        {"destination": "/mapped", "source": source, "type": "bind", "options": ["rbind", "ridmap"]}
    )
    assert words(root_runtime.run(bundle, "stat", "-c", "%u %g", "/mapped")) == ["7", "8"]


def test_mount_attributes(runtime: Runtime):
    bundle = runtime.bundle()
    source = os.path.join(bundle.folder, "source")
    os.makedirs(source)
    for name, options in (
        ("a", ["bind", "ro", "nosuid", "nodev", "noexec"] + ([] if runtime.user else ["noatime"])),
        ("b", ["rbind", "rro"]),
        ("c", ["bind", "rslave"]),
        ("d", ["bind", "rshared"]),
    ):
        bundle.config["mounts"].append(
            {"destination": f"/{name}", "source": source, "type": "bind", "options": options}
        )
    result = runtime.run(bundle, "sh", "-c", "cat /proc/self/mountinfo")
    lines = {line.split()[4]: line.split() for line in result.good().splitlines()}
    assert {"ro", "nosuid", "nodev", "noexec"} <= set(lines["/a"][5].split(","))
    # An ordinary user may not change the access times of a mount that is the host's (mount_namespaces(7)).
    assert runtime.user or "noatime" in lines["/a"][5].split(",")
    assert "ro" in lines["/b"][5].split(",")
    assert any(word.startswith("shared:") for word in lines["/d"])
    assert not any(word.startswith("shared:") for word in lines["/a"])


def test_read_only_root_and_dev(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["root"]["readonly"] = True
    bundle.config["mounts"][1]["options"].append("ro")
    script = (
        "touch /x 2>/dev/null || echo root; touch /dev/x 2>/dev/null || echo dev; echo y > /dev/null && echo null"
    )
    assert words(runtime.run(bundle, "sh", "-c", script)) == ["root", "dev", "null"]


@pytest.mark.parametrize(
    ("propagation", "wanted"), [("private", "-"), ("slave", "-"), ("shared", "shared"), ("unbindable", "unbindable")]
)
def test_rootfs_propagation(root_runtime: Runtime, propagation: str, wanted: str):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["rootfsPropagation"] = propagation
    out = root_runtime.run(
        bundle, "sh", "-c", "grep ' / / ' /proc/self/mountinfo || head -1 /proc/self/mountinfo"
    ).good()
    optional = out.split(" - ")[0].split()[6:]
    assert [one.partition(":")[0] for one in optional] == ([] if wanted == "-" else [wanted])


def test_cgroup_mount(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["mounts"].append(
        {
            "destination": "/sys/fs/cgroup",
            "type": "cgroup",
            "source": "cgroup",
            "options": ["nosuid", "noexec", "nodev", "ro"],
        }
    )
    out = root_runtime.run(bundle, "sh", "-c", "ls /sys/fs/cgroup; cat /proc/self/cgroup; touch /sys/fs/cgroup/x").out
    names = set(out.split())
    if os.path.isdir("/sys/fs/cgroup/memory"):
        assert {"memory", "pids", "freezer"} <= names
    assert all(line.endswith(":/") for line in out.splitlines() if re.match(r"\d+:", line))


# --- the process ------------------------------------------------------------------------------------------------


def test_personality_and_io_priority_and_scheduler(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    bundle.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 5}
    bundle.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    script = "busybox uname -m; busybox ionice; busybox cut -d' ' -f19,41 /proc/self/stat"
    out = root_runtime.run(bundle, "sh", "-c", script).out.split("\n")
    assert out[0] == ("i686" if os.uname().machine == "x86_64" else "armv8l")
    assert "best-effort: prio 5" in out[1]
    assert out[2] == "7 3"


@pytest.mark.spec("config-linux#memoryPolicy.set")
def test_memory_policy(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["memoryPolicy"] = {"mode": "MPOL_BIND", "nodes": "0"}
    result = root_runtime.run(bundle, "sh", "-c", "head -1 /proc/self/numa_maps")
    if "No such file" in result.err:
        pytest.skip("this kernel has no NUMA memory policy")
    assert "bind:0" in result.good()


@pytest.mark.parametrize(
    ("where", "value", "pattern"),
    [
        ("process", {"scheduler": {"policy": "SCHED_NOPE"}}, "process.scheduler.policy"),
        ("process", {"scheduler": {"policy": "SCHED_OTHER", "priority": 3}}, "process.scheduler.priority"),
        ("process", {"ioPriority": {"class": "X"}}, "process.ioPriority.class"),
        ("process", {"ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 9}}, "from 0 to 7"),
        ("process", {"execCPUAffinity": {"initial": "0-x"}}, "execCPUAffinity.initial"),
        ("process", {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 5, "hard": 1}]}, "above the hard"),
        ("process", {"user": {"uid": 4294967295, "gid": 0}}, "process.user.uid"),
        ("process", {"apparmorProfile": "x"}, "AppArmor is not enabled"),
        ("process", {"selinuxLabel": "x"}, "SELinux is not enabled"),
        ("process", {"args": []}, "process.args"),
        ("linux", {"personality": {"domain": "BSD"}}, "linux.personality.domain"),
        ("linux", {"memoryPolicy": {"mode": "MPOL_NOPE"}}, "linux.memoryPolicy.mode"),
        ("linux", {"timeOffsets": {"boottime": {"secs": 1}}}, "needs a new time namespace"),
        ("linux", {"sysctl": {"kernel.panic": "1"}}, "linux.sysctl: kernel.panic"),
        ("linux", {"rootfsPropagation": "sideways"}, "linux.rootfsPropagation"),
        ("linux", {"mountLabel": "x"}, "SELinux is not enabled"),
        ("linux", {"uidMappings": [{"containerID": 0, "hostID": 0, "size": 1}]}, "needs a user namespace"),
        ("linux", {"namespaces": [{"type": "pid"}, {"type": "pid"}, {"type": "mount"}]}, "pid given twice"),
        ("", {"hooks": {"poststart": [{"path": "x"}]}}, r"hooks.poststart\[0\].path"),
        ("", {"hooks": {"poststart": [{"path": "/x", "timeout": 0}]}}, "not above zero"),
    ],
)
@pytest.mark.spec("config#values.invalid", "config-linux#namespaces.twice")
@pytest.mark.spec("config-linux#memoryPolicy.invalid")
def test_refused_by_name(root_runtime: Runtime, where: str, value: dict[str, Any], pattern: str):
    bundle = root_runtime.bundle()
    (bundle.config[where] if where else bundle.config).update(value)
    with open(os.path.join(bundle.folder, "config.json"), "w") as stream:
        json.dump(bundle.config, stream)
    root_runtime("create", "-b", bundle.folder, "x").failed(1, pattern)
    assert not os.path.exists(os.path.join(root_runtime.root, "x"))


def test_exec_cpu_affinity(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["process"]["execCPUAffinity"] = {"initial": "0-1", "final": "1"}
    name = root_runtime.started(bundle)
    out = words(root_runtime("exec", name, "grep", "Cpus_allowed_list", "/proc/self/status"))
    assert out[1] == "1"
    assert "0-1" in root_runtime.good("exec", name, "grep", "Cpus_allowed_list", "/proc/1/status")


@pytest.mark.spec("config#process.capabilities-warn", "config#process.capabilities-go-on")
def test_unknown_and_unavailable_capabilities_are_warnings(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["process"]["capabilities"]["permitted"].append("CAP_FROM_THE_FUTURE")
    bundle.config["process"]["capabilities"]["ambient"] = ["CAP_KILL"]
    result = root_runtime.run(bundle, "grep", "CapAmb", "/proc/self/status")
    assert result.code == 0
    assert "CAP_KILL cannot be granted" in result.err
    assert "CAP_FROM_THE_FUTURE" in result.err


# --- notifications ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("no_new_privileges", [True, False])
def test_seccomp_notification_reaches_the_agent(root_runtime: Runtime, no_new_privileges: bool):
    bundle = root_runtime.bundle()
    path = os.path.join(bundle.folder, "agent")
    agent = _Agent(path)
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "listenerPath": path,
        "listenerMetadata": "meta",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }
    bundle.save(noNewPrivileges=no_new_privileges)
    result = root_runtime.run(bundle, "mkdir", "/tmp/made")
    agent.thread.join(5)
    assert "File too large" in result.err  # the agent's answer
    assert agent.state["metadata"] == "meta"
    assert agent.state["fds"] == ["seccompFd"]
    assert agent.state["state"]["status"] == "creating"
    assert agent.state["pid"] == agent.state["state"]["pid"]


class _Agent:
    """Takes one listener, answers its first call with EFBIG."""

    def __init__(self, path: str) -> None:
        self.state: dict[str, Any] = {}
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(20)
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        from atoll.linux import seccomp

        connection, _ = self._listener.accept()
        with connection, self._listener:
            data, fds, _, _ = socket.recv_fds(connection, 65536, 4)
            self.state = json.loads(data)
            try:
                call = seccomp.notif_recv(fds[0])
                seccomp.notif_send(fds[0], call.id, error=27)
            finally:
                os.close(fds[0])


def test_notification_without_an_agent_is_refused(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    rule = {"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    root_runtime("create", "-b", bundle.save("true").folder, "x").failed(1, "listenerPath")
    rule["names"] = ["sendmsg"]
    bundle.config["linux"]["seccomp"]["listenerPath"] = "/x"
    root_runtime("create", "-b", bundle.save("true").folder, "x").failed(1, "sendmsg cannot notify")


# --- resources --------------------------------------------------------------------------------------------------


def test_update_and_events(root_runtime: Runtime):
    name = root_runtime.started(root_runtime.bundle())
    root_runtime.good("update", "--memory", "64m", "--pids-limit", "20", "--cpu-share", "512", name)
    stats = json.loads(root_runtime.good("events", "--stats", name))
    assert (stats["type"], stats["id"]) == ("stats", name)
    assert stats["data"]["memory"]["usage"]["limit"] == 64 << 20
    assert stats["data"]["pids"] == {"current": 1, "limit": 20}
    document = json.dumps({"pids": {"limit": 30}})
    root_runtime.good("update", "--resources", "-", name, stdin=document)
    assert json.loads(root_runtime.good("events", "--stats", name))["data"]["pids"]["limit"] == 30
    root_runtime("update", "--memory", "lots", name).failed(1, "invalid value")


def test_events_tell_of_out_of_memory(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["resources"] = {"memory": {"limit": 16 << 20, "swap": 16 << 20}}
    name = root_runtime.create(bundle, "sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=64")
    child = root_runtime.popen("events", "--interval", "60s", name)
    time.sleep(0.5)
    root_runtime.good("start", name)
    out, err = child.communicate(timeout=20)
    assert child.returncode == 0, err
    assert {"type": "oom", "id": name} in [json.loads(line) for line in out.splitlines()]


# --- helpers ----------------------------------------------------------------------------------------------------


def _map_ids(bundle: Bundle) -> None:
    """A map of ids far from root's, with a root that belongs to them."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        linux[key] = [{"containerID": 0, "hostID": 300000, "size": 65536}]
    subprocess.run(["chown", "-R", "300000:300000", bundle.rootfs], check=True)


def _await(condition: Any, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def _await_stopped(runtime: Runtime, name: str) -> None:
    _await(lambda: runtime.state(name)["status"] == "stopped")
