"""The level `vm` through the whole of Atoll: the same commands with one flag changed, under TCG."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import time
from collections.abc import Callable

import pytest

from kit import kernels, processes, vm
from kit import outside as world
from kit.command import Atoll
from kit.outside import HOSTS, Outside
from kit.sandbox import Sandbox
from kit.waiting import said

pytestmark = pytest.mark.timeout(300)
VM = ("--isolation", "vm")
WHY = {"vmm": " has ended", "virtiofsd": "the server of its volumes has ended"}
"""What inspect says of an end: of a VMM its own is noticed first, or that of its port."""


def test_a_day_of_a_machine(machines: Atoll, busybox: str):
    box = machines
    script = "echo up; trap 'echo term; exit 4' TERM; while :; do sleep 0.1; done"
    box.good("run", "-d", "--name", "web", *VM, "-e", "WORD=given", "-m", "64m", busybox, "sh", "-c", script)
    assert box.good("exec", "web", "sh", "-c", "uname -r; echo $WORD").split() == [_release(box), "given"]
    assert box.good("exec", "web", "cat", "/sys/fs/cgroup/memory.max") == str(64 << 20)
    assert "software emulation (TCG)" in str(box.inspect("web"))
    assert box("exec", "web", "sh", "-c", "exit 7").code == 7
    box("exec", "web", "/no/such").failed(127)
    assert box("exec", "-i", "web", "cat", stdin="typed").good() == "typed"
    assert "1 " in box.good("exec", "web", "ps")
    box.good("exec", "web", "sh", "-c", "echo kept > /kept")
    box.good("pause", "web")
    assert box.state("web")["Paused"]
    box.good("unpause", "web")
    assert box.good("logs", "web") == "up"
    box.good("stop", "web")
    assert box.state("web")["ExitCode"] == 4
    assert box.good("logs", "web").split() == ["up", "term"]
    box.good("start", "web")
    assert box.good("exec", "web", "cat", "/kept") == "kept"
    box.good("update", "-m", "128m", "--pids-limit", "99", "web")
    limits = box.good("exec", "web", "cat", "/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/pids.max")
    assert limits.split() == [str(128 << 20), "99"]
    box("update", "-m", "1g", "--memory-swap", "2g", "web").failed(1, "this machine began with 256 MiB")
    box.good("rm", "-f", "web")
    assert box("system", "check").code == 0


def _release(box: Atoll) -> str:
    """The guest's kernel: not ours."""
    release = box.good("exec", "web", "uname", "-r")
    assert release != os.uname().release
    return release


def test_exit_codes_and_streams(machines: Atoll, busybox: str):
    done = machines("run", "--rm", *VM, busybox, "sh", "-c", "echo out; echo err >&2; exit 3")
    assert (done.code, done.out, done.err) == (3, "out\n", "err\n")
    machines("run", "--rm", *VM, busybox, "/no/such").failed(127)
    assert machines("run", "--rm", "-i", *VM, busybox, "cat", stdin="x" * 300_000).good() == "x" * 300_000
    assert machines.all() == []


def test_want_of_memory_is_told(machines: Atoll, busybox: str):
    """Of the container's limit, and of the whole guest: by inspect and events as of a container, and its agent
    lives."""
    box, hungry = machines, ("dd", "if=/dev/zero", "of=/dev/null", "bs=220M", "count=1")
    script = "trap 'exit 5' TERM; while :; do sleep 0.2; done"
    box.good("run", "-d", "--name", "whole", *VM, busybox, "sh", "-c", script)
    assert box("exec", "whole", *hungry).code == 137
    assert box.good("exec", "whole", "echo", "lives") == "lives"
    box.good("stop", "whole")
    state = box.state("whole")
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (5, True, "")
    done = box("run", "--name", "limited", *VM, "-m", "32m", busybox, *hungry)
    done.failed(137, "ran out of memory and was killed")
    state = box.state("limited")
    assert (state["ExitCode"], state["OOMKilled"], state["Error"]) == (137, True, "out of memory")
    assert box.good("wait", "limited") == "137"
    form = ("--format", "{{.Actor.Attributes.name}} {{.Action}}")
    shown = box.good("events", "--since", "10m", "--until", "0s", *form).splitlines()
    ends = [line for line in shown if line.split()[1] in ("oom", "die")]
    assert ends == ["whole oom", "whole die", "limited oom", "limited die"]
    box.good("rm", "limited", "whole")


