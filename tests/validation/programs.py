"""The validation programs on runtime.md and config.md. Start reading at `program`.

Each is a function of a runtime that raises AssertionError where the runtime does not do what the specification says.
Words of errors are nobody's promise: only the exit code, and what is left, are asked for.
"""

from __future__ import annotations

import json
import os
import pty
import time
from collections.abc import Callable
from typing import Any

from kit import processes
from kit.bundle import Bundle, Runtime, words

Program = Callable[[Runtime], None]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    """Enter a program in the list, by its name."""
    PROGRAMS[function.__name__] = function
    return function


# --- what the programs share ------------------------------------------------------------------------------------


def status(runtime: Runtime, name: str) -> str | None:
    """The state's status; None if there is no such container."""
    result = runtime("state", name)
    return str(json.loads(result.out)["status"]) if result.code == 0 else None


def stopped(runtime: Runtime, name: str) -> None:
    """Wait for the end of a container that is our child."""
    deadline = time.monotonic() + 10
    while status(runtime, name) != "stopped":
        processes.reap()
        assert time.monotonic() < deadline, "it does not stop"
        time.sleep(0.02)


def fails(runtime: Runtime, bundle: Bundle) -> None:
    """create is an error, and leaves no container."""
    with open(os.path.join(bundle.folder, "config.json"), "w") as stream:
        json.dump(bundle.config, stream)
    name = runtime.new_id()
    assert runtime("create", "--bundle", bundle.folder, name).code != 0
    assert status(runtime, name) is None


def inside(runtime: Runtime, bundle: Bundle, script: str) -> list[str]:
    """The words that a shell script prints in the container."""
    return list(words(runtime.run(bundle, "sh", "-c", script)))


def noting(bundle: Bundle, kind: str, code: int = 0) -> dict[str, Any]:
    """A hook that notes its kind in the bundle's `log`."""
    script = f"echo {kind} >> {bundle.folder}/log; exit {code}"
    return {"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin"]}


def noted(bundle: Bundle) -> list[str]:
    """What the hooks noted."""
    path = os.path.join(bundle.folder, "log")
    if not os.path.exists(path):
        return []
    with open(path) as stream:
        return stream.read().split()


# --- runtime.md -------------------------------------------------------------------------------------------------


@program
def create(runtime: Runtime) -> None:
    """An id and a bundle are needed; an id twice is an error; afterwards the status is created."""
    bundle = runtime.bundle().save("true")
    assert runtime("create", "--bundle", bundle.folder).code != 0
    name = runtime.create(bundle, "true")
    assert status(runtime, name) == "created"
    assert runtime("create", "--bundle", bundle.folder, name).code != 0
    assert status(runtime, name) == "created"


@program
def start(runtime: Runtime) -> None:
    """An id is needed, the container must be created; the program runs, once."""
    bundle = runtime.bundle()
    assert runtime("start").code != 0
    assert runtime("start", "nobody").code != 0
    name = runtime.started(bundle, "sh", "-c", "echo x >> /tmp/log; sleep 100")
    deadline = time.monotonic() + 10
    while not os.path.exists(bundle.path("/tmp/log")):
        assert time.monotonic() < deadline
    assert status(runtime, name) == "running"
    assert runtime("start", name).code != 0
    with open(bundle.path("/tmp/log")) as stream:
        assert stream.read() == "x\n"


@program
def state(runtime: Runtime) -> None:
    """An id is needed, an unknown one is an error, the document has the six properties."""
    assert runtime("state").code != 0
    assert runtime("state", "nobody").code != 0
    bundle = runtime.bundle()
    bundle.config["annotations"] = {"org.example.key": "value"}
    name = runtime.started(bundle)
    document = runtime.state(name)
    assert (document["id"], document["status"], document["bundle"]) == (name, "running", bundle.folder)
    assert document["annotations"]["org.example.key"] == "value"
    assert os.path.exists(f"/proc/{document['pid']}")
    assert document["ociVersion"].count(".") == 2


