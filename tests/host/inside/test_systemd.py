"""systemd as pid 1: the runtime's cgroup driver `systemd`, device programs, an ordinary user's limits, our units."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.bundle import Runtime
from kit.command import Atoll, installed
from kit.sandbox import User
from kit.waiting import until

CGROUPS = "/sys/fs/cgroup"


def sh(*words: str, **how: object) -> str:
    done = subprocess.run(words, capture_output=True, text=True, **how)  # type: ignore[call-overload]
    assert done.returncode == 0, f"{words}\n{done.stdout}\n{done.stderr}"
    return str(done.stdout.strip())


def shown(unit: str, *names: str, user: bool = False) -> dict[str, str]:
    flags = [word for name in names for word in ("-p", name)]
    said = sh("systemctl", "show", unit, *flags)
    return dict(line.split("=", 1) for line in said.splitlines())


@pytest.fixture
def runtime(tmp_path: Path) -> Iterator[Runtime]:
    one = Runtime(str(tmp_path / "rt"))
    yield one
    one.clear()


def test_a_life_in_a_scope(runtime: Runtime):
    bundle, name = runtime.bundle(), runtime.new_id()
    linux = bundle.config["linux"]
    linux["cgroupsPath"] = "system.slice:box:one"
    linux["resources"] = {
        "pids": {"limit": 33},
        "memory": {"limit": 64 << 20, "swap": 64 << 20},
        "cpu": {"quota": 50000, "period": 100000, "shares": 512},
        "devices": [
            {"allow": False, "access": "rwm"},
            {"allow": True, "type": "c", "major": 1, "minor": 7, "access": "rw"},
        ],
    }
    # Every capability: what refuses a device is the program, and nothing else.
    caps = ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE", "CAP_KILL", "CAP_CHOWN"]
    bundle.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), caps)
    flags = ("--systemd-cgroup", "run", "--detach", "--bundle", bundle.save("sleep", "600").folder, name)
    runtime.good(*flags, timeout=120)
    place = Path(f"/proc/{runtime.state(name)['pid']}/cgroup").read_text().strip().removeprefix("0::")
    assert place == "/system.slice/box-one.scope"
    here = Path(CGROUPS + place)

    def limits() -> list[str]:
        files = ("pids.max", "memory.max", "memory.swap.max", "cpu.max")
        return [(here / file).read_text().strip() for file in files]

    wanted = ["33", str(64 << 20), "0", "50000 100000"]
    assert limits() == wanted
    seen = shown("box-one.scope", "TasksMax", "MemoryMax", "CPUQuotaPerSecUSec", "Delegate", "ActiveState")
    assert seen == {
        "TasksMax": "33",
        "MemoryMax": str(64 << 20),
        "CPUQuotaPerSecUSec": "500ms",
        "Delegate": "yes",
        "ActiveState": "active",
    }

    def devices() -> list[str]:
        tries = {"full": "c 1 7", "kmsg": "c 1 11", "disk": "b 254 0"}
        made = "".join(
            f"busybox mknod /tmp/{what} {numbers} 2>/dev/null; "
            f"busybox head -c 1 /tmp/{what} >/dev/null 2>&1 && echo {what}; busybox rm -f /tmp/{what};"
            for what, numbers in tries.items()
        )
        for what, numbers in tries.items():
            node = bundle.path(f"/tmp/{what}")
            if not os.path.exists(node):
                kind, major, minor = numbers.split()
                sh("mknod", node, kind, major, minor)
        made = made.replace("busybox rm -f", "true")
        return runtime.good("exec", name, "sh", "-c", made, timeout=120).split()

    assert devices() == ["full"]
    # systemd writes its own properties again: whatever it does not know of would be gone.
    sh("systemctl", "daemon-reload")
    assert limits() == wanted
    assert devices() == ["full"]
    runtime.good("update", "--pids-limit", "44", name, timeout=60)
    assert shown("box-one.scope", "TasksMax") == {"TasksMax": "44"}
    sh("systemctl", "daemon-reload")
    assert limits() == ["44", *wanted[1:]]
    runtime.good("delete", "--force", name, timeout=60)
    assert not here.exists()
    until(lambda: shown("box-one.scope", "ActiveState") == {"ActiveState": "inactive"})


def test_the_scope_goes_with_its_container(runtime: Runtime):
    bundle, name = runtime.bundle(), runtime.new_id()
    bundle.config["linux"]["cgroupsPath"] = ":atoll:ended"
    done = runtime("--systemd-cgroup", "run", "--bundle", bundle.save("sh", "-c", "exit 3").folder, name, timeout=120)
    assert done.code == 3
    until(lambda: shown("atoll-ended.scope", "ActiveState") == {"ActiveState": "inactive"})
    assert not os.path.exists(f"{CGROUPS}/system.slice/atoll-ended.scope")


def test_v2_device_programs_without_systemds_help(runtime: Runtime):
    """Our own program in the kernel: the first disk for reading, the second not at all."""
    bundle = runtime.bundle()
    for name, numbers in (("null", ("c", "1", "3")), ("disk", ("b", "254", "0")), ("tree", ("b", "254", "16"))):
        sh("mknod", "-m", "666", bundle.path(f"/tmp/{name}"), *numbers)
    rules = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "b", "major": 254, "minor": 0, "access": "r"},
    ]
    bundle.config["linux"]["resources"] = {"devices": rules}
    caps = ["CAP_MKNOD", "CAP_SYS_ADMIN", "CAP_DAC_OVERRIDE"]
    bundle.config["process"]["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), caps)
    script = (
        "for one in null disk tree; do head -c 1 /tmp/$one > /dev/null 2>&1 && echo r $one; "
        "(echo > /tmp/$one) 2>&1 | grep -q 'not permitted' || echo w $one; done"
    )
    assert runtime.run(bundle, "sh", "-c", script, timeout=120).good().splitlines() == ["r null", "w null", "r disk"]


def test_an_ordinary_users_limits(user: User, layout: str, tmp_path: Path):
    """What systemd delegates to his session is enough: no root, no settings."""
    until(lambda: os.path.exists(f"{user.runtime_dir}/bus"))
    script = f"""
