"""A container against its runtime: newcomers traced, binaries swapped, races by the thousand, an init that dies, and
what can be seen from inside. `test_runtime_safety.py` has the kills of the creator and the single races.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import pytest

from integration.test_runtime_safety import OVERWRITE, Sample, digest, interpreter, racer
from kit import elf, processes
from kit.bundle import Bundle, Runtime

assert racer  # a fixture
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(os.path.dirname(HERE), "src")
GOLDEN = os.path.join(HERE, "validation", "rights.json")


def with_python(bundle: Bundle) -> Bundle:
    """The host's interpreter and libraries, read-only, so that an attack can be written in Python."""
    for name in ("usr", "lib", "lib64"):
        if os.path.isdir(f"/{name}"):
            entry = {"destination": f"/{name}", "type": "bind", "source": f"/{name}", "options": ["rbind", "ro"]}
            bundle.config["mounts"].append(entry)
    return bundle


# --- a newcomer among enemies (CVE-2016-9962, CVE-2019-5736) --------------------------------------------------------

TRACER = """
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
tried = 0
open("/tmp/ready", "w").close()
while not os.path.exists("/tmp/stop"):
    for name in os.listdir("/proc"):
        if not name.isdigit() or int(name) in (1, os.getpid()):
            continue
        pid = int(name)
        tried += 1
        for what in ("mem", "environ", "maps", "exe", "fd/3", "cwd/x", "root/x", "task/%d/mem" % pid):
            try:
                fd = os.open("/proc/%d/%s" % (pid, what), os.O_RDWR if what in ("exe", "mem") else os.O_RDONLY)
                exe = os.readlink("/proc/%d/exe" % pid)
                if not exe.endswith("/busybox"):
                    print("OPENED", what, exe, flush=True)
                os.close(fd)
            except OSError:
                pass
        if libc.ptrace(16, pid, 0, 0) == 0:
            try:
                os.waitpid(pid, 0x40000000)
                exe = os.readlink("/proc/%d/exe" % pid)
                if not exe.endswith("/busybox"):
                    print("TRACED", exe, flush=True)
                libc.ptrace(17, pid, 0, 0)
                os.kill(pid, 18)
            except OSError:
                pass
print("tried", tried, flush=True)
"""


@pytest.mark.timeout(600)
def test_newcomers_cannot_be_traced_or_read(runtime: Runtime, full: bool):
    """While exec enters again and again, a process of the same user inside tries to attach to whatever appears and to
    open its memory, its program and its descriptors. What the container runs itself it may have."""
    bundle = with_python(runtime.bundle())
    bundle.save("/usr/bin/python3", "-SIc", TRACER)
    out = os.path.join(runtime.folder, "out")
    with open(out, "w") as stream:
        child = runtime.popen("run", "-b", bundle.folder, name := runtime.new_id(), stdout=stream)
        _await(lambda: os.path.exists(bundle.path("/tmp/ready")))
        for _ in range(300 if full else 12):
            result = runtime("exec", name, "true")
            assert result.code in (0, 128 + signal.SIGSTOP, 128 + signal.SIGTRAP), result
        with open(bundle.path("/tmp/stop"), "w"):
            pass
        assert child.wait(20) == 0
        child.communicate()
    with open(out) as stream:
        text = stream.read()
    assert "OPENED" not in text, text
    assert "TRACED" not in text, text
    assert int(text.split()[-1]) > 0, "no newcomer was met"


@pytest.mark.timeout(600)
def test_binaries_swapped_under_exec(root_runtime: Runtime, racer: Callable[[str, str], None], full: bool):
    """The program to be executed is at times a link to the runtime's own interpreter, with a loader that keeps it."""
    before = digest(interpreter())
    bundle = root_runtime.bundle()
    os.makedirs(bundle.path("/lib64"))
    with open(bundle.path("/lib64/ld-linux-x86-64.so.2"), "wb") as stream:
        stream.write(elf.hostile_loader(OVERWRITE.replace("sleep 1", "true")))
    os.chmod(bundle.path("/lib64/ld-linux-x86-64.so.2"), 0o755)
    os.symlink("/proc/self/exe", bundle.path("/bin/link"))
    os.symlink("busybox", bundle.path("/bin/prey"))
    name = root_runtime.started(bundle)
    racer(bundle.path("/bin/prey"), bundle.path("/bin/link"))
    for _ in range(200 if full else 15):
        assert "OVERWROTE" not in root_runtime("exec", name, "/bin/prey", "true").out
    assert digest(interpreter()) == before


# --- races by the thousand ------------------------------------------------------------------------------------------


