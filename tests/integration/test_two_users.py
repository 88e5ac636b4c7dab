"""Two ordinary users of one host: what one has, the other can neither see, reach, read, starve nor plant.

The attacks are attempted by programs of the second user (`PROBES`), which say what they could do; root then takes
permissions away (a directory, a socket made open to all) to see that a peer's uid is asked for as well.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import stat
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from kit import processes
from kit.command import Atoll
from kit.sandbox import Sandbox, cgroup_mounts

pytestmark = pytest.mark.timeout(300)
CANARY = "canary-5f1d2c"

# Each is given facts as JSON and prints the list of what it could do, which is to be empty.
READ = r"""
import json, os, sys
told, got = json.loads(sys.argv[1]), []
for place in told["places"]:
    for way in (lambda: os.listdir(place), lambda: os.open(place, os.O_RDONLY), lambda: os.stat(place + "/.")):
        try:
            way()
            got.append(place)
        except PermissionError:
            pass
print(json.dumps(got))
"""
PROCESSES = r"""
import ctypes, errno, json, os, signal, sys
told, got = json.loads(sys.argv[1]), []
libc = ctypes.CDLL(None, use_errno=True)
def tried(what, pid, way):
    try:
        way()
        got.append(f"{what} {pid} {told['pids'][pid]}")
    except (PermissionError, ProcessLookupError, FileNotFoundError):
        pass
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.EACCES, errno.ESRCH):
            got.append(f"{what} {pid}: {error}")
def call(number, *args):
    if libc.syscall(number, *[ctypes.c_long(a) if isinstance(a, int) else a for a in args]) < 0:
        raise OSError(ctypes.get_errno(), "refused")
for name in told["pids"]:
    pid = int(name)
    for file in ("environ", "maps", "mem", "pagemap", "auxv", "stack", "syscall", "io"):
        tried(file, name, lambda: os.read(os.open(f"/proc/{pid}/{file}", os.O_RDONLY), 1))
    for link in ("root", "cwd", "exe", "ns/net", "ns/mnt", "ns/user"):
        tried(link, name, lambda: os.readlink(f"/proc/{pid}/{link}"))
    tried("fd", name, lambda: os.listdir(f"/proc/{pid}/fd"))
    tried("root/", name, lambda: os.listdir(f"/proc/{pid}/root/"))
    for number in (0, signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP):
        tried(f"signal {number}", name, lambda: os.kill(pid, number))
    tried("ptrace", name, lambda: call(101, 0x4206, pid, 0, 0))  # PTRACE_SEIZE
    data = ctypes.create_string_buffer(8)
    class Iovec(ctypes.Structure):
        _fields_ = [("base", ctypes.c_void_p), ("size", ctypes.c_size_t)]
    one, other = Iovec(ctypes.addressof(data), 8), Iovec(0x400000, 8)
    tried("process_vm_readv", name, lambda: call(310, pid, ctypes.byref(one), 1, ctypes.byref(other), 1, 0))
    def steal():
        pidfd = os.pidfd_open(pid)
        call(438, pidfd, 1, 0)
    tried("pidfd_getfd", name, steal)
    tried("oom_score_adj", name, lambda: os.write(os.open(f"/proc/{pid}/oom_score_adj", os.O_WRONLY), b"1000"))
    tried("prlimit", name, lambda: __import__("resource").prlimit(pid, 7, (3, 3)))
    tried("affinity", name, lambda: os.sched_setaffinity(pid, {0}))
    tried("priority", name, lambda: os.setpriority(os.PRIO_PROCESS, pid, 19))
print(json.dumps(got))
"""
CGROUPS = r"""
import json, os, sys
told, got = json.loads(sys.argv[1]), []
for place in told["cgroups"]:
    for file, text in (("cgroup.procs", str(os.getpid())), ("tasks", str(os.getpid())), ("cgroup.kill", "1"),
                       ("cgroup.freeze", "1"), ("freezer.state", "FROZEN"), ("pids.max", "0"),
                       ("memory.limit_in_bytes", "1"), ("memory.max", "1"), ("cpu.max", "1000 1000000")):
        try:
            with open(f"{place}/{file}", "w") as stream:
                stream.write(text)
            got.append(f"{place}/{file}")
        except (PermissionError, FileNotFoundError):
            pass
    try:
        os.mkdir(f"{place}/planted")
        got.append(f"{place}/planted")
    except PermissionError:
        pass
