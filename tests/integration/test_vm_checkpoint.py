"""Machines that run, saved, gone on with and copied: the same state, nothing shared that must differ (threats 44).

Under TCG, as `test_vm.py`; what takes a machine's start each is asked of one machine, in order.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable

import pytest

from kit import steps, vm
from kit.command import PATIENCE, Atoll
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(900)
BOOT = 240.0 * PATIENCE
"""Seconds for the first machine, which may have to make its template on a busy host; nothing waits that long."""
SECONDS = 120.0 * PATIENCE
ALONE = ("--isolation", "vm", "--network", "none")
COUNT = "echo $$ > /pid; i=0; while :; do i=$((i+1)); echo $i > /count; sleep 0.1; done"
LOOK = (
    "hostname; cat /etc/hostname /etc/machine-id /proc/sys/kernel/random/boot_id;"
    "head -c 32 /dev/urandom | od -An -tx1; date +%s"
)


@pytest.fixture
def box(fresh: Callable[..., Atoll], machine_store: str, busybox: str) -> Atoll:
    """Root's Atoll, which may emulate, with a machine `web` that counts, writes to its disk and has a machine id."""
    one = fresh()
    vm.give(one, machine_store)
    one.good("pull", "-q", busybox)
    script = f"echo {'0' * 32} > /etc/machine-id; {COUNT}"
    how = ("--name", "web", "--restart", "always", "--cap-add", "SYS_TIME", *ALONE)
    one.good("run", "-d", *how, busybox, "sh", "-c", script, timeout=BOOT)
    until(lambda: one("exec", "web", "cat", "/count").code == 0, 120)
    return one


def _count(box: Atoll, name: str) -> int:
    """How far it has counted: it may be just writing that down."""
    deadline = time.monotonic() + SECONDS
    while not (said := box.good("exec", name, "cat", "/count").strip()):
        assert time.monotonic() < deadline
    return int(said)


def _goes_on(box: Atoll, name: str, since: int) -> None:
    """The same process counts on, from where it was."""
    script = (
        'c=; until [ -n "$c" ]; do c=$(cat /count); done; echo $c;'
        f"until [ $(cat /count) -gt {since + 2} ] 2>/dev/null; do sleep 0.1; done;"
        "tr '\\0' ' ' < /proc/$(cat /pid)/cmdline"
    )
    count, program = box.good("exec", name, "sh", "-c", script).split("\n", 1)
    assert int(count) >= since
    assert program.startswith("sh -c")


def test_forks_go_on_apart(box: Atoll):
    """Memory and disk are the same, identities are not, and the original goes on."""
    waiting = box.popen("exec", "web", "sleep", "600")
    until(lambda: "sleep 600" in box.good("exec", "web", "ps"), 120)
    box.good("exec", "web", "date", "-s", "@1000000000")  # 2001: whoever is renewed knows better
    since = _count(box, "web")
    made = box.good("fork", "--name", "one", "--name", "two", "web", timeout=BOOT).split()
    assert len(set(made)) == 2
    names = ("web", "one", "two")
    for name in names:
        _goes_on(box, name, since)
    seen = [box.good("exec", name, "sh", "-c", LOOK).splitlines() for name in names]
    for first, second, third in zip(*[lines[:-1] for lines in seen], strict=True):
        assert len({first, second, third}) == 3
    for name, lines in zip(names, seen, strict=True):
        assert lines[0] == lines[1] == box.inspect(name)["Id"][:12]
        assert abs(int(lines[-1]) - time.time()) < 3600
    assert "sleep 600" in box.good("exec", "web", "ps")  # what was executed besides is its command's
    assert "sleep 600" not in box.good("exec", "one", "ps")
    pids = {box.state(name)["Pid"] for name in names}
    assert len(pids) == 3
    box.good("exec", "one", "sh", "-c", "echo mine > /mine")
    assert box("exec", "two", "cat", "/mine").code == 1
    box.good("rm", "-f", *names)
    waiting.communicate(timeout=SECONDS)
    assert box("system", "check").code == 0


