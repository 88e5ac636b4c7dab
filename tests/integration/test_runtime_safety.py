"""What `atoll-runtime` must survive: SIGKILL at each step, races on paths, programs that attack their runtime."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import random
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from kit import elf, processes
from kit.bundle import Bundle, Runtime, words
from kit.command import Result
from kit.waiting import until

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SOURCE = os.path.join(os.path.dirname(HERE), "src")

Sample = Callable[[Sequence[Any], int], list[Any]]

# --- SIGKILL at each step ---------------------------------------------------------------------------------------

CREATION = [
    (f"{when}:{point}", count)
    for point, most in (
        ("note", 1),
        ("cgroup", 1),
        ("clone", 1),
        ("join", 1),
        ("send", 2),
        ("record", 1),
        ("receive", 1),
        ("unlink", 1),
    )
    for count in range(1, most + 1)
    for when in ("before", "after")
]


def killed(runtime: Runtime, point: str, count: int, *words: str) -> Result:
    """Run the runtime so that it dies at a point."""
    program = os.path.join(HERE, "kit", "killed.py")
    result = runtime(
        *words, env={"PYTHONPATH": SOURCE}, before=[sys.executable, program, point, str(count)], timeout=30
    )
    assert result.code == -signal.SIGKILL, f"{point} was not reached: {result}"
    processes.reap()
    return result


@pytest.mark.parametrize("verb", ["create", "run"])
def test_creator_killed_then_delete_by_force(runtime: Runtime, verb: str, sample: Sample):
    for point in sample(CREATION, 6):
        _kill_creation(runtime, verb, point)


def _kill_creation(runtime: Runtime, verb: str, point: tuple[str, int]) -> None:
    name = runtime.new_id()
    bundle = runtime.bundle().save("sleep", "100")
    flags = ["--detach"] if verb == "run" else []
    killed(runtime, *point, verb, *flags, "-b", bundle.folder, name)
    state = runtime("state", name)
    assert state.code in (0, 1)
    assert "Traceback" not in state.err
    runtime("create", "-b", bundle.folder, name).failed(1, "already exists")
    runtime.good("delete", "--force", name)
    assert not os.path.exists(os.path.join(runtime.root, name))
    # The same name and cgroup serve again.
    assert runtime("run", "-b", bundle.save("true").folder, name).code == 0


@pytest.mark.parametrize("point", ["before:unlink", "after:unlink"])
def test_start_killed(runtime: Runtime, point: str):
    name = runtime.create(runtime.bundle(), "sleep", "100")
    killed(runtime, point, 1, "start", name)
    assert runtime.state(name)["status"] in ("created", "running")
    runtime.good("delete", "--force", name)


@pytest.mark.parametrize(
    "point",
    [("before:clone", 1), ("after:clone", 1), ("after:join", 1), ("after:send", 1), ("after:receive", 1)],
    ids=str,
)
def test_exec_killed(runtime: Runtime, point: tuple[str, int]):
    name = runtime.started(runtime.bundle())
    killed(runtime, *point, "exec", name, "sleep", "50")
    assert runtime.state(name)["status"] == "running"
    assert runtime("exec", name, "true").code == 0
    _end_strays(runtime, name)
    _delete_and_reap(runtime, name)


def _end_strays(runtime: Runtime, name: str) -> None:
    """A newcomer whose caller died is now our child: a pid namespace ends only when we have reaped it."""
    main = runtime.state(name)["pid"]
    for pid in json.loads(runtime.good("ps", "-f", "json", name)):
        if pid != main:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def _delete_and_reap(runtime: Runtime, name: str) -> None:
    """A stray that was about to end is ours to reap just as well, whenever it does."""
    child = runtime.popen("delete", "--force", name)

    def ended() -> bool:
        processes.reap()
        return child.poll() is not None

    try:
        until(ended)
    finally:
        processes.KEEP.discard(child.pid)
    assert child.returncode == 0


@pytest.mark.parametrize(
    "point",
    [
        ("before:signal", 1),
        ("after:signal", 1),
        ("before:kill", 1),
        ("after:kill", 1),
        ("before:remove", 1),
        ("after:remove", 1),
        ("before:tree", 1),
        ("after:tree", 1),
    ],
    ids=lambda point: point[0],
)
def test_delete_killed(runtime: Runtime, point: tuple[str, int]):
    name = runtime.started(runtime.bundle())
    killed(runtime, *point, "delete", "--force", name)
    runtime.good("delete", "--force", name)
    assert not os.path.exists(os.path.join(runtime.root, name))


def test_killed_at_any_moment(root_runtime: Runtime, rng: random.Random, full: bool):
    bundle = root_runtime.bundle().save("sleep", "100")
    for _ in range(100 if full else 8):
        name = root_runtime.new_id()
        null = subprocess.DEVNULL
        child = root_runtime.popen("run", "-d", "-b", bundle.folder, name, stdout=null, stderr=null)
        try:
            child.wait(timeout=rng.uniform(0.01, 0.2))
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        processes.reap()
        root_runtime.good("delete", "--force", name)


# --- the interpreter (CVE-2019-5736) ----------------------------------------------------------------------------

OVERWRITE = (
    "for f in 3 4 5 6 7 8 9; do (printf pwned > /proc/self/fd/$f) 2>/dev/null && echo OVERWROTE; done; sleep 1"
)


def interpreter() -> str:
    """The program that would be overwritten."""
    folder = os.path.dirname(sys.executable)
    return os.path.realpath(os.path.join(folder, "python3"))


def digest(path: str) -> str:
    with open(path, "rb") as stream:
        return hashlib.sha256(stream.read()).hexdigest()


def test_the_interpreter_cannot_be_overwritten(runtime: Runtime):
    before = digest(interpreter())
    bundle = runtime.bundle()
    os.makedirs(bundle.path("/lib64"))
    for path, content in (
        ("/lib64/ld-linux-x86-64.so.2", elf.hostile_loader(OVERWRITE)),
        ("/bin/evil", b"#!/proc/self/exe\n"),
    ):
        with open(bundle.path(path), "wb") as stream:
            stream.write(content)
        os.chmod(bundle.path(path), 0o755)
    for command in ("/proc/self/exe", "/proc/1/exe", "/bin/evil"):
        result = runtime.run(bundle, command)
        assert "OVERWROTE" not in result.out, result
        assert digest(interpreter()) == before
    name = runtime.started(bundle)
    for command in ("/proc/self/exe", "/bin/evil"):
        assert "OVERWROTE" not in runtime("exec", name, command).out
    assert digest(interpreter()) == before


# --- descriptors and directories (CVE-2024-21626) -----------------------------------------------------------------


def test_working_directory_by_a_descriptor_of_the_host(root_runtime: Runtime, sample: Sample):
    for number in sample(range(3, 21), 5):
        _enter_by_descriptor(root_runtime, number)


def _enter_by_descriptor(root_runtime: Runtime, number: int) -> None:
    bundle = root_runtime.bundle()
    folder = os.open("/", os.O_RDONLY | os.O_DIRECTORY)
    try:
        result = root_runtime(
            *("run", "-b", bundle.save("sh", "-c", "ls; pwd", cwd=f"/proc/self/fd/{number}").folder),
            root_runtime.new_id(),
            fds={number: folder},
        )
    finally:
        os.close(folder)
    assert "home" not in result.out.split()
    assert "boot" not in result.out.split()
    name = root_runtime.started(bundle.save(cwd="/"))
    result = root_runtime("exec", "--cwd", f"/proc/self/fd/{number}", name, "ls")
    assert "boot" not in result.out.split()


# --- paths that change under the runtime --------------------------------------------------------------------------

_libc = ctypes.CDLL(None)
_EXCHANGE = 2
_AT_FDCWD = -100


@pytest.fixture
def racer() -> Iterator[Callable[[str, str], None]]:
    """A function that exchanges two paths, without end, until the test is over."""
    stop, threads = threading.Event(), []

    def race(one: str, other: str) -> None:
        def exchange() -> None:
            first, second = one.encode(), other.encode()
            while not stop.is_set():
                for _ in range(200):
                    _libc.renameat2(_AT_FDCWD, first, _AT_FDCWD, second, _EXCHANGE)
                stop.wait(0.0005)

        threads.append(threading.Thread(target=exchange))
        threads[-1].start()

    yield race
    stop.set()
    for thread in threads:
        thread.join()


def test_mount_target_exchanged_for_a_link(root_runtime: Runtime, racer: Callable[[str, str], None], full: bool):
    """CVE-2021-30465: the target's parent is at times a link to a directory of the host."""
    bundle = root_runtime.bundle()
    host = os.path.join(bundle.folder, "host")
    os.makedirs(host)
    os.makedirs(bundle.path("/swap"))
    os.symlink(host, bundle.path("/link"))
    racer(bundle.path("/swap"), bundle.path("/link"))
    bundle.config["mounts"] += [
        {"destination": "/swap/deep/x", "type": "tmpfs", "source": "tmpfs", "options": ["size=4k"]},
        {"destination": "/swap/file", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]},
    ]
    bundle.config["linux"]["maskedPaths"].append("/swap/file")
    bundle.config["linux"]["readonlyPaths"].append("/swap/deep")
    bundle.config["linux"]["devices"] = [{"path": "/swap/node", "type": "c", "major": 1, "minor": 3}]
    for result in _many(root_runtime, bundle, 2000 if full else 40, "cat", "/proc/self/mountinfo"):
        assert "Traceback" not in result.err
        assert os.listdir(host) == [], result
        assert host not in result.out