set -e
atoll={installed()}
$atoll load -q -i {layout} > /dev/null
$atoll run --rm --network none -m 64m --cpus 0.5 --pids-limit 77 bb \\
    sh -c 'cd /sys/fs/cgroup; cat memory.max cpu.max pids.max; id -u'
$atoll run -d --network none --name web -m 64m bb sleep 600 > /dev/null
cat /proc/$($atoll inspect -f '{{{{.State.Pid}}}}' web)/attr/current
$atoll rm -f web > /dev/null
"""
    path = tmp_path / "script"
    path.write_text(script)
    for folder in (*path.parents, path):
        if str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    words = ["systemd-run", "--quiet", "--wait", "--pipe", "--collect", f"--uid={user.uid}", f"--gid={user.gid}"]
    words += [f"--setenv=XDG_RUNTIME_DIR={user.runtime_dir}", "--setenv=HOME=" + user.home]
    words += ["--", "systemd-run", "--user", "--quiet", "--wait", "--pipe", "-p", "Delegate=yes", "sh", str(path)]
    said = sh(*words, timeout=600)
    assert said.splitlines()[:4] == [str(64 << 20), "50000 100000", "77", "0"], said
    assert said.splitlines()[4].startswith(("atoll-default", "unconfined")), said


def test_generated_units(atoll: Atoll, tmp_path: Path):
    """`generate systemd`: systemd starts it, sees its end, starts it again, stops it."""
    atoll.good("create", "--name", "web", "bb", "sleep", "600")
    text = atoll.good("generate", "systemd", "--name", "--restart-policy", "always", "web")
    unit = Path("/run/systemd/system/container-web.service")
    unit.write_text(text)
    try:
        sh("systemctl", "daemon-reload")
        sh("systemctl", "start", "container-web.service")
        until(lambda: atoll.state("web")["Status"] == "running")
        assert shown("container-web.service", "ActiveState") == {"ActiveState": "active"}
        first = atoll.state("web")["Pid"]
        atoll.good("kill", "web")
        until(lambda: atoll.state("web")["Status"] == "running" and atoll.state("web")["Pid"] != first)
        sh("systemctl", "stop", "container-web.service", timeout=300)
        assert atoll.state("web")["Status"] == "exited"
        assert shown("container-web.service", "ActiveState")["ActiveState"] in ("inactive", "failed")
    finally:
        subprocess.run(["systemctl", "stop", "container-web.service"])
        unit.unlink()
        sh("systemctl", "daemon-reload")


def test_quadlets(atoll: Atoll, tmp_path: Path):
    """The generator of docs/pods.md in its place: files become units at a reload, and start what they say."""
    files, generator = tmp_path / "files", Path("/run/systemd/system-generators/atoll-quadlet")
    files.mkdir()
    (files / "web.container").write_text(
        "[Container]\nImage=bb\nContainerName=web\nVolume=data.volume:/d\nExec=sh -c 'echo kept > /d/f; sleep 600'\n"
        "StopSignal=KILL\n"
    )
    (files / "data.volume").write_text("[Volume]\n")
    generator.parent.mkdir(parents=True, exist_ok=True)
    known = " ".join(f"{key}={atoll.env[key]}" for key in ("ATOLL_DATA_ROOT", "ATOLL_RUN_ROOT"))
    generator.write_text(
        f'#!/bin/sh\nexec env {known} QUADLET_UNIT_DIRS={files} {installed()} generate quadlet --generator "$@"\n'
    )
    generator.chmod(0o755)
    try:
        sh("systemctl", "daemon-reload", timeout=120)
        sh("systemctl", "start", "web.service", timeout=300)
        until(lambda: "web" in atoll.good("ps", "--format", "{{.Names}}"))
        until(lambda: atoll("exec", "web", "cat", "/d/f").out == "kept\n")
        place = Path(f"/proc/{atoll.state('web')['Pid']}/cgroup").read_text().strip()
        sh("systemctl", "stop", "web.service", timeout=300)
        assert atoll.all() == [], place
        assert atoll.good("volume", "ls", "-q") == "systemd-data"
    finally:
        subprocess.run(["systemctl", "stop", "web.service"])
        generator.unlink()
        sh("systemctl", "daemon-reload")
        atoll("volume", "rm", "systemd-data")
