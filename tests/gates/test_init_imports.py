"""What the init imports after the fork: nothing.

By then the host's files are out of sight or replaced by the container's (a module would be read from the image), and
the copy of the interpreter may be older than the package on disk. Every module is imported before, in the creator.
An audit hook (PEP 578, event "import"), inherited through the clone, tells of each import in a process that is not
the creator.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gates.tree import SOURCE
from kit.sandbox import cgroup_mounts, remove_cgroups

# Module → why it may be imported after the fork.
AFTER_FORK: dict[str, str] = {}

CAPABILITY_SETS = ("bounding", "effective", "permitted", "inheritable", "ambient")

SCRIPT = r"""
import os, sys
sys.path.append(sys.argv[1])
image, state, terminal, told, cgroup = sys.argv[2], sys.argv[3], sys.argv[4] == "True", int(sys.argv[5]), sys.argv[6]
creator = os.getpid()

from atoll.base import jsontext
from atoll.linux import process
from atoll.linux.mount import MS_PRIVATE, MS_REC, set_propagation
from atoll.runtime.create import create
from atoll.runtime.delete import delete
from atoll.runtime.exec import exec_process
from atoll.runtime.start import start
from atoll.spec.rootfs import Bind, RootPlan, Tmpfs
from atoll.spec.runtime import Spec

process.unshare(process.CLONE_NEWNS)
set_propagation("/", MS_REC | MS_PRIVATE)
process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)

def hook(event, arguments):
    if event == "import" and os.getpid() != creator:
        try:
            os.write(told, (str(arguments[0]) + "\n").encode())
        except OSError:
            pass
sys.addaudithook(hook)
if os.fork() == 0:
    import colorsys  # the canary: a hook that hears nothing would prove nothing
    os._exit(0)
os.wait()

spec = Spec.from_json(jsontext.loads(sys.argv[7]))
os.mkdir(state, 0o700)
root = RootPlan(steps=(Bind(source=image, target="/"), Tmpfs(target="/scratch")))
made = create(container_id="imports", spec=spec, root=root, bundle=image, run=state, terminal=terminal)
start(state)
try:
    shell = spec.process.replace(args=("/bin/sh", "-c", "exit 0"), terminal=terminal)
    more = exec_process(run=state, process_spec=shell, terminal=terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(more.pid, 0)[1]) == 0
finally:
    process.pidfd_send_signal(made.pidfd, process.SIGKILL)
    try:  # all of them: the container's init ends only when every process of its pid namespace is reaped
        while True:
            os.wait()
    except ChildProcessError:
        pass
    delete(state, force=True)
print("done")
"""


def _spec(*, terminal: bool, user_namespace: bool, no_new_privileges: bool, cgroup: str) -> dict[str, object]:
    kinds = ["pid", "mount", "network", "ipc", "uts", "cgroup", *(["user"] if user_namespace else [])]
    maps = [{"containerID": 0, "hostID": 0, "size": 65536}]
    mounts = [
        {"destination": "/proc", "type": "proc", "source": "proc"},
        {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["newinstance", "ptmxmode=0666"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "nodev", "size=65536k"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue"},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
        {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup", "options": ["ro"]},
        {"destination": "/etc/hostname", "type": "bind", "source": "/etc/hostname", "options": ["bind", "ro"]},
    ]
    return {
        "ociVersion": "1.1.0",
        "hostname": "imports",
        "root": {"path": "."},
        "process": {
            "terminal": terminal,
            "user": {"uid": 0, "gid": 0, "additionalGids": [10]},
            "args": ["sleep", "30"],
            "env": ["PATH=/bin"],
            "cwd": "/",
            "capabilities": {
                name: ["CAP_KILL"] for name in ("bounding", "effective", "permitted", "inheritable", "ambient")
            },
            "rlimits": [{"type": "RLIMIT_NOFILE", "soft": 256, "hard": 256}],
            "noNewPrivileges": no_new_privileges,
            "oomScoreAdj": 100,
        },
        "mounts": mounts,
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            **({"uidMappings": maps, "gidMappings": maps} if user_namespace else {}),
            "cgroupsPath": cgroup,
            "sysctl": {"net.ipv4.ip_unprivileged_port_start": "0"},
            "maskedPaths": ["/proc/kcore", "/sys/firmware"],
            "readonlyPaths": ["/proc/sys"],
            "resources": {"pids": {"limit": 50}},
            "seccomp": {
                "defaultAction": "SCMP_ACT_ALLOW",
                "syscalls": [{"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 1}],
            },
        },
    }


@pytest.fixture
def image(tmp_path: Path) -> Path:
    """A root file system of busybox."""
    directory = tmp_path / "image"
    for folder in ("bin", "etc", "proc", "dev", "sys", "scratch"):
        (directory / folder).mkdir(parents=True)
    shutil.copy("/bin/busybox", directory / "bin/busybox")
    for name in ("sh", "sleep"):
        (directory / "bin" / name).symlink_to("busybox")
    (directory / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\n")
    return directory


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a container with a cgroup: run as root")
@pytest.mark.parametrize("terminal", [False, True], ids=["pipes", "terminal"])
@pytest.mark.parametrize("user_namespace", [False, True], ids=["initial-user", "own-user"])
@pytest.mark.parametrize("no_new_privileges", [True, False], ids=["no-new-privs", "new-privs"])
def test_init_and_newcomer_import_nothing(
    image: Path, tmp_path: Path, terminal: bool, user_namespace: bool, no_new_privileges: bool
) -> None:
    cgroup = f"/atoll-gates-{os.getpid()}/imports"
    spec = _spec(terminal=terminal, user_namespace=user_namespace, no_new_privileges=no_new_privileges, cgroup=cgroup)
    heard, told = os.pipe()
    arguments = [str(SOURCE.parent), str(image), str(tmp_path / "run"), str(terminal), str(told), cgroup]
    try:
        result = subprocess.run(
            [sys.executable, "-SI", "-c", SCRIPT, *arguments, json.dumps(spec)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            pass_fds=[told],
        )
    finally:
        os.close(told)
        with os.fdopen(heard) as reader:
            os.set_blocking(heard, False)
            imported = set((reader.read() or "").split())
        for _, place in cgroup_mounts():
            remove_cgroups(f"{place}/atoll-gates-{os.getpid()}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip().endswith("done"), result.stderr
    assert imported == {"colorsys", *AFTER_FORK}
