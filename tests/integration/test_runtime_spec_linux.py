"""The runtime-spec's config-linux.md, word by word: what other tests do not show already.

`tests/validation/requirements.txt` lists the requirements, `docs/runtime-spec.md` which test shows which. Cgroups are
shown on this machine's hierarchies; `test_cgroups.py` runs on pure v2 as well.
"""

from __future__ import annotations

import json
import os
import socket
import stat
import subprocess
import threading
from typing import Any

import pytest

from integration.test_runtime_spec import refused
from kit.bundle import Bundle, Runtime, words
from kit.sandbox import cgroup_mounts

KINDS = {
    "pid": "pid",
    "network": "net",
    "mount": "mnt",
    "ipc": "ipc",
    "uts": "uts",
    "cgroup": "cgroup",
    "time": "time",
}


def namespaces(bundle: Bundle, *kinds: str) -> None:
    """Only these kinds, and the mount namespace."""
    bundle.config["linux"]["namespaces"] = [{"type": kind} for kind in dict.fromkeys(["mount", *kinds])]
    if "uts" not in kinds:
        bundle.config.pop("hostname", None)
    # A sysfs or mqueue of one's own needs the network or ipc namespace that it shows.
    bundle.config["mounts"] = [m for m in bundle.config["mounts"] if m["type"] not in ("sysfs", "mqueue")]