def test_a_checkpoint_and_its_restore(box: Atoll):
    place = f"{box.data}/containers/{box.inspect('web')['Id']}/checkpoints"
    since = _count(box, "web")
    box.good("checkpoint", "create", "--leave-running", "web", "early")
    box("checkpoint", "create", "--leave-running", "web", "early").failed(1, "already exists")
    _goes_on(box, "web", since)
    assert box.good("checkpoint", "web") == "web"
    assert box.wait_for("web", "exited")["ExitCode"] == 0  # and no policy starts it again
    later = int(since)
    assert box.good("checkpoint", "ls", "-q", "web").split() == ["checkpoint", "early"]
    for name in ("checkpoint", "early"):
        assert os.stat(f"{place}/{name}").st_mode & 0o777 == 0o700
        for file in os.listdir(f"{place}/{name}"):
            assert os.stat(f"{place}/{name}/{file}").st_mode & 0o777 == 0o600
    assert "Checkpoints" in box.good("system", "df")
    box.good("restore", "web")
    _goes_on(box, "web", later)
    assert box.good("checkpoint", "ls", "-q", "web") == "early"
    box("restore", "--checkpoint", "early", "web").failed(1, "already running")
    copy = box.good("restore", "--checkpoint", "early", "--name", "copy", "web")
    assert box.inspect("copy")["Id"] == copy
    _goes_on(box, "copy", since)
    box("restore", "web").failed(1, "checkpoint checkpoint does not exist")
    box.good("stop", "-t", "0", "web")
    assert box.good("start", "--checkpoint", "early", "web") == "web"
    _goes_on(box, "web", since)
    box.good("checkpoint", "rm", "web", "early")
    assert box.good("checkpoint", "ls", "-q", "web") == ""
    # Without memory it is started anew, with what it had written.
    box.good("exec", "web", "sh", "-c", "echo kept > /kept; echo 0 > /count")
    box.good("checkpoint", "--memory=false", "web")
    box.wait_for("web", "exited")
    box.good("restore", "web")
    assert box.good("exec", "web", "cat", "/kept") == "kept"
    box.good("rm", "-f", "web", "copy")
    assert box("system", "check").code == 0


def test_what_cannot_be_saved_is_refused_by_name(box: Atoll, busybox: str):
    box.good("create", "--name", "plain", "--network", "none", busybox, "sleep", "600")
    box("checkpoint", "plain").failed(
        1, "cannot checkpoint container plain: at the level 'container'", "--isolation vm"
    )
    box("fork", "plain").failed(1, "cannot checkpoint container plain")
    box.good("create", "--name", "volumes", *ALONE, "-v", "named:/data", busybox, "sleep", "600")
    box("checkpoint", "volumes").failed(1, r"its volumes \(/data\)", "--memory=false")
    box("fork", "volumes").failed(1, r"its volumes \(/data\)")
    box.good("pause", "web")
    box("checkpoint", "web").failed(1, "is paused")
    box.good("unpause", "web")
    box.good("checkpoint", "create", "web", "other")
    box("checkpoint", "web").failed(1, "is not running")
    path = f"{box.data}/containers/{box.inspect('web')['Id']}/checkpoints/other/machine.json"
    with open(path) as stream:
        record = stream.read()
    for name, wanted in (
        ("vmm", "the machine monitor"),
        ("kernel", "the guest's kernel"),
        ("agent", "Atoll or Python"),
    ):
        with open(path, "w") as stream:
            stream.write(record.replace(f'"{name}":"', f'"{name}":"x'))
        box("restore", "--checkpoint", "other", "web").failed(1, "very same machine only", wanted)
    with open(path, "w") as stream:
        stream.write(record.replace('"memory":256', '"memory":512'))
    box("restore", "--checkpoint", "other", "web").failed(1, r"the memory in MiB \(512, here 256\)")
    box("restore", "--checkpoint", "../other", "web").failed(1, "does not exist")
    box.good("rm", "-f", "web", "plain", "volumes")
    assert box("system", "check").code == 0


