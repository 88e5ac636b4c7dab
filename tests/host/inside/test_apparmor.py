"""Our AppArmor profile in force: what it forbids where every other wall is down, and what it leaves alone.

Each denial is tried twice, the second time without the profile, where it must succeed: so it is the profile that
refuses, not a missing capability, a filter or a masked path.
"""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from kit.command import Atoll

OPEN = ("--cap-add", "ALL", "--security-opt", "seccomp=unconfined", "--security-opt", "systempaths=unconfined")
OURS = ("--security-opt", "apparmor=atoll-default")
UNCONFINED = ("--security-opt", "apparmor=unconfined")
CURRENT = "/proc/self/attr/current"
# What a privileged container tries, whose /proc and /sys are writable.
FORBIDDEN = {
    "mount": "mount -t tmpfs none /home",
    "remount": "mount -o remount,rw /",
    "bind": "mount --bind /bin /home",
    "core-pattern": "cat /proc/sys/kernel/core_pattern > /tmp/was; cat /tmp/was > /proc/sys/kernel/core_pattern",
    "swappiness": "cat /proc/sys/vm/swappiness > /tmp/was; cat /tmp/was > /proc/sys/vm/swappiness",
    "panic": "cat /proc/sys/kernel/panic > /tmp/was; cat /tmp/was > /proc/sys/kernel/panic",
    "files": "cat /proc/sys/fs/file-max > /tmp/was; cat /tmp/was > /proc/sys/fs/file-max",
    "sysrq": "printf h > /proc/sysrq-trigger",
    "module": "cd /sys/module/printk/parameters; cat time > /tmp/was; cat /tmp/was > time",
    "sysfs": "echo x > /sys/class/net/lo/ifalias",
}
TRY = "".join(
    f"(set -e; {script}) 2> /tmp/why && echo {name} || echo {name} $(cat /tmp/why)\n"
    for name, script in FORBIDDEN.items()
)


def test_the_profile_refuses(atoll: Atoll):
    held = atoll.good("run", "--rm", "--privileged", *OURS, "bb", "sh", "-c", TRY).splitlines()
    assert [line.split()[0] for line in held] == list(FORBIDDEN)
    assert [line for line in held if "denied" not in line] == []
    free = atoll.good("run", "--rm", "--privileged", "bb", "sh", "-c", TRY).splitlines()
    assert free == list(FORBIDDEN)


def test_every_process_is_in_it(atoll: Atoll):
    atoll.good("run", "-d", "--name", "web", "bb", "sleep", "600")
    assert (
        atoll.good("exec", "web", "cat", CURRENT, "/proc/1/attr/current").split("\n")
        == ["atoll-default (enforce)"] * 2
    )
    assert atoll.inspect("web")["AppArmorProfile"] == "atoll-default"
    assert "apparmor" in atoll.good("info", "--format", "{{json .SecurityOptions}}")
    assert atoll.good("run", "--rm", "--privileged", "bb", "cat", CURRENT) == "unconfined"
    assert atoll.good("run", "--rm", *UNCONFINED, "bb", "cat", CURRENT) == "unconfined"


def test_nobody_gets_out_of_it(atoll: Atoll):
    ways = ("changeprofile unconfined", "changehat x^y", "exec unconfined", "stack unconfined")
    script = "".join(f"echo '{way}' > {CURRENT}; cat {CURRENT}\n" for way in ways)
    tried = atoll("run", "--rm", *OPEN, "bb", "sh", "-c", script)
    # Stacking only ever takes away.
    assert tried.out.replace("//&unconfined", "").splitlines() == ["atoll-default (enforce)"] * len(ways), str(tried)