@program
def kill(runtime: Runtime) -> None:
    """An id is needed; a created or running container gets the signal, a stopped one is an error."""
    assert runtime("kill").code != 0
    assert runtime("kill", "nobody", "KILL").code != 0
    for make in (runtime.create, runtime.started):
        name = make(runtime.bundle(), "sleep", "100")
        assert runtime("kill", name, "KILL").code == 0
        stopped(runtime, name)
        assert runtime("kill", name, "KILL").code != 0
        assert runtime("delete", name).code == 0


@program
def kill_no_effect(runtime: Runtime) -> None:
    """Signal 0 and a signal to what has stopped change nothing."""
    name = runtime.started(runtime.bundle(), "true")
    stopped(runtime, name)
    assert runtime("kill", name, "TERM").code != 0
    assert status(runtime, name) == "stopped"


@program
def killsig(runtime: Runtime) -> None:
    """Exactly the signal that is named arrives, by name and by number."""
    for given, number in (("TERM", 15), ("USR1", 10), ("12", 12), ("SIGHUP", 1)):
        bundle = runtime.bundle()
        script = (
            f"trap 'echo got{number} > /tmp/got; exit 0' {number}; echo up > /tmp/up; while :; do sleep 0.05; done"
        )
        name = runtime.started(bundle, "sh", "-c", script)
        deadline = time.monotonic() + 10
        while not os.path.exists(bundle.path("/tmp/up")):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        assert runtime("kill", name, given).code == 0
        stopped(runtime, name)
        with open(bundle.path("/tmp/got")) as stream:
            assert stream.read().strip() == f"got{number}"


@program
def delete(runtime: Runtime) -> None:
    """An id is needed; only what has stopped is deleted; the id serves again."""
    assert runtime("delete").code != 0
    assert runtime("delete", "nobody").code != 0
    bundle = runtime.bundle()
    name = runtime.create(bundle, "sleep", "100")
    assert runtime("delete", name).code != 0
    assert status(runtime, name) == "created"
    assert runtime("start", name).code == 0
    assert runtime("delete", name).code != 0
    assert status(runtime, name) == "running"
    assert runtime("kill", name, "KILL").code == 0
    stopped(runtime, name)
    assert runtime("delete", name).code == 0
    assert status(runtime, name) is None
    assert runtime("run", "--bundle", bundle.save("true").folder, name).code == 0


@program
def delete_resources(runtime: Runtime) -> None:
    """The cgroups that create made are gone."""
    bundle = runtime.bundle()
    bundle.config["linux"]["cgroupsPath"] = "/atoll-validate-gone"
    bundle.config["linux"]["resources"] = {"pids": {"limit": 100}}
    name = runtime.started(bundle)
    assert os.path.isdir("/sys/fs/cgroup/pids/atoll-validate-gone") or os.path.isdir(
        "/sys/fs/cgroup/atoll-validate-gone"
    )
    assert runtime("delete", "--force", name).code == 0
    for folder in ("/sys/fs/cgroup/pids", "/sys/fs/cgroup"):
        assert not os.path.exists(f"{folder}/atoll-validate-gone")


@program
def delete_only_create_resources(runtime: Runtime) -> None:
    """What the container wrote and what was mounted stays."""
    bundle = runtime.bundle()
    source = os.path.join(bundle.folder, "source")
    os.makedirs(source)
    entry = {"destination": "/made", "type": "bind", "source": source, "options": ["rbind"]}
    bundle.config["mounts"].append(entry)
    runtime.run(bundle, "sh", "-c", "echo kept > /made/file; echo kept > /tmp/file").good()
    assert os.path.exists(f"{source}/file")
    assert os.path.exists(bundle.path("/tmp/file"))