def test_mount_source_exchanged_for_a_link(root_runtime: Runtime, racer: Callable[[str, str], None], full: bool):
    """What is mounted is either of the two, never something else; options hold for whichever it is."""
    bundle = root_runtime.bundle()
    volume = os.path.join(bundle.folder, "volume")
    os.makedirs(f"{volume}/a")
    with open(f"{volume}/a/inside", "w"):
        pass
    os.symlink("/etc", f"{volume}/b")
    racer(f"{volume}/a", f"{volume}/b")
    bundle.config["mounts"].append(
        {"destination": "/v", "type": "bind", "source": f"{volume}/a", "options": ["bind", "ro", "nosuid", "nodev"]}
    )
    script = "touch /v/new 2>/dev/null && echo WROTE; grep ' /v ' /proc/self/mountinfo"
    for result in _many(root_runtime, bundle, 500 if full else 20, "sh", "-c", script):
        assert "WROTE" not in result.out
        if result.code == 0:
            assert {"ro", "nosuid", "nodev"} <= set(result.out.split()[5].split(","))


def test_masked_and_read_only_paths_in_a_shared_volume(
    root_runtime: Runtime, racer: Callable[[str, str], None], full: bool
):
    """CVE-2025-31133 and its like: a path to hide is at times a link to what must not be covered or opened."""
    bundle = root_runtime.bundle()
    volume = os.path.join(bundle.folder, "volume")
    os.makedirs(f"{volume}/dir")
    os.symlink("/proc/sys/kernel", f"{volume}/link")
    racer(f"{volume}/dir", f"{volume}/link")
    bundle.config["mounts"].append({"destination": "/v", "type": "bind", "source": volume, "options": ["bind"]})
    linux = bundle.config["linux"]
    linux["maskedPaths"] = ["/v/dir/core_pattern", *linux["maskedPaths"]]
    linux["readonlyPaths"] = ["/v/dir", *linux["readonlyPaths"]]
    # Where the link was met, the mask lies on the very file: writing then goes to the null device.
    script = "(echo x > /proc/sys/kernel/core_pattern) 2>/dev/null; cat /proc/keys; cat /proc/kcore | head -c 1"
    before = _read("/proc/sys/kernel/core_pattern")
    for result in _many(root_runtime, bundle, 500 if full else 20, "sh", "-c", script):
        assert result.out == "", result
        assert _read("/proc/sys/kernel/core_pattern") == before