def test_an_archive_goes_on_in_another_store(
    box: Atoll, fresh: Callable[..., Atoll], machine_store: str, sandbox: Sandbox, rng: random.Random
):
    """Memory, disk and image travel; what it may do is said where it arrives."""
    path, cold = f"{sandbox.scratch}/web.tar", f"{sandbox.scratch}/cold.tar"
    since = _count(box, "web")
    box.good("checkpoint", "--export", path, "--with-image", "--leave-running", "web")
    assert os.stat(path).st_mode & 0o777 == 0o600
    _goes_on(box, "web", since)
    box.good("exec", "web", "sh", "-c", "echo kept > /kept")
    box.good("checkpoint", "--export", cold, "--memory=false", "web")
    assert box.wait_for("web", "exited")["ExitCode"] == 0
    there = fresh()
    vm.give(there, machine_store)
    there("restore", "--import", cold).failed(1, "No such image", "--with-image")
    with open(path, "r+b") as stream:
        at = rng.randrange(1 << 20, 32 << 20)  # of its memory
        stream.seek(at)
        byte = stream.read(1)
        stream.seek(at)
        stream.write(bytes([byte[0] ^ 1]))
    there("restore", "--import", path).failed(1, "is not what its digest promised")
    assert there.all() == []
    assert there.good("images", "-q") == ""
    with open(path, "r+b") as stream:
        stream.seek(at)
        stream.write(byte)
    there("restore", "--import", path, "--memory", "512m").failed(1, "very same machine only")
    made = there.good("restore", "--import", path, "--network", "none", "--name", "copy", "--cap-drop", "ALL")
    assert there.inspect("copy")["Id"] == made
    assert there.inspect("copy")["HostConfig"]["CapDrop"] == ["ALL"]
    assert there.inspect("copy")["HostConfig"]["RestartPolicy"]["Name"] == "no"
    _goes_on(there, "copy", since)
    anew = there.good("restore", "--import", cold, "--network", "none", "--name", "anew")
    assert there.good("exec", anew, "cat", "/kept") == "kept"
    there.good("rm", "-f", "copy", "anew")
    box.good("rm", "-f", "web")
    for one in (there, box):
        assert one("system", "check").code == 0


def test_a_command_that_is_killed_leaves_the_old_or_the_new(box: Atoll, rng: random.Random, full: bool):
    """SIGKILL of `checkpoint` and `restore` before a step: whole, and the next command is right."""
    for words in (("checkpoint", "web"), ("restore", "--keep", "web")):
        _ready(box, words[0])
        count = steps.run_killed(box, 0, words, SECONDS)
        assert count > 10
        chosen = range(1, count + 1) if full else rng.sample(range(1, count + 1), 1)
        for number in chosen:
            _ready(box, words[0])
            steps.run_killed(box, number, words, SECONDS)
            _whole(box)
    box.good("rm", "-f", "web")
    assert box("system", "check").code == 0


def _ready(box: Atoll, verb: str) -> None:
    """A machine that runs for `checkpoint`, one that has ended with a checkpoint for `restore`."""
    running = box.state("web")["Status"] == "running"
    if verb == "checkpoint" and not running:
        box.good("start", "web")
    elif verb == "restore" and running:
        box.good("checkpoint", "web")
    if verb == "checkpoint":
        assert _count(box, "web") > 0


def _whole(box: Atoll) -> None:
    """The container runs or has ended, what it wrote is there, and a checkpoint is one."""
    until(lambda: box.state("web")["Status"] in ("running", "exited", "created"), 120)
    box("system", "check", "--repair")
    assert box("system", "check").code == 0
    if box.state("web")["Status"] == "running":
        assert _count(box, "web") > 0
    for name in box.good("checkpoint", "ls", "-q", "web").split():
        box.good("restore", "--checkpoint", name, "--name", "proof", "web")
        assert _count(box, "proof") > 0
        box.good("rm", "-f", "proof")


@pytest.mark.full
def test_copies_are_neighbours(net: Atoll, busybox: str, machine_store: str):
    """On the same network, each with an address and a MAC of its own, by which it answers."""
    vm.give(net, machine_store)
    net.good("network", "create", "front")
    serve = "while :; do hostname | nc -l -p 80; done"
    net.good(
        "run",
        "-d",
        "--name",
        "web",
        "--isolation",
        "vm",
        "--network",
        "front",
        busybox,
        "sh",
        "-c",
        serve,
        timeout=BOOT,
    )
    net.good("fork", "--name", "copy", "web", timeout=BOOT)
    seen = {}
    for name in ("web", "copy"):
        mine = net.inspect(name)["NetworkSettings"]["Networks"]["front"]
        shown = net.good("exec", name, "ip", "address", "show", "eth0")
        assert mine["IPAddress"] in shown
        assert mine["MacAddress"] in shown
        assert shown.count("inet ") == 1
        seen[name] = (mine["IPAddress"], mine["MacAddress"])
    assert not set(seen["web"]) & set(seen["copy"])
    _answers(net, "web", "copy")
    _answers(net, "copy", "web")
    net.good("rm", "-f", "web", "copy")
    net.good("network", "rm", "front")


def _answers(net: Atoll, name: str, other: str) -> None:
    """`other` says its host name to `name`, in time."""
    wanted = net.inspect(other)["Id"][:12]
    until(lambda: net("exec", name, "nc", "-w", "5", other, "80").out.strip() == wanted, 120)