@program
def config_updates_without_affect(runtime: Runtime) -> None:
    """config.json is read by create alone."""
    bundle = runtime.bundle()
    name = runtime.create(bundle, "sh", "-c", "busybox hostname > /tmp/out")
    bundle.config["hostname"] = "other"
    bundle.save("false")
    assert runtime("start", name).code == 0
    stopped(runtime, name)
    with open(bundle.path("/tmp/out")) as stream:
        assert stream.read() == "box\n"


@program
def pidfile(runtime: Runtime) -> None:
    """--pid-file has the pid that state tells."""
    path = os.path.join(runtime.folder, "pid")
    name = runtime.new_id()
    bundle = runtime.bundle().save("sleep", "100")
    assert runtime("create", "--bundle", bundle.folder, "--pid-file", path, name).code == 0
    with open(path) as stream:
        assert int(stream.read()) == runtime.state(name)["pid"]


@program
def invalid_ids(runtime: Runtime) -> None:
    """An id with a slash, an empty one or a dot alone makes no container."""
    bundle = runtime.bundle().save("true")
    for name in ("a/b", "", "."):
        assert runtime("create", "--bundle", bundle.folder, name).code != 0


@program
def errors_leave_nothing(runtime: Runtime) -> None:
    """A program that is not there: create is an error, and the id is free."""
    bundle = runtime.bundle()
    bundle.config["process"]["args"] = ["/no/such/program"]
    fails(runtime, bundle)
    assert not os.path.exists(os.path.join(runtime.root, runtime.ids[-1]))


# --- config.md --------------------------------------------------------------------------------------------------


@program
def default(runtime: Runtime) -> None:
    """A plain container: file systems, devices, links, hostname, ids and capabilities as written."""
    out = inside(
        runtime,
        runtime.bundle(),
        "busybox hostname; id -u; pwd; readlink /dev/fd; grep -c ' /dev/pts ' /proc/mounts;"
        " grep CapEff /proc/self/status",
    )
    assert out == ["box", "0", "/", "/proc/self/fd", "1", "CapEff:", "0000000000000021"]


@program
def hostname(runtime: Runtime) -> None:
    """hostname is seen inside, and needs a uts namespace of its own to be set."""
    bundle = runtime.bundle()
    bundle.config["hostname"] = "validated"
    assert inside(runtime, bundle, "busybox hostname") == ["validated"]
    linux = bundle.config["linux"]
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "uts"]
    fails(runtime, bundle)


@program
def domainname(runtime: Runtime) -> None:
    """domainname is seen inside."""
    bundle = runtime.bundle()
    bundle.config["domainname"] = "example.test"
    assert inside(runtime, bundle, "cat /proc/sys/kernel/domainname") == ["example.test"]


@program
def mounts(runtime: Runtime) -> None:
    """In their order, with their options and data."""
    bundle = runtime.bundle()
    bundle.config["mounts"] += [
        {"destination": "/m/one", "type": "tmpfs", "source": "tmpfs", "options": ["ro", "nosuid", "size=8k"]},
        {"destination": "/m/two", "type": "tmpfs", "source": "tmpfs", "options": ["mode=711"]},
        {"destination": "/m/two", "type": "tmpfs", "source": "tmpfs", "options": ["mode=700"]},
    ]
    out = inside(runtime, bundle, "stat -c %a /m/two; grep ' /m/one ' /proc/mounts; grep -c ' /m/two ' /proc/mounts")
    assert out[0] == "700", out
    assert {"ro", "nosuid", "size=8k"} <= set(out[4].split(",")), out
    assert out[-1] == "2"


@program
def mounts_relative(runtime: Runtime) -> None:
    """A destination that is not absolute counts from the top."""
    bundle = runtime.bundle()
    bundle.config["mounts"].append({"destination": "m", "type": "tmpfs", "source": "tmpfs"})
    assert inside(runtime, bundle, "grep -c ' /m tmpfs ' /proc/mounts") == ["1"]


