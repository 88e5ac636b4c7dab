"""The validation programs on config-linux.md and runtime-linux.md; like `programs.py`, which has what they share."""

from __future__ import annotations

import os
import stat
import subprocess
from typing import Any

from kit.bundle import Bundle, Runtime
from validation.programs import Program, fails, inside, program, status

NAMES = {"pid": "pid", "network": "net", "ipc": "ipc", "uts": "uts", "cgroup": "cgroup", "mount": "mnt"}


def kinds(bundle: Bundle) -> dict[str, dict[str, Any]]:
    """The bundle's namespaces by type."""
    return {entry["type"]: entry for entry in bundle.config["linux"]["namespaces"]}


def mapped(bundle: Bundle) -> None:
    """A user namespace of its own, and a root that belongs to it."""
    linux = bundle.config["linux"]
    linux["namespaces"].append({"type": "user"})
    for key in ("uidMappings", "gidMappings"):
        linux[key] = [{"containerID": 0, "hostID": 300000, "size": 65536}]
    subprocess.run(["chown", "-R", "300000:300000", bundle.rootfs], check=True)


# --- namespaces -------------------------------------------------------------------------------------------------


@program
def linux_ns_nopath(runtime: Runtime) -> None:
    """Without a path each is new."""
    bundle = runtime.bundle()
    out = inside(runtime, bundle, "for n in pid net ipc uts cgroup mnt; do readlink /proc/self/ns/$n; done")
    assert not set(out) & {os.readlink(f"/proc/self/ns/{name}") for name in NAMES.values()}


@program
def linux_ns_path(runtime: Runtime) -> None:
    """With a path the container is in that one."""
    first = runtime.started(runtime.bundle())
    pid = runtime.state(first)["pid"]
    bundle = runtime.bundle()
    entries = kinds(bundle)
    for kind in ("network", "ipc", "pid"):
        entries[kind]["path"] = f"/proc/{pid}/ns/{NAMES[kind]}"
    out = inside(runtime, bundle, "for n in net ipc pid; do readlink /proc/self/ns/$n; done")
    assert out == [os.readlink(f"/proc/{pid}/ns/{name}") for name in ("net", "ipc", "pid")]


@program
def linux_ns_path_type(runtime: Runtime) -> None:
    """A path to another kind is an error."""
    bundle = runtime.bundle()
    kinds(bundle)["network"]["path"] = "/proc/self/ns/ipc"
    fails(runtime, bundle)


@program
def linux_ns_itype(runtime: Runtime) -> None:
    """A kind that is not listed is inherited."""
    bundle = runtime.bundle()
    linux = bundle.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "ipc"]
    bundle.config["mounts"] = [entry for entry in bundle.config["mounts"] if entry["type"] != "mqueue"]
    assert inside(runtime, bundle, "readlink /proc/self/ns/ipc") == [os.readlink("/proc/self/ns/ipc")]