@pytest.mark.timeout(900)
def test_ten_thousand_mounts_against_a_racer(root_runtime: Runtime, racer: Callable[[str, str], None], full: bool):
    """CVE-2021-30465 and its like, wholesale: fifty targets a container below one directory that is at times a link
    to the host's: mounts, masks, read-only paths and devices. 10,000 in the full tier."""
    bundle = root_runtime.bundle()
    host = os.path.join(bundle.folder, "host")
    os.makedirs(host)
    os.makedirs(bundle.path("/swap"))
    os.symlink(host, bundle.path("/link"))
    linux = bundle.config["linux"]
    for number in range(20):
        target = f"/swap/{number}"
        bundle.config["mounts"].append({"destination": target, "type": "tmpfs", "source": "tmpfs", "options": ["ro"]})
    for number in range(10):
        linux["maskedPaths"].append(f"/swap/{number}")
        linux["readonlyPaths"].append(f"/swap/{number + 10}")
    linux["devices"] = [{"path": f"/swap/node{number}", "type": "c", "major": 1, "minor": 3} for number in range(10)]
    racer(bundle.path("/swap"), bundle.path("/link"))
    bundle.save("cat", "/proc/self/mountinfo")
    ended: set[int] = set()
    for _ in range(200 if full else 6):
        result = root_runtime("run", "-b", bundle.folder, name := root_runtime.new_id())
        ended.add(result.code)
        assert "Traceback" not in result.err
        assert os.listdir(host) == [], result
        assert host not in result.out
        if not os.path.exists(os.path.join(root_runtime.root, name)):
            root_runtime.ids.remove(name)
    assert ended <= {0, 1}


# --- an init or a newcomer that dies --------------------------------------------------------------------------------

INNER = [
    (f"inner:{when}:{point}", count)
    for point, most in (("receive", 3), ("send", 1), ("mount", 4), ("pivot", 1), ("unshare", 1), ("execute", 1))
    for count in range(1, most + 1)
    for when in ("before", "after")
    if (when, point) != ("after", "execute")
]


def killed_inside(runtime: Runtime, point: tuple[str, int], *words: str, **how: Any):
    """Run the runtime so that its child dies at a point; the runtime itself must end by itself."""
    program = os.path.join(HERE, "kit", "killed.py")
    result = runtime(
        *words,
        env={"PYTHONPATH": SOURCE},
        before=[sys.executable, program, point[0], str(point[1])],
        timeout=30,
        **how,
    )
    assert "Traceback" not in result.err, result
    assert result.code >= 0, result
    processes.reap()
    return result


def test_an_init_that_dies_leaves_nothing(runtime: Runtime, sample: Sample):
    """At each of its steps: run is an error, or the container reads as stopped; then delete clears it."""
    for point in sample(INNER, 7):
        name = runtime.new_id()
        bundle = runtime.bundle().save("sleep", "100")
        result = killed_inside(runtime, point, "run", "--detach", "-b", bundle.folder, name)
        if result.code == 0:  # it died after it was ready
            assert runtime.state(name)["status"] == "stopped", (point, result)
        else:
            assert not os.path.exists(os.path.join(runtime.root, name)), (point, result)
        runtime.good("delete", "--force", name)
        assert runtime("run", "-b", bundle.save("true").folder, name).code == 0


def test_a_newcomer_that_dies_leaves_the_container_alone(runtime: Runtime, sample: Sample):
    name = runtime.started(runtime.bundle())
    for point in sample([entry for entry in INNER if entry[0].split(":")[2] in ("receive", "send", "execute")], 4):
        result = killed_inside(runtime, point, "exec", name, "true")
        assert result.code in (0, 137, 255), (point, result)  # 0 where the entering process died with its work done
        assert runtime.state(name)["status"] == "running"
        assert runtime("exec", name, "true").code == 0
        processes.reap()
        _await(lambda: len(json.loads(runtime.good("ps", "-f", "json", name))) == 1)


def test_hooks_that_are_killed_with_their_runtime(root_runtime: Runtime):
    """The creator dies while a hook runs."""
    bundle = root_runtime.bundle()
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/true"}], "poststop": [{"path": "/bin/true"}]}
    for point in ("before:hook", "after:hook"):
        name = root_runtime.new_id()
        program = os.path.join(HERE, "kit", "killed.py")
        result = root_runtime(
            *("create", "-b", bundle.save("sleep", "100").folder, name),
            env={"PYTHONPATH": SOURCE},
            before=[sys.executable, program, point, "1"],
        )
        assert result.code == -signal.SIGKILL
        processes.reap()
        root_runtime.good("delete", "--force", name)


# --- what is seen from inside ---------------------------------------------------------------------------------------


