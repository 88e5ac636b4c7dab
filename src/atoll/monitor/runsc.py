"""What gVisor's runsc needs to be told, and a host to look like, beside what every OCI runtime is given.

Holds: `is_it`, `with_network`, `with_room`, `without_filter`, `without_cgroup`, `before_start`. Does not hold: how a
runtime is called (`foreign.py`). gVisor's own network stack takes the interfaces and addresses of the container's
namespace for itself, as it finds them at the start: so bridge, names, ports, rates and policies are those of any
container.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.linux import mount, process
from atoll.spec import runtime as oci

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.monitor.requests import Create

OWN_CGROUP, NO_CGROUP = "--ignore-cgroups=false", "--ignore-cgroups=true"
THREADS = 256
"""Threads of gVisor's own kernel beside those that run the container's: some tens, more after a while."""


def is_it(program: str) -> bool:
    """Whether a runtime is runsc, by its name."""
    return os.path.basename(program) == "runsc"


def with_network(request: Create, *, start: bool = False) -> tuple[str, ...]:
    """The command line for the network that is asked for: the host's it may only use by the host's sockets, another
    container's, whose addresses it would take away, not at all. With `start` nobody has had the time to put anything
    into a new one: then it need not look there for more than the loopback. Raises Unsupported."""
    linux = request.spec.linux or oci.Linux()
    found = [one for one in linux.namespaces if one.type == "network"]
    if any(one.path for one in found):
        raise errors.Unsupported("isolation level 'gvisor' cannot share the network of another container")
    kind = "host" if not found else "none" if start else "sandbox"
    return tuple([kind if word == "sandbox" else word for word in request.runtime])


def with_room(spec: oci.Spec) -> oci.Spec:
    """The limit of processes with room for the sentry's threads: it dies where it can make none."""
    resources = spec.linux.resources if spec.linux is not None else None
    limit = resources.pids.limit if resources is not None and resources.pids is not None else None
    if spec.linux is None or resources is None or limit is None or limit <= 0:
        return spec
    resources = resources.replace(pids=oci.Pids(limit=limit + THREADS))
    return spec.replace(linux=spec.linux.replace(resources=resources))


def without_filter(spec: oci.Spec, words: tuple[str, ...]) -> oci.Spec:
    """The configuration without a system call filter, which runsc passes over unless `--oci-seccomp` is among its
    `words`: seven processes would parse it at each start, most of the document, two of them in Python."""
    if spec.linux is None or any(one.lstrip("-").startswith("oci-seccomp") for one in words):
        return spec
    return spec.replace(linux=spec.linux.replace(seccomp=None))


def without_cgroup(spec: oci.Spec, words: tuple[str, ...]) -> tuple[str, ...] | None:
    """The command line by which runsc stays in the cgroup that it is started in, which is then ours to make while
    the root is mounted: its own way takes 20 ms of a start. None where it has to know the cgroup itself: of a limit
    of memory it tells the container how much there is, and kvm's device is not one of a container's."""
    resources = spec.linux.resources if spec.linux is not None else None
    limited = resources is not None and resources.memory is not None and resources.memory.limit is not None
    if limited or "kvm" in words or OWN_CGROUP not in words:
        return None
    return tuple([NO_CGROUP if word == OWN_CGROUP else word for word in words])


def before_start(pid: int) -> Callable[[], None] | None:
    """Prepare the network namespace of the sandbox `pid`, if it has one of its own; what the fork that becomes
    `runsc start` is to do first. Raises OSError."""
    if os.stat(f"/proc/{pid}/ns/net").st_ino == os.stat("/proc/self/ns/net").st_ino:
        return None
    from atoll.linux import netdevice, netns

    fd = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:  # it takes the loopback as it finds it; other runtimes set it up themselves
        netns.inside(fd, lambda: netdevice.set_up("lo"))
    finally:
        os.close(fd)
    return _hide_sysctls


def _hide_sysctls() -> None:
    """runsc takes a namespace with net.core.rmem_default for the host's, and refuses it; newer kernels show that in
    every namespace. Which one it is we know better."""
    process.unshare(process.CLONE_NEWNS)
    mount.set_propagation("/", mount.MS_SLAVE | mount.MS_REC)
    mount.mount("none", "/proc/sys/net", "tmpfs", mount.MS_RDONLY)