print(json.dumps(got))
"""
SOCKETS = r"""
import json, os, socket, sys
told, got = json.loads(sys.argv[1]), []
for path in told["sockets"]:
    peer = socket.socket(socket.AF_UNIX)
    peer.settimeout(5)
    try:
        os.chdir(os.path.dirname(path))  # the path may be longer than an address
        for _ in range(told.get("times", 1) - 1):
            socket.socket(socket.AF_UNIX).connect(os.path.basename(path))
        peer.connect(os.path.basename(path))
        body = b'{"do":"ping","v":1}'
        peer.sendall(b"\x08\0\0\0" + len(body).to_bytes(4, "big") + body)
        answer = peer.recv(4096)
        got.append([path, answer.decode(errors="replace")])
    except PermissionError:
        pass
    except OSError as error:  # closed without a word
        got.append([path, ""])
print(json.dumps(got))
"""


def probe(one: Atoll, code: str, **facts: Any) -> Any:
    """What a program of that user could do."""
    user = one.user
    assert user is not None
    result = subprocess.run(
        ["/usr/bin/python3", "-c", code, json.dumps(facts)],
        user=user.uid, group=user.gid, extra_groups=[], cwd="/", capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout)


@pytest.fixture
def victim(rootless: Atoll) -> Atoll:
    """Somebody with a container that runs, a volume, a secret, and a spawner that has its door and spares."""
    words = ("--name", "web", "--network", "none", "-v", "keep:/keep", "-e", f"SECRET={CANARY}", "host")
    rootless.good("volume", "create", "keep")
    rootless.good("run", "-d", *words, "sleep", "600")
    rootless.good("exec", "web", "sh", "-c", f"echo {CANARY} > /keep/file; echo {CANARY} >> /tmp/x")
    deadline = time.monotonic() + 20
    while not os.path.exists(f"{rootless.run_root}/door.sock"):
        assert time.monotonic() < deadline, "the spawner never opened its door"
        time.sleep(0.05)
    return rootless


@pytest.fixture
def other(single: Atoll) -> Atoll:
    """Somebody else, who has used Atoll, too."""
    single.good("ps")
    return single


def pids_of(one: Atoll) -> dict[str, str]:
    """Every process of that user's Atoll and of his containers."""
    found: dict[str, str] = {}
    for spawner in processes.spawners(one.run_root):
        for process in (spawner, *processes.descendants(spawner.pid)):
            found[str(process.pid)] = process.title
    assert any("sleep" in title for title in found.values()), found
    assert any("monitor" in title for title in found.values()), found
    return found


def sockets_of(one: Atoll) -> list[str]:
    """Every socket below that user's run root."""
    found = []
    for folder, _, names in os.walk(one.run_root):
        found += [f"{folder}/{name}" for name in names if stat.S_ISSOCK(os.lstat(f"{folder}/{name}").st_mode)]
    kinds = {os.path.basename(path).partition("-")[0] for path in found}
    assert {"door.sock", "attach.sock", "spawner"} <= kinds, found
    return found


def test_files_and_sockets_are_out_of_reach(victim: Atoll, other: Atoll) -> None:
    places = [victim.data, victim.run_root, f"{victim.data}/volumes", f"{victim.data}/atoll.db"]
    places += [os.path.join(folder, name) for folder, _, names in os.walk(victim.run_root) for name in names]
    assert probe(other, READ, places=places) == []
    assert probe(other, SOCKETS, sockets=sockets_of(victim)) == []


def test_processes_are_out_of_reach(victim: Atoll, other: Atoll) -> None:
    before = pids_of(victim)
    assert probe(other, PROCESSES, pids=before) == []
    assert victim.good("exec", "web", "echo", "alive") == "alive"