@program
def mounts_recursive(runtime: Runtime) -> None:
    """rro makes what lies below read-only too."""
    from kit import system

    bundle = runtime.bundle()
    source = os.path.join(bundle.folder, "source")
    os.makedirs(f"{source}/sub")
    system.mount("tmpfs", f"{source}/sub", "tmpfs")
    try:
        entry = {"destination": "/m", "type": "bind", "source": source, "options": ["rbind", "rro"]}
        bundle.config["mounts"].append(entry)
        assert inside(runtime, bundle, "touch /m/sub/x 2>/dev/null && echo wrote || echo refused") == ["refused"]
    finally:
        system.umount(f"{source}/sub")


@program
def mounts_idmap(runtime: Runtime) -> None:
    """A mount with mappings shows its owners by them."""
    bundle = runtime.bundle()
    mapping = [{"containerID": 0, "hostID": 2000, "size": 10}]
    entry = {"destination": "/m", "type": "bind", "source": bundle.folder, "options": ["bind", "idmap"]}
    bundle.config["mounts"].append(entry | {"uidMappings": mapping, "gidMappings": mapping})
    assert inside(runtime, bundle, "stat -c '%u %g' /m") == ["2000", "2000"]


@program
def root_readonly_true(runtime: Runtime) -> None:
    """With readonly nothing can be written, without it can."""
    bundle = runtime.bundle()
    script = "touch /x 2>/dev/null && echo wrote || echo refused"
    assert inside(runtime, bundle, script) == ["wrote"]
    bundle.config["root"]["readonly"] = True
    assert inside(runtime, bundle, script) == ["refused"]


@program
def root_missing(runtime: Runtime) -> None:
    """root.path must be a directory that exists."""
    bundle = runtime.bundle()
    bundle.config["root"]["path"] = "nowhere"
    fails(runtime, bundle)


@program
def process(runtime: Runtime) -> None:
    """cwd, args and env; a relative cwd and empty args are errors."""
    bundle = runtime.bundle()
    bundle.save(cwd="/tmp", env=["PATH=/bin", "A=one", "B="])
    out = inside(runtime, bundle, "pwd; echo $A-${B-unset}-${C-unset}")
    assert out == ["/tmp", "one--unset"]
    for key, value in (("cwd", "tmp"), ("args", [])):
        bad = runtime.bundle()
        bad.config["process"][key] = value
        fails(runtime, bad)


@program
def process_capabilities(runtime: Runtime) -> None:
    """All five sets, read back inside."""
    bundle = runtime.bundle()
    sets = {"bounding": 0x421, "permitted": 0x421, "effective": 0x21, "inheritable": 0x401, "ambient": 0x400}
    names = {0: "CAP_CHOWN", 5: "CAP_KILL", 10: "CAP_NET_BIND_SERVICE"}
    bundle.config["process"]["capabilities"] = {
        kind: [name for bit, name in names.items() if value >> bit & 1] for kind, value in sets.items()
    }
    out = inside(runtime, bundle, "grep ^Cap /proc/self/status")
    found = {name.rstrip(":"): int(value, 16) for name, value in zip(out[::2], out[1::2], strict=True)}
    # A program without file capabilities keeps its ambient ones; root gets the rest of its bounding set at execve.
    assert found["CapBnd"] == 0x421
    assert found["CapAmb"] == 0x400
    assert found["CapInh"] == 0x401


@program
def process_capabilities_fail(runtime: Runtime) -> None:
    """A name that does not exist is a warning and no failure (an error until 1.0.2)."""
    bundle = runtime.bundle()
    bundle.config["process"]["capabilities"]["bounding"].append("CAP_VALIDATED")
    assert inside(runtime, bundle, "echo ran") == ["ran"]


@program
def process_oom_score_adj(runtime: Runtime) -> None:
    """Set as given, else as it was."""
    bundle = runtime.bundle()
    with open("/proc/self/oom_score_adj") as stream:
        ours = stream.read().strip()
    assert inside(runtime, bundle, "cat /proc/self/oom_score_adj") == [ours]
    bundle.config["process"]["oomScoreAdj"] = 654
    assert inside(runtime, bundle, "cat /proc/self/oom_score_adj") == ["654"]