def test_two_restores_share_nothing_that_must_differ(machines: Atoll, busybox: str):
    """threats.md 44: what a template had is renewed before anything of the user's runs."""
    files = "/proc/sys/kernel/random/boot_id /proc/sys/kernel/random/uuid"
    look = f"cat {files}; head -c 32 /dev/urandom | od -An -tx1; hostname; date +%s"
    seen = [machines.good("run", "--rm", *VM, busybox, "sh", "-c", look).splitlines() for _ in range(2)]
    for first, second in zip(seen[0][:-1], seen[1][:-1], strict=True):
        assert first != second
    for one in seen:
        assert abs(int(one[-1]) - time.time()) < 60
    for folder, _, names in os.walk(f"{machines.data}/vm/templates/"):
        for name in names:
            if not name.endswith(".lock"):
                assert os.stat(f"{folder}/{name}").st_mode & 0o777 == 0o600


def test_what_a_template_lends_is_its_containers_own(machines: Atoll, busybox: str):
    look = ("sh", "-c", "ls /sys/class/net; cat /proc/sys/net/ipv4/ip_default_ttl")
    machines.good("run", "-d", "--name", "web", *VM, busybox, "sleep", "600")
    assert machines.good("exec", "web", *look).split() == ["lo", "64"]
    links = ("sh", "-c", "for one in 1 self; do readlink /proc/$one/ns/net; readlink /proc/$one/ns/ipc; done")
    inside = machines.good("exec", "web", *links).split()
    assert inside[:2] == inside[2:]
    sysctl = ("--sysctl", "net.ipv4.ip_default_ttl=70")
    assert machines.good("run", "--rm", *VM, *sysctl, busybox, *look).split() == ["lo", "70"]


def test_volumes(machines: Atoll, busybox: str, sandbox: Sandbox):
    place = f"{sandbox.scratch}/volume"
    os.mkdir(place)
    with open(f"{place}/a", "w") as stream:
        stream.write("from the host\n")
    script = "cat /data/a /one; echo from the guest > /data/b; echo no > /ro/c"
    volumes = ("-v", f"{place}:/data", "-v", f"{place}:/ro:ro", "-v", f"{place}/a:/one:ro", "-v", "named:/bin2")
    done = machines("run", "--rm", *VM, *volumes, busybox, "sh", "-c", script)
    assert done.out == "from the host\n" * 2
    assert "Read-only" in done.err
    with open(f"{place}/b") as stream:
        assert stream.read() == "from the guest\n"
    assert not os.path.exists(f"{place}/c")


def test_what_a_machine_cannot_do_is_refused_by_name(machines: Atoll, busybox: str):
    for flag in (("--device", "/dev/null:/dev/x"), ("--network", "host"), ("--pid", "host")):
        machines("run", "--rm", *VM, *flag, busybox, "true").failed(125, "isolation level 'vm' cannot")
    machines("run", "--rm", *VM, "host", "true").failed(125, "isolation level 'vm' cannot")
    assert machines.all() == []


def test_without_a_kernel_or_kvm_it_says_so(atoll: Atoll, busybox: str):
    atoll("run", "--rm", *VM, busybox, "true").failed(125, "isolation level 'vm'", "no kernel")
    assert "no kernel" in atoll.good("isolation", "ls")
    assert atoll.all() == []


def test_the_jail(machines: Atoll, busybox: str, sandbox: Sandbox):
    """The VMM is nobody, can do nothing, and sees no file of the host's; a guest's memory is nobody else's."""
    machines.good("run", "-d", "--name", "web", *VM, busybox, "sleep", "600")
    init = int(machines.state("web")["Pid"])
    below = [one for one in processes.everyone() if one.pid == init or one.parent == init]
    assert len(below) == 2
    host = set(os.listdir("/"))
    for one in below:
        with open(f"/proc/{one.pid}/status") as stream:
            status = dict(line.rstrip("\n").split(":\t", 1) for line in stream if ":\t" in line)
        assert int(status["Uid"].split()[0]) >= 2_000_100_000
        assert len({*status["Uid"].split(), *status["Gid"].split()}) == 1
        assert status["Groups"].strip() == ""
        assert {status[name] for name in ("CapInh", "CapPrm", "CapEff", "CapAmb")} == {"0" * 16}
        assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
        for kind in ("mnt", "pid", "net", "ipc", "uts", "cgroup"):
            assert os.readlink(f"/proc/{one.pid}/ns/{kind}") != os.readlink(f"/proc/self/ns/{kind}"), kind
        _look_at_mounts(one.pid, host)
    vmm = next(one.pid for one in below if one.pid != init)
    with open(f"/proc/{vmm}/limits") as stream:
        limits = {line[:26].strip(): line[26:].split()[:2] for line in stream}
    assert limits["Max core file size"] == ["0", "0"]
    assert limits["Max open files"] == ["256", "256"]
    for fd in os.listdir(f"/proc/{vmm}/fd"):
        there = os.readlink(f"/proc/{vmm}/fd/{fd}")
        assert there.startswith(("/vm/", "/dev/", "/memfd:", "socket:", "pipe:", "anon_inode:")), there
    user = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat")
    for secret in (f"/proc/{vmm}/mem", f"/proc/{vmm}/environ", *_templates(machines)):
        assert subprocess.run([*user, secret], capture_output=True).returncode != 0, secret
    machines.good("rm", "-f", "web")