def test_signals_stay_among_containers(atoll: Atoll):
    """With the host's pids in sight: ours may be ended, the host's may not; the host ends all of them."""
    sleeper = subprocess.Popen(["sleep", "600"])
    try:
        shared = ("--pid", "host", *OPEN)
        held = atoll("run", "--rm", *shared, "bb", "kill", str(sleeper.pid))
        assert held.code != 0
        assert "denied" in held.err, str(held)
        assert sleeper.poll() is None
        traced = atoll(
            "run", "--rm", *shared, "bb", "cat", f"/proc/{sleeper.pid}/environ", f"/proc/{sleeper.pid}/maps"
        )
        assert traced.code != 0, str(traced)
        atoll.good("run", "-d", "--name", "web", "bb", "sleep", "600")
        atoll.good("kill", "web")
        assert atoll.wait_for("web", "exited")["ExitCode"] == 137
        atoll.good("run", "--rm", *shared, *UNCONFINED, "bb", "kill", str(sleeper.pid))
        assert sleeper.wait(30) == -15
    finally:
        sleeper.kill()
        sleeper.wait()


def test_what_it_leaves_alone(atoll: Atoll):
    """The everyday: files of every kind, sockets, users, one's own limits and namespaces' switches."""
    script = """set -e
        cd /root; echo x > f; chmod 4755 f; chown 1000:1000 f; ln f g; ln -s f h; mkfifo p; mkdir d; mv g d; rm -r d
        echo 5 > /proc/self/oom_score_adj; cat /proc/1/environ > /dev/null; cat /proc/meminfo > /dev/null
        nc -l -p 80 127.0.0.1 > /dev/null & sleep 0; kill $!; su user -c 'id -u'; ls /sys/class > /dev/null
        (sleep 600 & kill $!); cat /proc/sys/kernel/hostname; ls -l /proc/1/fd > /dev/null"""
    assert atoll.good("run", "--rm", "-h", "here", "bb", "sh", "-c", script).split() == ["1000", "here"]


def test_a_profile_of_the_administrators(atoll: Atoll, tmp_path: Path):
    atoll("run", "--rm", "--security-opt", "apparmor=nosuch", "bb", "true").failed(125, "nosuch")
    text = tmp_path / "profile"
    text.write_text("profile atoll-test-own flags=(attach_disconnected) { file, capability, deny /etc/passwd r, }\n")
    subprocess.run(["apparmor_parser", "--replace", "--skip-cache", text], check=True)
    own = ("--security-opt", "apparmor=atoll-test-own")
    held = atoll("run", "--rm", *own, "bb", "sh", "-c", f"cat {CURRENT}; cat /etc/passwd")
    assert held.out == "atoll-test-own (enforce)\n"
    assert "denied" in held.err
    subprocess.run(["apparmor_parser", "--remove", text], check=True)
    # A restart after the profile went says so, and runs nothing without it.
    atoll("run", "--rm", *own, "bb", "true").failed(125, "atoll-test-own")


@pytest.mark.skipif(os.environ["ATOLL_TEST_HOST"] == "uml", reason="a kernel without audit")
def test_denials_are_in_the_kernels_log(atoll: Atoll):
    """Of what the profile does not name; what it forbids by name is refused without a word, as Docker's does."""
    mark = f"atoll-test-{time.monotonic_ns()}"
    Path("/dev/kmsg").write_text(f"{mark}\n")
    atoll("run", "--rm", "--pid", "host", *OPEN, "bb", "kill", "-0", "1")
    log = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    after = log[log.index(mark) :]
    assert 'apparmor="DENIED"' in after
    assert 'profile="atoll-default"' in after
    assert 'operation="signal"' in after


def test_who_unloads_it_gets_it_again(atoll: Atoll):
    profile = "profile atoll-default flags=(attach_disconnected,mediate_deleted) { }\n"
    atoll.good("run", "--rm", "bb", "true")
    subprocess.run(["apparmor_parser", "--remove"], input=profile, text=True, check=True)
    assert atoll.good("run", "--rm", "bb", "cat", CURRENT) == "atoll-default (enforce)"
    # One that was made before, as after a reboot.
    atoll.good("run", "--name", "web", "bb", "cat", CURRENT)
    subprocess.run(["apparmor_parser", "--remove"], input=profile, text=True, check=True)
    assert atoll.good("start", "-a", "web") == "atoll-default (enforce)"
