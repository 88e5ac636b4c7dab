"""How Debian's podman, containerd and dockerd are made to run on a machine such as ours: settings and command lines.

Holds: what the tests (`engines.py`) and the benchmarks (`bench/peers`) both need of it. Does not hold: where they
run, what they are asked to do. Why each is as it is: cgroups are a hybrid (v1 controllers and an almost empty v2),
there is no systemd and no CAP_SYS_RESOURCE, and the bridges and rules of others are no business of ours.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Sequence

PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_CONTAINERS = """[containers]
default_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_CONTAINERD = """version = 2
root = "{root}"
state = "{state}"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.internal.v1.opt", "io.containerd.tracing.processor.v1.otlp"]
[grpc]
address = "{state}/sock"
[ttrpc]
address = "{state}/sock.ttrpc"
"""


def containers_conf(folder: str) -> str:
    """Write podman's settings (its own defaults for limits are above our hard ones); the path for
    $CONTAINERS_CONF."""
    path = os.path.join(folder, "containers.conf")
    with open(path, "w") as stream:
        stream.write(_CONTAINERS)
    return path


def podman(store: str, run: str, runtime: str = "crun") -> list[str]:
    """podman with its own store and run directories. crun refuses a hybrid tree: hide its v2 half first."""
    places = ["--root", store, "--runroot", f"{run}/run", "--tmpdir", f"{run}/tmp"]
    return ["/usr/bin/podman", *places, "--storage-driver", "overlay", "--runtime", runtime]


def dockerd(root: str, run: str, *more: str) -> list[str]:
    """dockerd with its own store and run directories, listening on `run`/docker.sock; no bridge, no rules. It starts
    its own containerd."""
    places = ["--data-root", root, "--exec-root", f"{run}/exec", "--pidfile", f"{run}/pid"]
    without = ["--bridge", "none", "--iptables=false", "--ip6tables=false"]
    how = ["--host", f"unix://{run}/docker.sock", "--storage-driver", "overlay2", "--log-level", "warn"]
    return ["/usr/sbin/dockerd", *places, *without, *how, *more]


def containerd(root: str, state: str) -> list[str]:
    """containerd with its own directories, listening on `state`/sock; CRI and other plug-ins off."""
    config = os.path.join(state, "config.toml")
    with open(config, "w") as stream:
        stream.write(_CONTAINERD.format(root=root, state=state))
    return ["/usr/bin/containerd", "--config", config, "--log-level", "warn"]


def ctr(state: str) -> list[str]:
    """The client of such a containerd."""
    return ["/usr/bin/ctr", "--address", f"{state}/sock"]


def wait_for(daemon: subprocess.Popen[bytes], probe: Sequence[str], log: str, **how: object) -> None:
    """Wait until `probe` ends with 0; `how` is for subprocess.run. Raises RuntimeError with its last words."""
    deadline = time.monotonic() + 30
    run: Callable[..., subprocess.CompletedProcess[bytes]] = subprocess.run
    while run(probe, capture_output=True, **how).returncode:
        if daemon.poll() is not None or time.monotonic() > deadline:
            with open(log, errors="replace") as stream:
                raise RuntimeError(f"{daemon.args!r} did not come up:\n{stream.read()[-3000:]}")
        time.sleep(0.1)


def end(daemon: subprocess.Popen[bytes]) -> None:
    """SIGTERM, and SIGKILL when that is not enough."""
    daemon.terminate()
    try:
        daemon.wait(20)
    except subprocess.TimeoutExpired:
        daemon.kill()
        daemon.wait()