def _look_at_mounts(pid: int, host: set[str]) -> None:
    """Read-only roots of copies; what can be written is small and in memory."""
    assert set(os.listdir(f"/proc/{pid}/root")) - host == {"init", "vm", "volumes"} - host
    for path in ("etc/shadow", "root", "home", "var", "etc/ssh", "vm/disk.img/.."):
        assert not os.path.exists(f"/proc/{pid}/root/{path}"), path
    with open(f"/proc/{pid}/mountinfo") as stream:
        for line in stream:
            words, kind = line.split(" - ")[0].split(), line.split(" - ")[1].split()[0]
            writable = "rw" in words[5].split(",") and "ro" not in line.split(" - ")[1].split()[2].split(",")
            ours = kind in ("tmpfs", "devpts", "proc", "mqueue") or words[3] == "/null"  # over what is masked
            assert not writable or ours or words[4] == "/vm/disk.img", line


def _templates(box: Atoll) -> list[str]:
    found = []
    for folder, _, names in os.walk(f"{box.data}/vm/templates/"):
        found += [f"{folder}/{name}" for name in names if not name.endswith(".lock")]
    assert found
    return found


def test_a_sigkill_leaves_nothing(
    machines: Atoll, busybox: str, rng: random.Random, full: bool, sandbox: Sandbox
) -> None:
    everyone = ("monitor", "keeper", "vmm", "virtiofsd")
    for whom in everyone if full else (rng.choice(everyone),):
        _kill_one(machines, busybox, whom, sandbox.scratch)


def _kill_one(machines: Atoll, busybox: str, whom: str, scratch: str) -> None:
    volume = ("-v", f"{scratch}:/data:ro") if whom == "virtiofsd" else ()
    machines.good("run", "-d", "--name", "web", *VM, *volume, busybox, "sleep", "600")
    init = int(machines.state("web")["Pid"])
    family = {one.pid: one for one in processes.everyone()}
    below = {os.path.basename(_program(pid)): pid for pid, one in family.items() if one.parent == init}
    vmm = below["qemu-system-x86_64"]
    victim = {"monitor": family[init].parent, "keeper": init, "vmm": vmm, **below}[whom]
    os.kill(victim, signal.SIGKILL)
    if whom == "monitor":
        assert machines("exec", "web", "true").code == 0
        machines.good("kill", "web")
    state = machines.wait_for("web", "exited", 60)
    assert state["ExitCode"] in (137, 255)
    assert _gone(vmm)
    if whom in WHY:
        assert WHY[whom] in str(state["Error"]), state
    machines.good("rm", "web")


def _program(pid: int) -> str:
    with open(f"/proc/{pid}/cmdline", "rb") as stream:
        return os.fsdecode(stream.read().partition(b"\0")[0])


def test_a_machine_whose_vmm_is_killed_begins_anew_by_its_policy(machines: Atoll, busybox: str) -> None:
    script = "echo life; test -e /kept && exec sleep 600; echo x > /kept; sync; echo ready; sleep 600"
    machines.good("run", "-d", "--name", "web", *VM, "--restart", "on-failure:3", busybox, "sh", "-c", script)
    said(lambda: machines("logs", "web").out, "ready")
    init = int(machines.state("web")["Pid"])
    os.kill(next(one.pid for one in processes.everyone() if one.parent == init), signal.SIGKILL)
    deadline = time.monotonic() + 60
    while machines.good("logs", "web").count("life") < 2:
        assert time.monotonic() < deadline, machines("logs", "web")
        time.sleep(0.2)
    assert machines.good("exec", "web", "cat", "/kept") == "x"
    machines.good("rm", "-f", "web")
    assert machines("system", "check").code == 0