def test_a_scan_finds_only_what_was_given(runtime: Runtime):
    """Every path but those of /proc and /sys, against the root that the bundle brings and the mounts it asks for."""
    bundle = runtime.bundle()
    folder = os.path.join(bundle.folder, "volume")
    os.makedirs(folder)
    with open(os.path.join(folder, "file"), "w") as stream:
        stream.write("given")
    if runtime.user is not None:
        subprocess.run(["chown", "-R", f"{runtime.user.uid}:{runtime.user.gid}", folder], check=True)
    bundle.config["mounts"].append({"destination": "/v", "type": "bind", "source": folder, "options": ["bind"]})
    brought = set()
    for top, folders, files in os.walk(bundle.rootfs):
        brought |= {
            os.path.join("/", os.path.relpath(os.path.join(top, name), bundle.rootfs)) for name in folders + files
        }
    find = "busybox find / -path /proc -prune -o -path /sys -prune -o -print"
    script = f"{find}; echo --; busybox awk '{{print $5}}' /proc/self/mountinfo"
    listed, _, table = runtime.run(bundle, "sh", "-c", script).good().partition("--\n")
    nodes = "null zero full random urandom tty ptmx fd stdin stdout stderr core pts shm mqueue pts/ptmx".split()
    own = {"/", "/v", "/v/file", *(f"/dev/{name}" for name in nodes)}
    found = set(listed.splitlines()) - {"/proc", "/sys"}
    assert found - own == brought - {"/proc", "/sys"}, sorted(found ^ (brought | own))[:20]
    places = {line.split()[0] for line in table.splitlines()}
    asked = {"/", *(entry["destination"] for entry in bundle.config["mounts"])}
    hidden = {*bundle.config["linux"]["maskedPaths"], *bundle.config["linux"]["readonlyPaths"]}
    devices = {f"/dev/{name}" for name in ("null", "zero", "full", "random", "urandom", "tty")}
    assert places <= asked | hidden | (devices if runtime.user else set())
    assert runtime.folder not in runtime.run(bundle, "cat", "/proc/mounts").out


def test_a_port_opened_inside_is_not_open_outside(runtime: Runtime):
    name = runtime.started(runtime.bundle(), "busybox", "nc", "-ll", "-p", "47812", "-e", "true")
    _await(lambda: ":BAC4" in runtime.good("exec", name, "cat", "/proc/net/tcp", "/proc/net/tcp6"))  # 47812
    assert runtime("exec", name, "busybox", "nc", "-w", "2", "127.0.0.1", "47812").code == 0
    for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with socket.socket(family) as end:
            end.settimeout(2)
            with pytest.raises(OSError, match=r"refused|unreachable|Cannot assign"):
                end.connect((address, 47812))


def test_no_other_process_s_memory_can_be_read(runtime: Runtime):
    """Not even in the host's pid namespace, where every process is to be seen by its number."""
    bundle = runtime.bundle()
    linux = bundle.config["linux"]
    linux["namespaces"] = [entry for entry in linux["namespaces"] if entry["type"] != "pid"]
    if runtime.user is not None:  # an ordinary user cannot mount a procfs of the host's
        bundle.config["mounts"][0] = {"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}
        linux["maskedPaths"] = linux["readonlyPaths"] = []
    script = (
        f"echo {os.getpid()}; ls -d /proc/{os.getpid()} /proc/1;"
        " for p in /proc/[0-9]*; do [ $p = /proc/$$ ] && continue;"
        " for f in mem environ maps; do head -c 1 $p/$f 2>/dev/null | busybox od -An -c; done; done"
    )
    result = runtime.run(bundle, "sh", "-c", script)
    lines = result.out.splitlines()
    assert lines[:3] == [str(os.getpid()), "/proc/1", f"/proc/{os.getpid()}"], result
    theirs = [line for line in lines[3:] if line.strip()]
    assert len(theirs) <= 6, "only its own children can be read"


# --- capabilities, securebits, groups, umask, keyring, limits: golden for each option ------------------------

SETS = ("bounding", "permitted", "effective", "inheritable", "ambient")

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "no capabilities": {"capabilities": {}},
    "nothing said of capabilities": {"capabilities": None},
    "ambient": {"capabilities": {kind: ["CAP_KILL"] for kind in SETS}},
    "inheritable alone": {"capabilities": {"inheritable": ["CAP_KILL"], "bounding": ["CAP_KILL"]}},
    "bounding alone": {"capabilities": {"bounding": ["CAP_KILL", "CAP_CHOWN"]}},
    "new privileges": {"noNewPrivileges": False},
    "umask": {"user": {"uid": 0, "gid": 0, "umask": 0o137}},
    "limits": {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 33, "hard": 44}]},
    "oom": {"oomScoreAdj": 555},
}
OF_ROOT: dict[str, dict[str, Any]] = {
    "user": {"user": {"uid": 1000, "gid": 1001}},
    "user with ambient": {
        "user": {"uid": 1000, "gid": 1001},
        "capabilities": {kind: ["CAP_KILL"] for kind in SETS},
    },
    "groups": {"user": {"uid": 1000, "gid": 1001, "additionalGids": [7, 1005]}},
}
SHOWN = (
    "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp)' /proc/self/status; echo Umask: $(umask);"
    " echo Files: $(ulimit -Sn) $(ulimit -Hn); echo Oom: $(cat /proc/self/oom_score_adj); /securebits; echo Bits: $?"
)


