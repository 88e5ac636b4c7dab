"""SIGKILL at each step of a machine's life, of each that has a part in it: the command, the keeper, the VMM, the
server of volumes; and the end of the agent, the guest's own first process. The next command is right, and nothing is
left.

The moment is the seed's; who is not there yet is killed as soon as he is. All of it is for --full: samples of what
matters most, and monitors, are in test_vm.py, pods in test_vm_pods.py.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from kit import processes
from kit.command import Atoll
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = [pytest.mark.timeout(3600), pytest.mark.full]
VM = ("--isolation", "vm")
PATIENCE = 60.0
PROGRAMS = {"keeper": "atoll.guest.keeper", "vmm": "qemu-system", "virtiofsd": "virtiofsd"}
LIFE = ("sh", "-c", "trap 'exit 0' TERM; while :; do sleep 0.1; done")
VERBS = {
    "create": ((), ("create", "--name", "web", "FLAGS", "IMAGE", *LIFE)),
    "start": ((("create", "--name", "web", "FLAGS", "IMAGE", *LIFE),), ("start", "web")),
    "run": ((), ("run", "-d", "--name", "web", "FLAGS", "IMAGE", *LIFE)),
    "exec": ((("run", "-d", "--name", "web", "FLAGS", "IMAGE", *LIFE),), ("exec", "web", "sleep", "1")),
    "cp": ((("run", "-d", "--name", "web", "FLAGS", "IMAGE", *LIFE),), ("cp", "web:/bin", "PLACE")),
    "stop": ((("run", "-d", "--name", "web", "FLAGS", "IMAGE", *LIFE),), ("stop", "-t", "1", "web")),
    "rm": ((("run", "-d", "--name", "web", "FLAGS", "IMAGE", *LIFE),), ("rm", "-f", "web")),
}
"""What comes before, and the command that is disturbed."""
PAIRS = [(verb, whom) for verb in VERBS for whom in ("command", *PROGRAMS) if verb != "create" or whom == "command"]
ATTACK = """
cat > /attack.py << END
for line in open("/proc/1/maps"):
    if " r-xp " in line and "libc" in line:
        first, last = [int(one, 16) for one in line.split()[0].split("-")]
        memory = open("/proc/1/mem", "r+b", 0)
        memory.seek(first)
        memory.write(bytes([0xCC]) * (last - first))
END
mkdir -p /own; mount -t proc proc /own
echo '|{python} /run/atoll/writable/upper/attack.py' > /own/sys/kernel/core_pattern
sh -c 'kill -SEGV $$'; while :; do echo; done
"""
"""What a guest's root can do to its agent. No SIGKILL reaches the first process of a kernel, but another may write
into its memory: here one that the kernel starts outside of every container, for a program that dies (core(5))."""


def _parts(what: str) -> list[int]:
    """Those of all machines here, by a word of their command line; not who is ending already."""
    return [one.pid for one in processes.descendants(os.getpid()) if what in one.title and one.state not in "ZX"]


def _nothing_runs() -> bool:
    return not any(_parts(what) for what in PROGRAMS.values())


def test_at_a_step_of_a_verb(machines: Atoll, busybox: str, rng: random.Random, sandbox: Sandbox) -> None:
    for verb, whom in PAIRS:
        delay = rng.uniform(0, 1.5)
        print(f"{verb}: {whom} after {delay:.2f} s")
        volume = ("-v", f"{sandbox.scratch}:/data:ro") if whom == "virtiofsd" else ()

        def filled(words: tuple[str, ...], flags: tuple[str, ...] = (*VM, *volume)) -> list[str]:
            given = {"FLAGS": flags, "IMAGE": (busybox,), "PLACE": (f"{sandbox.scratch}/copied",)}
            return [one for word in words for one in given.get(word, (word,))]

        before, words = VERBS[verb]
        for step in before:
            machines.good(*filled(step), timeout=PATIENCE * 3)
        _disturbed(machines, filled(words), whom, delay)
        _look(machines, filled(VERBS["run"][1]))


def _disturbed(box: Atoll, words: list[str], whom: str, delay: float) -> None:
    """Do it, and kill `whom` on the way, if he comes into it."""
    command = box.popen(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(delay)
        while command.poll() is None:
            victims = [command.pid] if whom == "command" else _parts(PROGRAMS[whom])
            for pid in victims:
                _kill(pid)
            if victims:
                break
            time.sleep(0.01)
        command.wait(PATIENCE * 3)
    finally:
        processes.KEEP.discard(command.pid)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _look(box: Atoll, again: list[str]) -> None:
    """What is found is right, and can be used and removed."""
    box.good("ps", "-a")
    if box.all():
        if box.state("web")["Status"] != "running":
            box("start", "web")
        if box("exec", "web", "echo", "alive").code:  # it was ending just now
            box.wait_for("web", "exited", PATIENCE)
            box.good("start", "web")
        assert box.good("exec", "web", "echo", "alive") == "alive"
        box.good("rm", "-f", "web")
    until(lambda: box.all() == [])
    until(_nothing_runs)
    box.good(*again)
    assert box.good("exec", "web", "echo", "alive") == "alive"
    box.good("rm", "-f", "web")
    until(_nothing_runs)
    assert box.good("system", "check") == "nothing to repair"


def test_its_agent_is_killed(machines: Atoll, busybox: str):
    """By its guest's root, while an exec and a copy are under way: the machine ends, and with it all of that; the
    policy begins it anew; when it ends again, inspect says that the machine has."""
    script = "echo life; dd if=/dev/zero of=/big bs=1M count=4 2>/dev/null; echo ready; sleep 600"
    flags = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "--restart", "on-failure:1")
    machines.good("run", "-d", "--name", "web", *VM, *flags, busybox, "sh", "-c", script)
    until(lambda: machines.good("logs", "web").count("ready") == 1)
    (machine,) = _parts(PROGRAMS["vmm"])
    within = machines.popen("exec", "web", "sh", "-c", "echo up; sleep 600")
    assert within.stdout is not None
    assert within.stdout.readline() == "up\n"
    copying = machines.popen("cp", "web:/big", "-", text=False, errors=None)
    assert copying.stdout is not None
    assert len(copying.stdout.read(1000)) == 1000  # and nobody reads on
    _attack(machines)
    for one in (within, copying):
        one.communicate(timeout=PATIENCE)
        assert one.returncode != 0
        processes.KEEP.discard(one.pid)
    until(lambda: machines.good("logs", "web").count("ready") == 2)
    assert _parts(PROGRAMS["vmm"]) != [machine]
    assert machines.inspect("web")["RestartCount"] == 1
    _attack(machines)
    state = machines.wait_for("web", "exited", PATIENCE)
    assert state["ExitCode"] == 137
    assert " has ended" in str(state["Error"])
    until(_nothing_runs)
    machines.good("rm", "web")
    assert machines.good("system", "check") == "nothing to repair"


def _attack(box: Atoll) -> None:
    assert box("exec", "web", "sh", "-c", ATTACK.format(python=os.path.realpath(sys.executable))).code != 0