def test_a_command_that_is_killed_leaves_nothing(machines: Atoll, busybox: str, rng: random.Random):
    """At a moment of the seed's choosing: while the jail is made, the machine restored, the program started."""
    one = machines.popen("run", "--rm", *VM, busybox, "sh", "-c", "sleep 600")
    time.sleep(rng.uniform(0.05, 2.5))
    os.killpg(one.pid, signal.SIGKILL)
    one.communicate()
    deadline = time.monotonic() + 60
    while machines.all() and time.monotonic() < deadline:
        machines("rm", "-f", *machines.all())
        time.sleep(0.2)
    assert machines.all() == []
    assert machines("system", "check").code == 0


def _gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while os.path.exists(f"/proc/{pid}") and time.monotonic() < deadline:
        time.sleep(0.02)
    return not os.path.exists(f"/proc/{pid}")


def test_an_ordinary_user(
    outside: Outside, fresh_rootless: Callable[..., Atoll], busybox: str, sandbox: Sandbox, machine_store: str
) -> None:
    """No tap for him: the VMM's own network, inside the container's, behind the same policy; ports are handed on."""
    net = fresh_rootless("atoll-full")
    kernels.allow(net)
    with open(net.config, "a") as stream:
        stream.write('[network]\nuplink = "forwarder"\n')
    net.good("pull", "-q", busybox)
    net.good("vm", "kernel", "install", "--from", kernels.wheel(sandbox.run_outside))
    net.good("network", "create", "front")
    serve = "while :; do echo served | nc -l -p 80; done"
    net.good("run", "-d", "--name", "peer", "--network", "front", busybox, "sh", "-c", serve)
    flags = ("--network", "front", "-p", "8080:80", "--egress", f"allow={HOSTS[0]}")
    net.good("run", "-d", "--name", "web", *VM, *flags, busybox, "sh", "-c", serve, timeout=150)
    assert net.good("exec", "web", "id", "-u") == "0"
    _release(net)
    said(lambda: net("exec", "web", "nc", "-w", "5", "peer", "80").out, "served")
    said(lambda: net("exec", "peer", "nc", "-w", "5", "web", "80").out, "served")
    said(lambda: _output("busybox", "nc", "-w", "5", "127.0.0.1", "8080"), "served")
    ask = "printf 'GET / HTTP/1.0\\r\\n\\r\\n' | nc -w 5 %s 80"
    assert f"{HOSTS[0]} sees" in net("exec", "web", "sh", "-c", ask % HOSTS[0]).out
    assert "sees" not in net("exec", "web", "sh", "-c", ask % HOSTS[2]).out
    net.good("rm", "-f", "web", "peer")
    net.good("network", "rm", "front")
    net.good("network", "prune", "-f", "--all")
    assert world.settled() == []


def test_a_network(net: Atoll, busybox: str, sandbox: Sandbox, machine_store: str):
    """Bridge, names and published ports are the same objects as a container's."""
    vm.give(net, machine_store)
    net.good("network", "create", "front")
    serve = "while :; do echo served | nc -l -p 80; done"
    net.good("run", "-d", "--name", "peer", "--network", "front", busybox, "sh", "-c", serve)
    net.good("run", "-d", "--name", "web", *VM, "--network", "front", "-p", "8080:80", busybox, "sh", "-c", serve)
    said(lambda: net("exec", "web", "nc", "-w", "5", "peer", "80").out, "served")
    said(lambda: net("exec", "peer", "nc", "-w", "5", "web", "80").out, "served")
    said(lambda: _output("busybox", "nc", "-w", "5", "127.0.0.1", "8080"), "served")
    net.good("rm", "-f", "web", "peer")
    net.good("network", "rm", "front")


def _output(*words: str) -> str:
    return subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout


def test_ten_at_once(machines: Atoll, busybox: str, full: bool):
    """All answer; each is its own."""
    count = 10 if full else 2
    words = ("run", "--rm", *VM, busybox, "cat", "/proc/sys/kernel/random/boot_id")
    running = [machines.popen(*words, stdout=subprocess.PIPE, text=True) for _ in range(count)]
    answers = {one.communicate(timeout=200)[0].strip() for one in running}
    assert len(answers) == count
    assert all(re.fullmatch(r"[0-9a-f-]{36}", one) for one in answers)