def mapped(bundle: Bundle, first: int = 300000) -> None:
    """A user namespace far from root's ids, with a root that belongs to it."""
    bundle.config["linux"]["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        bundle.config["linux"][key] = [{"containerID": 0, "hostID": first, "size": 65536}]
    subprocess.run(["chown", "-R", f"{first}:{first}", bundle.rootfs], check=True)


# --- namespaces -------------------------------------------------------------------------------------------------


@pytest.mark.spec("config-linux#namespaces.new", "config-linux#namespaces.inherit")
def test_listed_kinds_are_new_and_others_inherited(root_runtime: Runtime):
    """Each kind alone: it is new, and every other is the runtime's own."""
    ours = {kind: os.readlink(f"/proc/self/ns/{name}") for kind, name in KINDS.items()}
    script = "for n in pid net mnt ipc uts cgroup time; do readlink /proc/self/ns/$n; done"
    for kind in [kind for kind in KINDS if kind != "mount"]:
        bundle = root_runtime.bundle()
        namespaces(bundle, kind)
        bundle.config["linux"]["maskedPaths"] = bundle.config["linux"]["readonlyPaths"] = []
        out = dict(zip(KINDS, words(root_runtime.run(bundle, "sh", "-c", script)), strict=True))
        changed = {name for name in KINDS if out[name] != ours[name]}
        assert changed == {kind, "mount"}


@pytest.mark.spec("config-linux#namespaces.path-absolute", "config-linux#namespaces.path-kind")
def test_paths_of_namespaces(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    entry = bundle.config["linux"]["namespaces"][0]
    for path, pattern in (
        ("proc/self/ns/pid", "absolute"),
        ("/proc/self/ns/net", "is no pid namespace"),
        ("/proc/self/ns/pid_none", "No such file"),
        ("/dev/null", "is no pid namespace"),
    ):
        entry["path"] = path
        refused(root_runtime, bundle, pattern)


@pytest.mark.spec("config-linux#user.ownership")
def test_a_mapping_changes_no_owner(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    mapped(bundle)
    os.chown(bundle.path("/etc"), 0, 0)
    before = [(path, os.lstat(path).st_uid) for path, _, _ in os.walk(bundle.rootfs)]
    assert words(root_runtime.run(bundle, "stat", "-c", "%u", "/bin", "/etc")) == ["0", "65534"]
    assert [(path, os.lstat(path).st_uid) for path, _ in before] == before


# --- devices ----------------------------------------------------------------------------------------------------


@pytest.mark.spec("config-linux#devices.available", "config-linux#devices.numbers")
def test_devices(root_runtime: Runtime):
    """Each type, anywhere, with its owner and mode; the same from a user namespace, where the host's are bound."""
    bundle = root_runtime.bundle()
    bundle.config["linux"]["devices"] = [
        {"path": "/dev/my-null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 4, "gid": 5},
        {"path": "/etc/out/side", "type": "u", "major": 1, "minor": 5},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 200},
    ]
    script = "stat -c '%F %t:%T %a %u %g' /dev/my-null /etc/out/side /dev/pipe /dev/block"
    assert root_runtime.run(bundle, "sh", "-c", script).good().splitlines() == [
        "character special file 1:3 640 4 5",
        "character special file 1:5 666 0 0",
        "fifo 0:0 600 0 0",
        "block special file 7:c8 666 0 0",
    ]
    bundle.config["linux"]["devices"] = [{"path": "/dev/x", "type": "c"}]
    refused(root_runtime, bundle, "major")
    bundle.config["linux"]["devices"] = [{"path": "/dev/x", "type": "x", "major": 1, "minor": 3}]
    refused(root_runtime, bundle, "type")


@pytest.mark.spec("config-linux#devices.mismatch")
@pytest.mark.parametrize("kind", ["file", "directory", "link", "device"])
def test_something_else_where_a_device_is_to_be(root_runtime: Runtime, kind: str):
    bundle = root_runtime.bundle()
    place = bundle.path("/etc/node")
    if kind == "directory":
        os.makedirs(place)
    elif kind == "link":
        os.symlink("/dev/null", place)
    elif kind == "device":
        os.mknod(place, stat.S_IFCHR | 0o666, os.makedev(1, 5))
    else:
        with open(place, "w"):
            pass
    bundle.config["linux"]["devices"] = [{"path": "/etc/node", "type": "c", "major": 1, "minor": 3}]
    refused(root_runtime, bundle, "/etc/node")


@pytest.mark.spec("config-linux#devices.default")
def test_default_devices(runtime: Runtime):
    bundle = runtime.bundle()
    script = (
        "cd /dev; stat -c '%n %t:%T' null zero full random urandom tty; readlink ptmx; [ -e console ] || echo none"
    )
    assert runtime.run(bundle, "sh", "-c", script).good().splitlines() == [
        *("null 1:3", "zero 1:5", "full 1:7", "random 1:8", "urandom 1:9", "tty 5:0"),
        *("pts/ptmx", "none"),
    ]
    bundle.save("sh", "-c", "stat -c %t:%T /dev/console; stat -c %t:%T /dev/pts/0", terminal=True)
    out = words(runtime("run", "-b", bundle.folder, runtime.new_id()))
    assert out[0] == out[1]


# --- cgroups ----------------------------------------------------------------------------------------------------


def cgroups_of(pid: int) -> dict[str, str]:
    """Hierarchy → path of a process."""
    with open(f"/proc/{pid}/cgroup") as stream:
        return {line.split(":")[1]: line.strip().split(":", 2)[2] for line in stream}


@pytest.mark.spec("config-linux#cgroupsPath.form", "config-linux#cgroupsPath.absolute")
@pytest.mark.spec("config-linux#cgroupsPath.consistent", "config-linux#cgroupsPath.invalid")
def test_cgroups_paths(root_runtime: Runtime):
    places: dict[str, list[dict[str, str]]] = {}
    for path in ("/atoll-spec/absolute", "atoll-spec-relative", "/atoll-spec/absolute", "atoll-spec-relative"):
        bundle = root_runtime.bundle()
        bundle.config["linux"]["cgroupsPath"] = path
        name = root_runtime.started(bundle)
        places.setdefault(path, []).append(cgroups_of(root_runtime.state(name)["pid"]))
        root_runtime.good("delete", "--force", name)
    for path, (first, second) in places.items():
        assert first == second
        assert all(place.endswith(path) for place in first.values()), first
    mount = dict(cgroup_mounts())
    assert all(place == "/atoll-spec/absolute" for place in places["/atoll-spec/absolute"][0].values())
    for top in mount.values():
        assert not os.path.exists(f"{top}/atoll-spec/absolute")
        if os.path.isdir(f"{top}/atoll-spec"):
            os.rmdir(f"{top}/atoll-spec")
    bundle = root_runtime.bundle()
    for path in ("/../escape", "a/../../b", "a\nb", "/a\0b"):
        bundle.config["linux"]["cgroupsPath"] = path
        refused(root_runtime, bundle, "cgroup")


@pytest.mark.spec("config-linux#cgroups.unfit")
def test_a_cgroup_in_use_is_refused(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["cgroupsPath"] = "atoll-spec-shared"
    name = root_runtime.started(bundle)
    other = root_runtime.bundle()
    other.config["linux"]["cgroupsPath"] = "atoll-spec-shared"
    refused(root_runtime, other, "holds 1 processes")
    assert root_runtime.state(name)["status"] == "running"


@pytest.mark.spec("config-linux#cgroup-ownership.v1")
def test_no_owner_of_a_v1_cgroup_changes(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    mapped(bundle)
    bundle.config["mounts"].append(
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["rw"]}
    )
    bundle.config["linux"]["cgroupsPath"] = "/atoll-spec-owned"
    root_runtime.started(bundle)
    checked = 0
    for _, top in cgroup_mounts():
        for folder, _, files in os.walk(f"{top}/atoll-spec-owned"):
            for path in [folder, *(os.path.join(folder, name) for name in files)]:
                assert os.stat(path).st_uid == 0, path
                checked += 1
    assert checked > 10


@pytest.mark.spec("config-linux#allowed-devices.order")
def test_device_rules_in_their_order(root_runtime: Runtime):
    """The last that fits decides."""
    bundle = root_runtime.bundle()
    node = {"path": "/dev/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666}
    bundle.config["linux"]["devices"] = [node]
    deny_all = {"allow": False, "access": "rwm"}
    allow = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "r"}
    deny = {"allow": False, "type": "c", "major": 10, "minor": 200, "access": "r"}
    script = "(: < /dev/tun) 2>/dev/null && echo allowed || echo denied"
    for rules, wanted in (
        ([deny_all], "denied"),
        ([deny_all, allow], "allowed"),
        ([allow, deny_all], "denied"),
        ([deny_all, allow, deny], "denied"),
        ([deny_all, deny, allow], "allowed"),
    ):
        bundle.config["linux"]["resources"] = {"devices": rules}
        assert words(root_runtime.run(bundle, "sh", "-c", script)) == [wanted], rules


@pytest.mark.spec("config-linux#memory.check-before-update")
def test_a_limit_below_what_is_in_use_is_refused(root_runtime: Runtime):
    name = root_runtime.started(
        root_runtime.bundle(), "sh", "-c", "dd if=/dev/zero of=/dev/shm/x bs=1M count=20 2>/dev/null; sleep 100"
    )
    usage = 0
    while usage < 20 << 20:
        usage = json.loads(root_runtime.good("events", "--stats", name))["data"]["memory"]["usage"]["usage"]
    document = json.dumps({"memory": {"limit": 8 << 20, "checkBeforeUpdate": True}})
    root_runtime("update", "--resources", "-", name, stdin=document).failed(1, "memory")
    assert root_runtime.state(name)["status"] == "running"


@pytest.mark.spec("config-linux#cpu.burst")
def test_a_burst_above_the_quota_is_refused(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["resources"] = {"cpu": {"quota": 10000, "burst": 20000}}
    refused(root_runtime, bundle, "linux.resources.cpu")


@pytest.mark.spec("config-linux#unified.absent-controller")
def test_a_unified_setting_of_an_absent_controller_is_refused(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["resources"] = {"unified": {"nosuch.max": "1"}}
    refused(root_runtime, bundle, r"unified\[nosuch.max\]")


@pytest.mark.spec("config-linux#intelRdt.untouched")
def test_no_resctrl_is_touched_unasked(root_runtime: Runtime):
    """Of all files that are opened, made or written in a run, none is of a resctrl."""
    bundle = root_runtime.bundle().save("true")
    log = os.path.join(bundle.folder, "calls")
    trace = ["strace", "-f", "-qq", "-o", log, "-e", "trace=open,openat,openat2,mkdir,mkdirat", root_runtime.program]
    assert root_runtime("run", "-b", bundle.folder, root_runtime.new_id(), before=trace).code == 0
    with open(log) as stream:
        text = stream.read()
    assert "config.json" in text
    assert "resctrl" not in text


# --- seccomp ----------------------------------------------------------------------------------------------------


@pytest.mark.spec("config-linux#seccomp.errno-action", "config-linux#seccomp.names")
@pytest.mark.spec("config-linux#seccomp.listener-metadata")
@pytest.mark.parametrize(
    ("change", "pattern"),
    [
        ({"syscalls": [{"names": [], "action": "SCMP_ACT_ERRNO"}]}, "names"),
        ({"syscalls": [{"action": "SCMP_ACT_ERRNO"}]}, "names"),
        ({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 5}]}, "errno"),
        ({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_LOG", "errnoRet": 5}]}, "errno"),
        ({"defaultAction": "SCMP_ACT_ALLOW", "defaultErrnoRet": 5}, "errno"),
        ({"listenerMetadata": "x"}, "listenerMetadata"),
        ({"defaultAction": "SCMP_ACT_WISH"}, "SCMP_ACT_WISH"),
        ({"architectures": ["SCMP_ARCH_PDP11"]}, "SCMP_ARCH_PDP11"),
        ({"flags": ["SECCOMP_FILTER_FLAG_WISH"]}, "SECCOMP_FILTER_FLAG_WISH"),
    ],
)
def test_filters_that_cannot_be(root_runtime: Runtime, change: dict[str, Any], pattern: str):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **change}
    refused(root_runtime, bundle, pattern)


class Agents:
    """Takes every connection to its socket: what was read until its end, and how many descriptors with which part."""

    def __init__(self, path: str) -> None:
        self.seen: list[list[tuple[bytes, int]]] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(8)
        self._listener.settimeout(0.2)
        self._over = threading.Event()
        self.thread = threading.Thread(target=self._serve)
        self.thread.start()

    def _serve(self) -> None:
        with self._listener:
            while not self._over.is_set():
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    continue
                parts: list[tuple[bytes, int]] = []
                with connection:
                    connection.settimeout(10)
                    while not parts or parts[-1][0]:
                        data, fds, _, _ = socket.recv_fds(connection, 65536, 8)
                        parts.append((data, len(fds)))
                        for fd in fds:
                            os.close(fd)  # nobody answers: the call fails with ENOSYS
                self.seen.append(parts)

    def stop(self) -> None:
        """No more connections."""
        self._over.set()
        self.thread.join()


@pytest.mark.spec("config-linux#seccomp.listener-socket", "config-linux#seccomp.listener-once")
@pytest.mark.spec("config-linux#seccomp.state-form", "config-linux#seccomp.state-first")
def test_each_state_has_a_connection_of_its_own(root_runtime: Runtime):
    """create and exec each connect once, send one document with the descriptor in its first part, and close."""
    bundle = root_runtime.bundle()
    path = os.path.join(bundle.folder, "agent")
    agents = Agents(path)
    try:
        bundle.config["linux"]["seccomp"] = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "listenerPath": path,
            "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
        }
        name = root_runtime.started(bundle)
        assert root_runtime("exec", name, "true").code == 0
    finally:
        agents.stop()
    assert len(agents.seen) == 2
    for parts in agents.seen:
        assert [count for _, count in parts] == [1] + [0] * (len(parts) - 1)
        assert parts[-1][0] == b"", "closed by the runtime"
        state = json.loads(b"".join(data for data, _ in parts))
        assert (state["fds"], state["state"]["id"]) == (["seccompFd"], name)


@pytest.mark.spec("config-linux#seccomp.listener-failure")
def test_an_agent_that_is_not_there(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["linux"]["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "listenerPath": os.path.join(bundle.folder, "nobody"),
        "syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_NOTIFY"}],
    }
    refused(root_runtime, bundle, "nobody")


# --- paths ------------------------------------------------------------------------------------------------------


@pytest.mark.spec("config-linux#paths.masked-absolute", "config-linux#paths.readonly-absolute")
@pytest.mark.parametrize("key", ["maskedPaths", "readonlyPaths"])
def test_paths_are_absolute(root_runtime: Runtime, key: str):
    bundle = root_runtime.bundle()
    for path in ("proc/kcore", "", "../x"):
        bundle.config["linux"][key] = [path]
        refused(root_runtime, bundle, "absolute path")


def test_masked_and_read_only(runtime: Runtime):
    """A file, a directory and what is not there; below a read-only path other mounts stay as they are."""
    bundle = runtime.bundle()
    for name in ("dir/deep", "ro"):
        os.makedirs(bundle.path(name))
    for name in ("file", "dir/deep/file", "ro/file"):
        with open(bundle.path(name), "w") as stream:
            stream.write("secret\n")
    if runtime.user is not None:
        subprocess.run(["chown", "-R", f"{runtime.user.uid}:{runtime.user.gid}", bundle.rootfs], check=True)
    linux = bundle.config["linux"]
    linux["maskedPaths"] = ["/file", "/dir", "/not/there"]
    linux["readonlyPaths"] = ["/ro", "/not/there"]
    script = (
        "cat /file /dir/deep/file 2>/dev/null; ls /dir; touch /dir/x 2>/dev/null && echo W1;"
        " (echo x > /ro/file) 2>/dev/null && echo W2; rm /ro/file 2>/dev/null && echo W3; cat /ro/file"
    )
    assert runtime.run(bundle, "sh", "-c", script).out == "secret\n"
