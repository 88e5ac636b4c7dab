"""The runtime-spec's config.md, word by word: what other tests do not show already.

`tests/validation/requirements.txt` lists the requirements, `docs/runtime-spec.md` which test shows which.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import time
from typing import Any

import pytest

from integration.test_runtime_spec import refused
from kit import system
from kit.bundle import Bundle, Runtime, words


def mounted(bundle: Bundle, **entry: Any) -> dict[str, Any]:
    """Add a mount; a tmpfs unless said otherwise."""
    bundle.config["mounts"].append({"type": "tmpfs", "source": "tmpfs", **entry})
    return dict(bundle.config["mounts"][-1])


def source(bundle: Bundle, name: str = "source") -> str:
    """A directory of the host beside the root."""
    path = os.path.join(bundle.folder, name)
    os.makedirs(path, exist_ok=True)
    if bundle.user is not None:
        os.chown(path, bundle.user.uid, bundle.user.gid)
    return path


# --- root, mounts -----------------------------------------------------------------------------------------------


@pytest.mark.spec("config#root.readonly")
def test_a_root_is_writable_unless_read_only(runtime: Runtime):
    bundle = runtime.bundle()
    script = "touch /x 2>/dev/null && echo written || echo refused"
    assert words(runtime.run(bundle, "sh", "-c", script)) == ["written"]
    bundle.config["root"]["readonly"] = True
    assert words(runtime.run(bundle, "sh", "-c", script)) == ["refused"]


@pytest.mark.spec("config#mounts.order")
def test_mounts_in_their_order(runtime: Runtime):
    """A later mount lies on an earlier one: of two on one place the second is seen, one below a third is hidden."""
    bundle = runtime.bundle()
    for size in ("4k", "8k"):
        mounted(bundle, destination="/twice", options=[f"size={size}"])
    mounted(bundle, destination="/below/deep")
    mounted(bundle, destination="/below")
    mounted(bundle, destination="/above")
    mounted(bundle, destination="/above/deep")
    script = "grep -c ' /twice ' /proc/mounts; busybox df -k /twice | busybox tail -1; ls /below; ls /above"
    out = words(runtime.run(bundle, "sh", "-c", script))
    assert out[0] == "2"
    assert out[2] == "8"
    assert out[-1] == "deep"
    assert out.count("deep") == 1


@pytest.mark.spec("config#mounts.destination-relative")
def test_a_destination_that_is_not_absolute_counts_from_the_top(runtime: Runtime):
    bundle = runtime.bundle()
    mounted(bundle, destination="rel/ative")
    mounted(bundle, destination="./up")
    bundle.save(cwd="/tmp")
    table = runtime.run(bundle, "cat", "/proc/mounts").good()
    assert " /rel/ative tmpfs" in table
    assert " /up tmpfs" in table


@pytest.mark.spec("config#mounts.options-recursive")
def test_recursive_options_reach_the_mounts_below(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    top = source(bundle)
    os.makedirs(f"{top}/sub")
    system.mount("tmpfs", f"{top}/sub", "tmpfs")
    try:
        for name, options in (
            ("one", ["rbind", "ro", "nosuid"]),
            ("all", ["rbind", "rro", "rnosuid", "rnodev", "rnoexec", "rnoatime", "rnosymfollow"]),
            ("back", ["rbind", "rro", "rrw"]),
        ):
            mounted(bundle, destination=f"/{name}", type="bind", source=top, options=options)
        table = root_runtime.run(bundle, "cat", "/proc/self/mountinfo").good()
    finally:
        system.umount(f"{top}/sub")
    lines = {line.split()[4]: set(line.split()[5].split(",")) for line in table.splitlines()}
    assert {"ro", "nosuid"} <= lines["/one"]
    assert not {"ro", "nosuid"} & lines["/one/sub"]
    recursive = {"ro", "nosuid", "nodev", "noexec", "noatime", "nosymfollow"}
    assert recursive <= lines["/all"]
    assert recursive <= lines["/all/sub"]
    assert "ro" not in lines["/back"] | lines["/back/sub"]


@pytest.mark.spec("config#mounts.options-custom", "config#mounts.options-unknown")
def test_options_of_mount_8_and_of_the_file_system(root_runtime: Runtime):
    """nofail, x-… and the like are no business of the kernel's; what nobody knows goes to the file system, which
    takes it or refuses it."""
    bundle = root_runtime.bundle()
    options = ["nofail", "_netdev", "auto", "nouser", "x-systemd.automount", "size=12k", "mode=750", "nr_inodes=9"]
    mounted(bundle, destination="/m", options=options)
    assert words(root_runtime.run(bundle, "stat", "-c", "%a", "/m")) == ["750"]
    line = next(one for one in root_runtime.run(bundle, "cat", "/proc/mounts").good().splitlines() if " /m " in one)
    assert {"size=12k", "mode=750", "nr_inodes=9"} <= set(line.split()[3].split(","))
    mounted(bundle, destination="/n", options=["nosuchoption"])
    refused(root_runtime, bundle, "nosuchoption")


@pytest.mark.spec("config#mounts.idmap-without", "config#mounts.mappings-both")
def test_mappings_that_are_lacking(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    mapping = [{"containerID": 0, "hostID": 1000, "size": 1}]
    entry = mounted(bundle, destination="/m", type="bind", source=source(bundle), options=["bind"])
    for options in (["bind", "idmap"], ["rbind", "ridmap"]):
        bundle.config["mounts"][-1] = entry | {"options": options}
        refused(root_runtime, bundle, "idmap without mappings")
    for key in ("uidMappings", "gidMappings"):
        bundle.config["mounts"][-1] = entry | {key: mapping, "options": ["bind", "idmap"]}
        refused(root_runtime, bundle, "needed together")


@pytest.mark.spec("config#mounts.idmap-not-passed", "config#mounts.idmap-mechanism", "config#mounts.idmap-applied")
def test_an_idmap_is_the_mounts_attribute(root_runtime: Runtime):
    """The kernel shows it per mount, and no file system was asked for an option of that name."""
    bundle = root_runtime.bundle()
    mapping = [{"containerID": 0, "hostID": 5, "size": 10}]
    where = source(bundle)
    os.makedirs(f"{where}/sub")
    system.mount("tmpfs", f"{where}/sub", "tmpfs", 0, "mode=755")
    try:
        for name, options in (("one", ["rbind", "idmap"]), ("all", ["rbind", "ridmap"])):
            maps = {"uidMappings": mapping, "gidMappings": mapping}
            mounted(bundle, destination=f"/{name}", type="bind", source=where, options=options, **maps)
        script = "stat -c %u /one /one/sub /all /all/sub; grep -E ' /(one|all)' /proc/self/mountinfo"
        out = root_runtime.run(bundle, "sh", "-c", script).good().splitlines()
    finally:
        system.umount(f"{where}/sub")
    assert out[:4] == ["5", "0", "5", "5"]
    assert ["idmapped" in line for line in out[4:]] == [True, False, True, True]
    assert not any("idmap" in line.split(" - ")[1] for line in out[4:])


# --- process ----------------------------------------------------------------------------------------------------


@pytest.mark.spec("config#process.console-size-ignored")
def test_a_console_size_without_a_terminal_is_ignored(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["process"]["consoleSize"] = {"height": 33, "width": 99}
    assert words(runtime.run(bundle, "sh", "-c", "tty; echo on")) == ["not", "a", "tty", "on"]


@pytest.mark.spec("config#process.cwd-absolute", "config#process.args", "config#values.invalid")
@pytest.mark.parametrize(
    ("key", "value"),
    [("cwd", ""), ("cwd", "tmp"), ("cwd", "./tmp"), ("args", []), ("args", [""]), ("args", [1]), ("env", ["=x"])],
)
def test_invalid_processes(root_runtime: Runtime, key: str, value: object):
    bundle = root_runtime.bundle()
    bundle.config["process"][key] = value
    refused(root_runtime, bundle, f"{key}|no command")


@pytest.mark.spec("config#process.args")
def test_the_program_is_searched_as_execvp_does(runtime: Runtime):
    """By the container's PATH, skipping what may not be executed; a name with a slash is not searched."""
    bundle = runtime.bundle()
    for folder, mode in (("first", 0o644), ("second", 0o755)):
        os.makedirs(bundle.path(folder))
        with open(bundle.path(f"{folder}/tool"), "w") as stream:
            stream.write(f"#!/bin/sh\necho {folder} $0\n")
        os.chmod(bundle.path(f"{folder}/tool"), mode)
    bundle.save(env=["PATH=/nowhere:/first:/second:/bin"])
    assert words(runtime.run(bundle, "tool")) == ["second", "/second/tool"]
    runtime.run(bundle, "second/toolx").failed(1, "no such file")
    bundle.save(cwd="/second")
    assert words(runtime.run(bundle, "./tool"))[0] == "second"