def _read(path: str) -> str:
    with open(path) as stream:
        return stream.read()


def _many(runtime: Runtime, bundle: Bundle, count: int, *command: str) -> Iterator[Result]:
    bundle.save(*command)
    for _ in range(count):
        name = runtime.new_id()
        yield runtime("run", "-b", bundle.folder, name)
        if not os.path.exists(os.path.join(runtime.root, name)):
            runtime.ids.remove(name)


# --- what is seen from inside -------------------------------------------------------------------------------------


def test_a_created_container_shows_nothing_of_its_runtime(runtime: Runtime):
    """The init that waits for start is this runtime's interpreter: not to be read, traced or entered from inside."""
    first = runtime.started(runtime.bundle())
    pid = runtime.state(first)["pid"]
    bundle = runtime.bundle()
    linux = bundle.config["linux"]
    if runtime.user is not None:
        linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] != "user"]
        linux["namespaces"].append({"type": "user", "path": f"/proc/{pid}/ns/user"})
        del linux["uidMappings"], linux["gidMappings"]
    linux["namespaces"][0]["path"] = f"/proc/{pid}/ns/pid"
    waiting = runtime.create(bundle, "sleep", "50")
    script = (
        "for p in /proc/[0-9]*; do case $p in /proc/1|/proc/self|/proc/$$) continue;; esac;"
        " cat $p/environ 2>/dev/null | grep -aq PATH= && grep -aq busybox $p/cmdline 2>/dev/null || true;"
        " head -c 1 $p/mem 2>/dev/null && echo READ; ls $p/fd >/dev/null 2>&1 && readlink $p/fd/3; done"
    )
    out = runtime("exec", first, "sh", "-c", script).out
    assert "READ" not in out
    assert runtime.root not in out
    runtime.good("delete", "--force", waiting)
    processes.reap()  # its init, ours by now, is the last of the first one's pid namespace