@program
def process_rlimits(runtime: Runtime) -> None:
    """Both values of each limit."""
    bundle = runtime.bundle()
    bundle.config["process"]["rlimits"] = [
        {"type": "RLIMIT_NOFILE", "soft": 50, "hard": 60},
        {"type": "RLIMIT_CORE", "soft": 0, "hard": 4096},
    ]
    out = inside(runtime, bundle, "grep -E 'open files|core file' /proc/self/limits")
    assert out[4:6] == ["0", "4096"]
    assert out[-3:-1] == ["50", "60"]


@program
def process_rlimits_fail(runtime: Runtime) -> None:
    """An unknown limit and one given twice are errors."""
    one = {"type": "RLIMIT_NOFILE", "soft": 5, "hard": 5}
    for limits in ([one | {"type": "RLIMIT_VALIDATED"}], [one, one | {"soft": 4}]):
        bundle = runtime.bundle()
        bundle.config["process"]["rlimits"] = limits
        fails(runtime, bundle)


@program
def process_user(runtime: Runtime) -> None:
    """uid, gid, umask and further groups."""
    bundle = runtime.bundle()
    bundle.config["process"]["user"] = {"uid": 7, "gid": 8, "umask": 0o027, "additionalGids": [9, 10]}
    out = inside(runtime, bundle, "grep -E '^(Uid|Gid|Groups)' /proc/self/status; umask")
    assert out[1:5] == ["7"] * 4
    assert out[6:10] == ["8"] * 4
    assert set(out[11:-1]) >= {"9", "10"}
    assert out[-1] == "0027"


@program
def process_scheduler(runtime: Runtime) -> None:
    """Policy and nice value."""
    bundle = runtime.bundle()
    bundle.config["process"]["scheduler"] = {"policy": "SCHED_BATCH", "nice": 6}
    assert inside(runtime, bundle, "busybox cut -d' ' -f19,41 /proc/self/stat") == ["6", "3"]


@program
def process_io_priority(runtime: Runtime) -> None:
    """Class and level."""
    bundle = runtime.bundle()
    bundle.config["process"]["ioPriority"] = {"class": "IOPRIO_CLASS_BE", "priority": 3}
    assert inside(runtime, bundle, "busybox ionice") == ["best-effort:", "prio", "3"]


@program
def process_terminal(runtime: Runtime) -> None:
    """A terminal of its own on the three streams, and /dev/console."""
    bundle = runtime.bundle()
    bundle.save("sh", "-c", "tty; [ -c /dev/console ] && echo console", terminal=True)
    master, slave = pty.openpty()
    try:
        child = runtime.popen(
            "run", "--bundle", bundle.folder, runtime.new_id(), stdin=slave, stdout=slave, stderr=slave
        )
        os.close(slave)
        text = b""
        while True:
            try:
                data = os.read(master, 4096)
            except OSError:
                break
            if not data:
                break
            text += data
        assert child.wait(20) == 0, text
    finally:
        os.close(master)
    assert text.split() == [b"/dev/pts/0", b"console"], text


@program
def hooks(runtime: Runtime) -> None:
    """Each kind in its turn, several of a kind in their order."""
    bundle = runtime.bundle()
    kinds = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")
    bundle.config["hooks"] = {kind: [noting(bundle, kind + "1"), noting(bundle, kind + "2")] for kind in kinds}
    name = runtime.started(bundle, "true")
    stopped(runtime, name)
    assert runtime("delete", name).code == 0
    assert noted(bundle) == [f"{kind}{number}" for kind in kinds for number in (1, 2)]