LIMITS = (
    "AS CORE CPU DATA FSIZE LOCKS MEMLOCK MSGQUEUE NICE NOFILE NPROC RSS RTPRIO RTTIME SIGPENDING STACK"
).split()


@pytest.mark.spec("config#process.rlimit-get", "config#process.rlimit-soft", "config#process.rlimit-hard")
def test_every_limit(root_runtime: Runtime):
    """All sixteen of getrlimit(2), each a little below what the session has, as /proc/self/limits shows them."""
    import resource

    bundle = root_runtime.bundle()
    wanted = {}
    for index, name in enumerate(LIMITS):
        now = resource.getrlimit(getattr(resource, f"RLIMIT_{name}", 10 if name == "LOCKS" else 0))[1]
        hard = 2**40 + index if now == resource.RLIM_INFINITY else now
        wanted[name] = (max(0, hard - 4096 * (hard > 8192)), hard)
    bundle.config["process"]["rlimits"] = [
        {"type": f"RLIMIT_{name}", "soft": soft, "hard": hard} for name, (soft, hard) in wanted.items()
    ]
    out = root_runtime.run(bundle, "cat", "/proc/self/limits").good()
    rows = {line[:26].strip(): tuple(line[26:].split()[:2]) for line in out.splitlines()[1:]}
    names = {"NOFILE": "Max open files", "AS": "Max address space", "MSGQUEUE": "Max msgqueue size"}
    names |= {"CORE": "Max core file size", "NPROC": "Max processes", "RTPRIO": "Max realtime priority"}
    for name, title in names.items():
        assert rows[title] == tuple(str(value) for value in wanted[name]), title
    assert sorted(rows.values()) == sorted(tuple(str(value) for value in pair) for pair in wanted.values())