@pytest.mark.parametrize("way", ["run", "exec"])
def test_rights_are_those_of_the_golden_file(runtime: Runtime, way: str, sample: Sample):
    """ATOLL_WRITE_GOLDEN=1 with --full writes it anew; what is the session's own is shown where asked for only."""
    kind = "rootless" if runtime.user else "root"
    bundle = runtime.bundle()
    with open(bundle.path("/securebits"), "wb") as stream:
        # prctl(PR_GET_SECUREBITS): 27 in edi, 157 in eax; the answer is the exit code.
        stream.write(elf.program(b"\xbf\x1b\x00\x00\x00\xb8\x9d\x00\x00\x00\x0f\x05" + elf.EXIT))
    os.chmod(bundle.path("/securebits"), 0o755)
    plain = dict(bundle.config["process"])
    name = runtime.started(bundle) if way == "exec" else ""
    seen = {}
    every = {**OPTIONS, **({} if runtime.user else OF_ROOT)}
    for title in sample(list(every), 4):
        asked = every[title]
        document = {key: value for key, value in {**plain, **asked}.items() if value is not None}
        document["args"] = ["sh", "-c", SHOWN]
        if way == "run":
            bundle.config["process"] = document
            text = runtime.run(bundle).good()
        else:
            path = os.path.join(runtime.folder, "process.json")
            with open(path, "w") as stream:
                json.dump(document, stream)
            text = runtime.good("exec", "--process", path, name)
        lines = {
            key: " ".join(value.split()) for key, _, value in (line.partition(":") for line in text.splitlines())
        }
        unasked = {"Files": "rlimits", "Oom": "oomScoreAdj"}
        seen[title] = {key: value for key, value in lines.items() if unasked.get(key) in (None, *asked)}
    with open(GOLDEN) as stream:
        golden = json.load(stream)
    if os.environ.get("ATOLL_WRITE_GOLDEN"):
        golden.setdefault(kind, {})[way] = seen
        with open(GOLDEN, "w") as stream:
            stream.write(json.dumps(golden, indent=1) + "\n")
    assert seen == {title: golden[kind][way][title] for title in seen}


def test_a_newcomer_is_no_safer_from_the_oom_killer_than_its_container(runtime: Runtime):
    bundle = runtime.bundle()
    bundle.config["process"]["oomScoreAdj"] = 444
    name = runtime.started(bundle)
    assert runtime.good("exec", name, "cat", "/proc/self/oom_score_adj") == "444"


WITH_A_SESSION = """
import ctypes, os, platform, sys
keyctl = 219 if platform.machine() == "aarch64" else 250
libc = ctypes.CDLL(None, use_errno=True)
for operation in ((1, b"atoll-test-session"), (5, -3, 0x3F000000)):  # join, and only who possesses it may see it
    if libc.syscall(keyctl, *operation) < 0:
        sys.exit(f"{operation}: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_a_keyring_of_its_own(runtime: Runtime):
    """The session's keys are not the container's; with --no-new-keyring they are."""
    if not os.path.exists("/proc/keys"):
        pytest.skip("this kernel has no keyrings")
    bundle = runtime.bundle()
    bundle.config["linux"]["maskedPaths"] = []
    bundle.save("busybox", "cat", "/proc/keys")
    session = [sys.executable, "-c", WITH_A_SESSION, runtime.program]
    name = runtime.new_id()
    own = runtime.good("run", "-b", bundle.folder, name, before=session)
    assert f" _ses.{name}: " in own
    assert "atoll-test-session" not in own
    name = runtime.new_id()
    kept = runtime.good("run", "--no-new-keyring", "-b", bundle.folder, name, before=session)
    assert f" _ses.{name}: " not in kept
    assert "atoll-test-session" in kept


def _await(condition: Callable[[], Any], seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