@program
def linux_ns_twice(runtime: Runtime) -> None:
    """A kind listed twice is an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["namespaces"].append({"type": "ipc"})
    fails(runtime, bundle)


@program
def linux_ns_time(runtime: Runtime) -> None:
    """A time namespace with offsets."""
    bundle = runtime.bundle()
    bundle.config["linux"]["namespaces"].append({"type": "time"})
    bundle.config["linux"]["timeOffsets"] = {"boottime": {"secs": 5000000}}
    assert float(inside(runtime, bundle, "cat /proc/uptime")[0]) > 5000000


@program
def linux_uid_mappings(runtime: Runtime) -> None:
    """The map is the one asked for; no file changes its owner."""
    bundle = runtime.bundle()
    mapped(bundle)
    assert inside(runtime, bundle, "id -u; cat /proc/self/uid_map; stat -c %u /bin") == [
        "0",
        "0",
        "300000",
        "65536",
        "0",
    ]
    assert os.stat(bundle.path("/bin")).st_uid == 300000


@program
def linux_gid_mappings(runtime: Runtime) -> None:
    """The same for groups."""
    bundle = runtime.bundle()
    mapped(bundle)
    assert inside(runtime, bundle, "id -g; cat /proc/self/gid_map") == ["0", "0", "300000", "65536"]


# --- devices, paths, labels -------------------------------------------------------------------------------------


@program
def linux_devices(runtime: Runtime) -> None:
    """Each kind, with mode and owner, anywhere."""
    bundle = runtime.bundle()
    bundle.config["linux"]["devices"] = [
        {"path": "/dev/one", "type": "c", "major": 1, "minor": 3, "fileMode": 0o640, "uid": 4, "gid": 5},
        {"path": "/etc/two", "type": "b", "major": 7, "minor": 9, "fileMode": 0o600},
        {"path": "/dev/three", "type": "p", "fileMode": 0o600},
    ]
    out = inside(runtime, bundle, "stat -c '%t:%T:%a:%u:%g' /dev/one /etc/two; [ -p /dev/three ] && echo pipe")
    assert out == ["1:3:640:4:5", "7:9:600:0:0", "pipe"]


@program
def linux_devices_mismatch(runtime: Runtime) -> None:
    """Another kind of file at the path is an error."""
    bundle = runtime.bundle()
    os.mknod(bundle.path("/etc/node"), stat.S_IFCHR | 0o600, os.makedev(1, 5))
    bundle.config["linux"]["devices"] = [{"path": "/etc/node", "type": "c", "major": 1, "minor": 3}]
    fails(runtime, bundle)


@program
def linux_default_devices(runtime: Runtime) -> None:
    """The six devices, ptmx, and the four links."""
    out = inside(
        runtime,
        runtime.bundle(),
        "cd /dev; stat -c %t:%T null zero full random urandom tty; [ -e ptmx ] && echo ptmx; readlink stdin",
    )
    assert out == ["1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "ptmx", "/proc/self/fd/0"]


@program
def linux_masked_paths(runtime: Runtime) -> None:
    """Files and directories cannot be read; what is not there is no error."""
    bundle = runtime.bundle()
    os.makedirs(bundle.path("/dir/sub"))
    with open(bundle.path("/file"), "w") as stream:
        stream.write("secret")
    bundle.config["linux"]["maskedPaths"] = ["/dir", "/file", "/not/there"]
    assert inside(runtime, bundle, "ls /dir; cat /file; echo end") == ["end"]


@program
def linux_masked_paths_relative(runtime: Runtime) -> None:
    """A path that is not absolute is an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["maskedPaths"] = ["file"]
    fails(runtime, bundle)


@program
def linux_readonly_paths(runtime: Runtime) -> None:
    """Files and directories cannot be written."""
    bundle = runtime.bundle()
    os.makedirs(bundle.path("/dir/sub"))
    with open(bundle.path("/file"), "w") as stream:
        stream.write("")
    bundle.config["linux"]["readonlyPaths"] = ["/dir", "/file", "/not/there"]
    script = "touch /dir/sub/x 2>/dev/null || echo one; (echo x > /file) 2>/dev/null || echo two"
    assert inside(runtime, bundle, script) == ["one", "two"]


@program
def linux_readonly_paths_relative(runtime: Runtime) -> None:
    """A path that is not absolute is an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["readonlyPaths"] = ["file"]
    fails(runtime, bundle)


@program
def linux_mount_label(runtime: Runtime) -> None:
    """Without SELinux a label cannot be applied: an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["mountLabel"] = "system_u:object_r:svirt_sandbox_file_t:s0"
    fails(runtime, bundle)


@program
def linux_process_apparmor_profile(runtime: Runtime) -> None:
    """Without AppArmor a profile cannot be applied: an error."""
    bundle = runtime.bundle()
    bundle.config["process"]["apparmorProfile"] = "validated"
    fails(runtime, bundle)


def _propagation(name: str, wanted: list[str]) -> Program:
    def run(runtime: Runtime) -> None:
        bundle = runtime.bundle()
        bundle.config["linux"]["rootfsPropagation"] = name
        out = runtime.run(bundle, "busybox", "awk", '$5 == "/"', "/proc/self/mountinfo").good()
        tags = [word.partition(":")[0] for word in out.splitlines()[-1].split(" - ")[0].split()[6:]]
        assert tags == wanted, tags

    run.__name__ = f"linux_rootfs_propagation_{name}"
    run.__doc__ = f"The root's propagation is {name}."
    return run