def test_cgroups_are_out_of_reach(victim: Atoll, other: Atoll) -> None:
    init = victim.good("inspect", "-f", "{{.State.Pid}}", "web")
    places = []
    with open(f"/proc/{init}/cgroup") as stream:
        for line in stream:
            _, controllers, path = line.strip().split(":", 2)
            for names, mounted in cgroup_mounts():
                if (names or "") == controllers.removeprefix("name="):
                    places.append(mounted + path)
    places = [place for place in places if os.path.isdir(place)]
    assert places
    assert probe(other, CGROUPS, cgroups=places) == []
    assert victim.good("ps", "--format", "{{.Names}}") == "web"


def test_nothing_of_it_shows_in_shared_places(victim: Atoll, other: Atoll) -> None:
    """No abstract socket, nothing readable in /dev/shm or /tmp, no argument or name with a secret in it."""
    pids = pids_of(victim)
    held = set()
    for pid in pids:
        for fd in os.listdir(f"/proc/{pid}/fd"):
            link = os.readlink(f"/proc/{pid}/fd/{fd}")
            if link.startswith("socket:["):
                held.add(link[8:-1])
        with open(f"/proc/{pid}/cmdline", "rb") as stream:
            assert CANARY.encode() not in stream.read()
    with open(f"/proc/{next(iter(pids))}/net/unix") as stream:
        abstract = [
            line for line in stream if line.split()[6] in held and line.split()[7:8] and "@" in line.split()[7]
        ]
    assert abstract == []
    assert victim.user is not None
    for shared in ("/dev/shm", "/tmp"):
        for entry in os.scandir(shared):
            found = entry.stat(follow_symlinks=False)
            # The test's own roots lie here; they are told apart by who may enter.
            if found.st_uid == victim.user.uid and entry.path not in (victim.folder, victim.user.home):
                assert not found.st_mode & 0o077, entry.path


def test_names_mean_nothing_to_the_other(victim: Atoll, other: Atoll) -> None:
    identity = victim.good("inspect", "-f", "{{.Id}}", "web")
    for name in ("web", identity, identity[:12]):
        for words in (("inspect",), ("logs",), ("exec",), ("stop",), ("kill",), ("rm", "-f"), ("cp",), ("export",)):
            more = {"exec": (name, "true"), "cp": (f"{name}:/keep/file", "-")}.get(words[0], (name,))
            result = other(*words, *more)
            assert CANARY not in result.out + result.err
            assert result.code or words[0] == "rm", result
    assert other.good("ps", "-aq") == ""
    assert "keep" not in other.good("volume", "ls", "-q").split()
    assert other.good("secret", "ls", "-q") == ""
    assert CANARY not in other("system", "events", "--since", "1h", "--until", "0s").out
    # The same names are free for him.
    other.good(
        "run",
        "--rm",
        "--name",
        "web",
        "-v",
        "keep:/keep",
        "--network",
        "none",
        "host",
        "test",
        "!",
        "-e",
        "/keep/file",
    )
    assert victim.good("exec", "web", "cat", "/keep/file") == CANARY


def test_pointing_at_the_others_roots(victim: Atoll, other: Atoll) -> None:
    """His own command with the victim's places is refused, and changes nothing."""
    for env in (
        {"ATOLL_DATA_ROOT": victim.data},
        {"ATOLL_RUN_ROOT": victim.run_root},
        {"ATOLL_DATA_ROOT": victim.data, "ATOLL_RUN_ROOT": victim.run_root},
    ):
        for words in (("ps", "-a"), ("rm", "-f", "web"), ("run", "--rm", "host", "true")):
            result = other(*words, env=env)
            assert result.code, result
            assert CANARY not in result.out + result.err
    assert victim.good("ps", "--format", "{{.Names}}") == "web"