@program
def hooks_stdin(runtime: Runtime) -> None:
    """The state on standard input."""
    bundle = runtime.bundle()
    kinds = ("prestart", "createRuntime", "poststart", "poststop")
    bundle.config["hooks"] = {
        kind: [
            {"path": "/bin/sh", "args": ["sh", "-c", f"cat > {bundle.folder}/{kind}"], "env": ["PATH=/bin:/usr/bin"]}
        ]
        for kind in kinds
    }
    name = runtime.started(bundle, "true")
    stopped(runtime, name)
    assert runtime("delete", name).code == 0
    wanted = {"prestart": "creating", "createRuntime": "creating", "poststart": "running", "poststop": "stopped"}
    for kind in kinds:
        with open(os.path.join(bundle.folder, kind)) as stream:
            document = json.load(stream)
        assert (document["id"], document["bundle"], document["status"]) == (name, bundle.folder, wanted[kind]), kind


def _failing(kind: str) -> Program:
    def run(runtime: Runtime) -> None:
        bundle = runtime.bundle()
        bundle.config["hooks"] = {kind: [noting(bundle, kind, 3)], "poststop": [noting(bundle, "poststop")]}
        fails(runtime, bundle)
        assert noted(bundle) == [kind, "poststop"]

    run.__name__ = f"{kind}_fail"
    run.__doc__ = f"A {kind} hook that fails: create is an error, poststop hooks run."
    return run


for _kind in ("prestart", "createRuntime", "createContainer"):
    program(_failing(_kind))


@program
def startContainer_fail(runtime: Runtime) -> None:
    """start is an error and the program is not run."""
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}
    name = runtime.create(bundle, "touch", "/tmp/ran")
    assert runtime("start", name).code != 0
    stopped(runtime, name)
    assert not os.path.exists(bundle.path("/tmp/ran"))


@program
def startContainer(runtime: Runtime) -> None:
    """Found and run inside, before the program."""
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/touch", "args": ["touch", "/tmp/hook"]}]}
    assert inside(runtime, bundle, "ls /tmp") == ["hook"]


@program
def poststart(runtime: Runtime) -> None:
    """After the program was executed, before start returns."""
    bundle = runtime.bundle()
    script = f"read -r s; echo poststart >> {bundle.folder}/log"
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin"]}]}
    runtime.started(bundle)
    assert noted(bundle) == ["poststart"]


@program
def poststart_fail(runtime: Runtime) -> None:
    """A poststart hook that fails: start is an error and the container ends (a warning until 1.0.2)."""
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"poststart": [noting(bundle, "poststart", 3)]}
    name = runtime.create(bundle, "sleep", "100")
    assert runtime("start", name).code != 0
    stopped(runtime, name)


@program
def poststop(runtime: Runtime) -> None:
    """After the container is gone, before delete returns."""
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"poststop": [noting(bundle, "poststop")]}
    name = runtime.started(bundle, "true")
    stopped(runtime, name)
    assert noted(bundle) == []
    assert runtime("delete", name).code == 0
    assert noted(bundle) == ["poststop"]


@program
def poststop_fail(runtime: Runtime) -> None:
    """A poststop hook that fails: delete goes on, and so do the other hooks."""
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"poststop": [noting(bundle, "one", 3), noting(bundle, "two")]}
    name = runtime.started(bundle, "true")
    stopped(runtime, name)
    assert runtime("delete", name).code == 0
    assert noted(bundle) == ["one", "two"]


@program
def hooks_timeout(runtime: Runtime) -> None:
    """A hook that outlives its time is killed, and create is an error."""
    bundle = runtime.bundle()
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "30"], "timeout": 1}]}
    began = time.monotonic()
    fails(runtime, bundle)
    assert time.monotonic() - began < 15


@program
def misc_props(runtime: Runtime) -> None:
    """Unknown properties and annotations are ignored, invalid versions and values are errors."""
    bundle = runtime.bundle()
    bundle.config["future"] = {"x": [1]}
    bundle.config["linux"]["future"] = "x"
    bundle.config["annotations"] = {"org.example.unknown": ""}
    assert inside(runtime, bundle, "echo ran") == ["ran"]
    bundle.config["ociVersion"] = "no version"
    fails(runtime, bundle)