@pytest.mark.spec("config#process.rlimit-unknown", "config#process.rlimit-twice")
def test_limits_that_cannot_be(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    one = {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5}
    for limits, pattern in (
        ([{**one, "type": "RLIMIT_FUTURE"}], "RLIMIT_FUTURE"),
        ([{**one, "type": "NOFILE"}], "NOFILE"),
        ([one, {**one, "soft": 4}], "given twice"),
        ([{"type": "RLIMIT_NOFILE", "soft": 5}], "hard"),
    ):
        bundle.config["process"]["rlimits"] = limits
        refused(root_runtime, bundle, pattern)


@pytest.mark.spec("config#process.oom-score-set", "config#process.oom-score-unset")
def test_oom_scores(runtime: Runtime):
    bundle = runtime.bundle()
    with open("/proc/self/oom_score_adj") as stream:
        ours = stream.read().strip()
    assert words(runtime.run(bundle, "cat", "/proc/self/oom_score_adj")) == [ours]
    bundle.config["process"]["oomScoreAdj"] = 700
    assert words(runtime.run(bundle, "cat", "/proc/self/oom_score_adj")) == ["700"]


@pytest.mark.spec("config#process.scheduler-defaults")
def test_a_scheduler_without_numbers(root_runtime: Runtime):
    """Whatever nice value the caller has: not given, it is 0."""
    bundle = root_runtime.bundle()
    bundle.config["process"]["scheduler"] = {"policy": "SCHED_BATCH"}
    bundle.save("busybox", "cut", "-d ", "-f18,19,40,41", "/proc/self/stat")
    result = root_runtime(
        "run", "-b", bundle.folder, root_runtime.new_id(), before=["nice", "-n", "7", root_runtime.program]
    )
    assert words(result) == ["20", "0", "0", "3"]


# --- hooks ------------------------------------------------------------------------------------------------------

KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")


@pytest.mark.spec("config#hooks.order", "config#hooks.path-absolute", "config#hooks.timeout-positive")
def test_hooks_of_a_kind_run_in_their_order(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    log = os.path.join(bundle.folder, "log")
    mounted(bundle, destination="/log", type="bind", source=source(bundle, "logs"), options=["bind"])
    log = os.path.join(bundle.folder, "logs/log")
    bundle.config["hooks"] = {}
    for kind in KINDS:
        path = "/log/log" if kind == "startContainer" else log
        bundle.config["hooks"][kind] = [
            {"path": "/bin/sh", "args": ["sh", "-c", f"echo {kind}{n} >> {path}"]} for n in range(3)
        ]
    assert root_runtime.run(bundle, "true").code == 0
    with open(log) as stream:
        assert stream.read().split() == [f"{kind}{number}" for kind in KINDS for number in range(3)]
    for kind in KINDS:
        for spoil, words_of_it in (
            ({"path": "bin/sh"}, "absolute"),
            ({"path": "/bin/sh", "timeout": -1}, "above zero"),
        ):
            bundle.config["hooks"] = {kind: [spoil]}
            refused(root_runtime, bundle, words_of_it)


@pytest.mark.spec("config#hooks.prestart-when", "config#hooks.prestart-where", "config#hooks.createRuntime-when")
@pytest.mark.spec("config#hooks.createRuntime-where", "config#hooks.createContainer-when")
@pytest.mark.spec(
    "config#hooks.startContainer-when", "config#hooks.startContainer-where", "config#hooks.poststart-when"
)
@pytest.mark.spec("config#hooks.poststart-where", "config#hooks.poststop-when", "config#hooks.poststop-where")
@pytest.mark.spec("config#hooks.createContainer-where", "config#hooks.createContainer-found")
def test_when_and_where_each_hook_runs(root_runtime: Runtime):
    """Each hook notes the mount and network namespace it is in, and what it sees of the container by its pid:
    the namespaces stand before the root is changed, the program runs when poststart does, nothing at poststop."""
    bundle = root_runtime.bundle()
    logs = source(bundle, "logs")
    mounted(bundle, destination="/logs", type="bind", source=logs, options=["bind"])
    # Of the host's hooks only the host has the program, of the container's only the container.
    for place, marker in (("/", "host"), (bundle.rootfs, "inside")):
        with open(os.path.join(bundle.folder if marker == "host" else place, "hook"), "w") as stream:
            stream.write(
                f"#!/bin/sh\nread -r s; p=${{s#*'\"pid\"'}}; p=${{p#*: }}; p=${{p%%,*}}; p=${{p#:}}\n"
                f"l=$1; d=$2\n"
                f"{{ echo {marker}; readlink /proc/self/ns/mnt; readlink /proc/self/ns/net\n"
                "readlink /proc/$p/ns/net || echo none; readlink /proc/$p/exe || echo none\n"
                "[ -e /bin/busybox ] && [ ! -e /boot ] && echo changed || echo unchanged; }} > $d/$l\n".replace(
                    "}}", "}"
                )
            )
            os.fchmod(stream.fileno(), 0o755)
    host = os.path.join(bundle.folder, "hook")
    path = "PATH=/bin:/usr/bin"
    bundle.config["hooks"] = {
        kind: [
            {"path": "/hook", "args": ["hook", kind, "/logs"], "env": [path]}
            if kind == "startContainer"
            else {"path": host, "args": ["hook", kind, logs], "env": [path]}
        ]
        for kind in KINDS
    }
    name = root_runtime.create(bundle, "sleep", "100")
    pid = root_runtime.state(name)["pid"]
    net = os.readlink(f"/proc/{pid}/ns/net")
    mnt = os.readlink(f"/proc/{pid}/ns/mnt")
    assert sorted(os.listdir(logs)) == ["createContainer", "createRuntime", "prestart"]
    root_runtime.good("start", name)
    assert sorted(os.listdir(logs)) == ["createContainer", "createRuntime", "poststart", "prestart", "startContainer"]
    root_runtime.good("delete", "--force", name)
    seen = {}
    for kind in KINDS:
        with open(os.path.join(logs, kind)) as stream:
            seen[kind] = stream.read().split()
    ours = [os.readlink("/proc/self/ns/mnt"), os.readlink("/proc/self/ns/net")]
    for kind in ("prestart", "createRuntime", "poststart", "poststop"):
        assert seen[kind][:3] == ["host", *ours], kind
        assert seen[kind][-1] == "unchanged"
    for kind in ("prestart", "createRuntime"):
        assert seen[kind][3] == net, "the namespaces stand"
    assert seen["createContainer"][:3] == ["host", mnt, net], "found on the host, run in the container's namespaces"
    assert seen["startContainer"][:3] == ["inside", mnt, net]
    assert seen["startContainer"][-1] == "changed"
    assert seen["poststart"][4].endswith("/busybox"), "the program was executed"
    assert seen["poststop"][3] == "none", "the container is gone"


@pytest.mark.spec("config#hooks.state-on-stdin")
def test_every_hook_reads_the_state(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    logs = source(bundle, "logs")
    mounted(bundle, destination="/logs", type="bind", source=logs, options=["bind"])
    bundle.config["hooks"] = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {place}/{kind}"], "env": ["PATH=/bin:/usr/bin"]}]
        for kind in KINDS
        for place in ["/logs" if kind == "startContainer" else logs]
    }
    name = root_runtime.started(bundle)
    pid = root_runtime.state(name)["pid"]
    root_runtime.good("delete", "--force", name)
    statuses = {}
    for kind in KINDS:
        with open(os.path.join(logs, kind)) as stream:
            state = json.load(stream)
        assert (state["id"], state["bundle"], state["ociVersion"]) == (name, bundle.folder, "1.2.0")
        statuses[kind] = (state["status"], state["pid"])
    assert statuses["prestart"] == statuses["createRuntime"] == ("creating", pid)
    assert statuses["poststart"] == ("running", pid)
    assert statuses["startContainer"][0] == "created"
    assert statuses["poststop"][0] == "stopped"


def test_a_hook_that_hangs_is_killed_with_its_time(root_runtime: Runtime):
    """Also one that ignores what is asked of it, and however much it writes."""
    bundle = root_runtime.bundle()
    script = "trap '' TERM; busybox yes 2>/dev/null | busybox head -c 3000000; while :; do sleep 1; done"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script], "timeout": 1}]}
    began = time.monotonic()
    refused(root_runtime, bundle, "did not end within 1 seconds")
    assert time.monotonic() - began < 20