def test_sockets_ask_who_is_there(victim: Atoll, other: Atoll) -> None:
    """With every permission taken away, a connection of the other is closed without a word."""
    opened = [
        victim.folder,
        victim.run_root,
        *(os.path.join(f, n) for f, ns, _ in os.walk(victim.run_root) for n in ns),
    ]
    sockets = sockets_of(victim)
    modes = {path: stat.S_IMODE(os.stat(path).st_mode) for path in (*opened, *sockets)}
    try:
        for path in modes:
            os.chmod(path, 0o777)
        got = probe(other, SOCKETS, sockets=sockets)
        assert {path for path, _ in got} == set(sockets)  # it did get through to them
        for path, answer in got:
            assert "pong" not in answer, (path, answer)
            assert not answer or re.search("denied|user", answer), (path, answer)
    finally:
        for path, mode in modes.items():
            os.chmod(path, mode)
    assert victim.good("exec", "web", "echo", "alive") == "alive"


@pytest.fixture
def planted(victim: Atoll) -> Iterator[str]:
    """The directory in /tmp that a user without XDG_RUNTIME_DIR would use, free to be planted."""
    assert victim.user is not None
    path = f"/tmp/atoll-{victim.user.uid}"  # the very name is what is attacked
    assert not os.path.lexists(path)
    yield path
    if os.path.islink(path):
        os.unlink(path)
    else:
        shutil.rmtree(path, ignore_errors=True)


@pytest.mark.parametrize("how", ["directory", "link", "open"])
def test_a_planted_run_root_is_not_used(
    victim: Atoll, other: Atoll, planted: str, how: str, sandbox: Sandbox
) -> None:
    """The other made it first, with a door that listens: nothing is sent there, and the command says why not."""
    assert victim.user is not None
    assert other.user is not None
    real = planted
    if how == "link":
        real = os.path.join(sandbox.scratch, "planted")
        os.symlink(real, planted)
        os.lchown(planted, other.user.uid, other.user.gid)
    os.mkdir(real, 0o777)
    os.chmod(real, 0o777)
    owner = victim.user.uid if how == "open" else other.user.uid
    os.chown(real, owner, -1)
    heard: list[bytes] = []
    door = socket.socket(socket.AF_UNIX)
    door.bind(f"{real}/door.sock")
    os.chmod(f"{real}/door.sock", 0o777)
    door.listen()
    door.settimeout(0.2)
    done = threading.Event()

    def listen() -> None:
        while not done.is_set():
            try:
                peer, _ = door.accept()
            except TimeoutError:
                continue
            peer.settimeout(2)
            try:
                heard.append(peer.recv(1 << 16))
            except OSError:
                heard.append(b"")
            peer.close()

    listener = threading.Thread(target=listen)
    listener.start()
    try:
        # `env` can only add: the command's own environment without the two variables is made by a shell.
        result = run_without(victim, ("ATOLL_RUN_ROOT", "XDG_RUNTIME_DIR"), "run", "--rm", "host", "true")
    finally:
        done.set()
        listener.join()
        door.close()
        if how == "link":
            shutil.rmtree(real)
    assert result.returncode == 125, result
    assert re.search("cannot use|not a directory|belongs to|may write|open to other", result.stderr), result.stderr
    assert not any(heard), heard


def run_without(one: Atoll, names: tuple[str, ...], *words: str) -> subprocess.CompletedProcess[str]:
    """A command without some of its environment."""
    from kit.command import installed

    user = one.user
    assert user is not None
    env = {key: value for key, value in one.env.items() if key not in names}

    def enter() -> None:
        if one.join is not None:
            one.join()
        os.setgroups([])
        os.setresgid(user.gid, user.gid, user.gid)
        os.setresuid(user.uid, user.uid, user.uid)

    command = [installed(), *words]
    return subprocess.run(
        command, env=env, cwd="/", preexec_fn=enter, capture_output=True, text=True, timeout=60, check=False
    )


def test_a_flood_of_connections_reaches_nobody(victim: Atoll, other: Atoll) -> None:
    """One that floods what he can reach takes nothing from the victim: commands go on being answered."""
    assert probe(other, SOCKETS, sockets=sockets_of(victim), times=300) == []
    assert victim.good("exec", "web", "echo", "alive") == "alive"