def test_host_facts_are_hidden(runtime: Runtime):
    write = "(echo x > /proc/sysrq-trigger) 2>/dev/null && echo WROTE"
    script = f"cat /proc/keys; head -c 1 /proc/kcore; ls /sys/firmware; {write}"
    assert runtime.run(runtime.bundle(), "sh", "-c", script).out == ""


def test_capability_sets(runtime: Runtime):
    bundle = runtime.bundle()
    out = words(runtime.run(bundle, "grep", "Cap", "/proc/self/status"))
    assert out == [
        *("CapInh:", "0000000000000000", "CapPrm:", "0000000000000021", "CapEff:", "0000000000000021"),
        *("CapBnd:", "0000000000000021", "CapAmb:", "0000000000000000"),
    ]
    bundle.config["process"].pop("capabilities")
    out = words(runtime.run(bundle, "grep", "Cap", "/proc/self/status"))
    assert set(out[1::2]) == {"0000000000000000"}


def test_ports_opened_inside_are_not_open_outside(runtime: Runtime):
    name = runtime.started(runtime.bundle(), "busybox", "nc", "-l", "-p", "47811", "-s", "127.0.0.1")
    with open("/proc/net/tcp") as stream:
        assert ":BAC3" not in stream.read()  # 47811
    runtime.good("delete", "--force", name)


def test_the_hosts_nodes_stay_whose_they_are(root_runtime: Runtime, tmp_path) -> None:
    """A node that is mounted from the host (`-v /dev/null:/dev/null`) is there, and is not ours to give away."""
    node = f"{tmp_path}/null"
    os.mknod(node, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    os.chown(node, 1234, 1235)
    os.chmod(node, 0o640)
    bundle = root_runtime.bundle()
    bundle.config["mounts"].append({"destination": "/dev/null", "type": "bind", "source": node, "options": ["bind"]})
    result = root_runtime("run", "-b", bundle.save("true", cwd="/").folder, root_runtime.new_id())
    assert result.code == 0, result
    info = os.stat(node)
    assert (info.st_uid, info.st_gid, info.st_mode & 0o7777) == (1234, 1235, 0o640)