# --- users, devices of the process ------------------------------------------------------------------------------


def test_users_and_groups(root_runtime: Runtime):
    bundle = root_runtime.bundle()
    bundle.config["process"]["user"] = {"uid": 7, "gid": 8, "umask": 0o077, "additionalGids": [9, 10]}
    os.chmod(bundle.path("/tmp"), 0o777)
    out = root_runtime.run(bundle, "sh", "-c", "id; umask; touch /tmp/x").good()
    assert "uid=7 gid=8 groups=8,9,10" in out.replace(" groups=9,10", " groups=8,9,10")
    assert "0077" in out
    info = os.stat(bundle.path("/tmp/x"))
    assert (info.st_uid, info.st_gid, stat.S_IMODE(info.st_mode)) == (7, 8, 0o600)


def test_a_bundle_of_umocis_runs(root_runtime: Runtime):
    """What another program unpacked and configured, unchanged but for the terminal."""
    folder = os.path.join(root_runtime.folder, "umoci")
    os.makedirs(folder)
    bundle = root_runtime.bundle()
    layout = f"{folder}/layout"
    for command in (
        ["umoci", "init", "--layout", layout],
        ["umoci", "new", "--image", f"{layout}:one"],
        ["umoci", "insert", "--image", f"{layout}:one", f"{bundle.rootfs}/bin", "/bin"],
        ["umoci", "config", "--image", f"{layout}:one", "--config.cmd", "sh", "--config.env", "FROM=umoci"],
        ["umoci", "unpack", "--image", f"{layout}:one", f"{folder}/bundle"],
    ):
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    with open(f"{folder}/bundle/config.json") as stream:
        config = json.load(stream)
    config["process"] |= {"terminal": False, "args": ["sh", "-c", "echo $FROM; busybox hostname; id -u"]}
    # This machine has no CAP_SYS_RESOURCE, so a bundle must not ask for more than the session has.
    config["process"].pop("rlimits", None)
    with open(f"{folder}/bundle/config.json", "w") as stream:
        json.dump(config, stream)
    result = root_runtime("run", "-b", f"{folder}/bundle", root_runtime.new_id())
    assert words(result) == ["umoci", "umoci-default", "0"]