for _name, _wanted in (("private", []), ("shared", ["shared"]), ("slave", []), ("unbindable", ["unbindable"])):
    program(_propagation(_name, _wanted))


@program
def linux_sysctl(runtime: Runtime) -> None:
    """A namespaced setting is made; one of the host's is an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_forward": "1", "kernel.shm_rmid_forced": "1"}
    bundle.config["linux"]["readonlyPaths"] = []
    script = "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/shm_rmid_forced"
    assert inside(runtime, bundle, script) == ["1", "1"]
    bundle.config["linux"]["sysctl"] = {"vm.swappiness": "60"}
    fails(runtime, bundle)


@program
def linux_personality(runtime: Runtime) -> None:
    """LINUX32 shows a machine of 32 bits."""
    bundle = runtime.bundle()
    bundle.config["linux"]["personality"] = {"domain": "LINUX32"}
    assert inside(runtime, bundle, "busybox uname -m") != [os.uname().machine]


@program
def linux_descriptors(runtime: Runtime) -> None:
    """None but the three standard ones."""
    assert inside(runtime, runtime.bundle(), "ls /proc/self/fd | busybox wc -l") == ["4"]  # ls opens one itself


# --- seccomp ----------------------------------------------------------------------------------------------------


def _filter(bundle: Bundle, **more: Any) -> None:
    bundle.config["linux"]["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", **more}


@program
def linux_seccomp(runtime: Runtime) -> None:
    """An errno, one of its own, and by an argument."""
    bundle = runtime.bundle()
    _filter(
        bundle,
        syscalls=[
            {"names": ["sethostname"], "action": "SCMP_ACT_ERRNO"},
            {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 28},
            {
                "names": ["kill"],
                "action": "SCMP_ACT_ERRNO",
                "errnoRet": 16,
                "args": [{"index": 1, "value": 10, "op": "SCMP_CMP_EQ"}],
            },
        ],
    )
    result = runtime.run(bundle, "sh", "-c", "mkdir /tmp/x; kill -USR1 $$; kill -0 $$ && echo alive")
    assert "No space left" in result.err
    assert "busy" in result.err
    assert result.out == "alive\n"


@program
def linux_seccomp_kill(runtime: Runtime) -> None:
    """A call that kills its process."""
    bundle = runtime.bundle()
    _filter(bundle, syscalls=[{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}])
    assert inside(runtime, bundle, "mkdir /tmp/x 2>/dev/null; echo $?") == ["159"]


@program
def linux_seccomp_invalid(runtime: Runtime) -> None:
    """An unknown action and an unknown architecture are errors."""
    for change in ({"syscalls": [{"names": ["mkdir"], "action": "SCMP_ACT_X"}]}, {"architectures": ["SCMP_ARCH_X"]}):
        bundle = runtime.bundle()
        _filter(bundle, **change)
        fails(runtime, bundle)


@program
def linux_seccomp_errno_of_kill(runtime: Runtime) -> None:
    """An errno for an action that has none is an error."""
    bundle = runtime.bundle()
    _filter(bundle, syscalls=[{"names": ["mkdir"], "action": "SCMP_ACT_KILL", "errnoRet": 5}])
    fails(runtime, bundle)


# --- cgroups ----------------------------------------------------------------------------------------------------

V1 = os.path.isdir("/sys/fs/cgroup/memory")
MEBI = 1 << 20
# Name: (resources, controller, file on v1 and its value, file on v2 and its value)
LIMITS: dict[str, tuple[dict[str, Any], str, tuple[str, str], tuple[str, str]]] = {
    "memory": (
        {"memory": {"limit": 64 * MEBI, "reservation": 32 * MEBI}},
        "memory",
        ("memory.soft_limit_in_bytes", str(32 * MEBI)),
        ("memory.low", str(32 * MEBI)),
    ),
    "pids": ({"pids": {"limit": 77}}, "pids", ("pids.max", "77"), ("pids.max", "77")),
    "cpus": (
        {"cpu": {"shares": 512, "quota": 50000, "period": 100000, "cpus": "0"}},
        "cpu",
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.max", "50000 100000"),
    ),
    "blkio": (
        {"blockIO": {"throttleReadBpsDevice": [{"major": 7, "minor": 0, "rate": 1000}]}},
        "blkio",
        ("blkio.throttle.read_bps_device", "7:0 1000"),
        ("io.max", "7:0 rbps=1000 wbps=max riops=max wiops=max"),
    ),
}


def _limit(name: str, path: str) -> Program:
    resources, controller, *answers = LIMITS[name]
    file, wanted = answers[0] if V1 else answers[1]

    def run(runtime: Runtime) -> None:
        bundle = runtime.bundle()
        bundle.config["linux"]["cgroupsPath"] = path
        bundle.config["linux"]["resources"] = resources
        pid = runtime.state(runtime.started(bundle))["pid"]
        with open(f"/proc/{pid}/cgroup") as stream:
            places = dict(line.strip().split(":", 2)[1:] for line in stream)
        hierarchy = next((key for key in places if controller in key.split(",")), "")
        top = f"/sys/fs/cgroup/{hierarchy}" if V1 else "/sys/fs/cgroup"
        assert places[hierarchy].endswith(path), places[hierarchy]
        with open(f"{top}{places[hierarchy]}/{file}") as stream:
            assert stream.read().strip() == wanted

    run.__name__ = f"linux_cgroups_{'' if path.startswith('/') else 'relative_'}{name}"
    run.__doc__ = (
        f"{controller}: {file} is as asked for, at an {'absolute' if path.startswith('/') else 'relative'} path."
    )
    return run


for _name in LIMITS:
    program(_limit(_name, "/atoll-validate"))
    program(_limit(_name, "atoll-validate-relative"))


@program
def linux_cgroups_devices(runtime: Runtime) -> None:
    """The last rule that fits decides."""
    bundle = runtime.bundle()
    loop = {"type": "c", "major": 10, "minor": 237}
    bundle.config["linux"]["devices"] = [{"path": "/dev/lc", **loop, "fileMode": 0o666}]
    script = "(: < /dev/lc) 2>/dev/null && echo allowed || echo denied"
    all_denied = {"allow": False, "access": "rwm"}
    for rules, wanted in (
        ([all_denied], "denied"),
        ([all_denied, {"allow": True, **loop, "access": "rw"}], "allowed"),
        ([all_denied, {"allow": True, **loop, "access": "rw"}, {"allow": False, **loop, "access": "r"}], "denied"),
    ):
        bundle.config["linux"]["resources"] = {"devices": rules}
        assert inside(runtime, bundle, script) == [wanted], rules


@program
def linux_cgroups_in_use(runtime: Runtime) -> None:
    """A second container in the same cgroup would suffer what is done to the first: an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["cgroupsPath"] = "/atoll-validate-shared"
    first = runtime.started(bundle)
    other = runtime.bundle()
    other.config["linux"]["cgroupsPath"] = "/atoll-validate-shared"
    fails(runtime, other)
    assert status(runtime, first) == "running"


@program
def linux_cgroups_absent(runtime: Runtime) -> None:
    """A limit whose controller this machine lacks is an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["resources"] = {"network": {"classID": 1048577}, "hugepageLimits": []}
    if os.path.isdir("/sys/fs/cgroup/net_cls"):
        bundle.config["linux"]["resources"] = {"unified": {"nosuch.max": "1"}}
    fails(runtime, bundle)


@program
def linux_cgroups_namespace(runtime: Runtime) -> None:
    """With a cgroup namespace the container is at the top of what it sees."""
    out = inside(runtime, runtime.bundle(), "cat /proc/self/cgroup")
    assert all(line.endswith(":/") for line in out), out


@program
def linux_intelrdt(runtime: Runtime) -> None:
    """Without a mounted resctrl intelRdt is an error."""
    bundle = runtime.bundle()
    bundle.config["linux"]["intelRdt"] = {"closID": "validated", "l3CacheSchema": "L3:0=ff"}
    fails(runtime, bundle)
