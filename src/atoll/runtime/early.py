"""An init that is cloned before anybody has asked for a container, and waits to be told what it is to be.

Holds: `Early`, `begin`, `fits`, `hand` (the creator's side), `enter`, `receive` (the init's). Does not hold: what it
then does (`init.py`), what it makes while it waits (`usual.py`), when one is made (`monitor/service.py`).

    creator                                          early init, in new pid, network and IPC namespaces alone
    begin: clone                                ──►  makes what is always alike (`usual.py`), waits; end of file
                                                     ends it
    the request as it came                      ──►  reads it, as its creator does at the same time; `enter`
    hand: what else the plan holds, descriptors ──►  `receive` puts the two together; from here on as any init

It makes the other namespaces (`enter`) when there is a request: a mount namespace is a copy of what is mounted,
and a copy made too early would lack what was mounted since; a new UTS namespace has the host's name of that moment. A
new network or IPC namespace copies nothing of the host's but defaults of sysctls.
"""

from __future__ import annotations

import os
import struct
from _socket import MSG_CMSG_CLOEXEC, MSG_NOSIGNAL, SCM_RIGHTS, SOL_SOCKET

from atoll.base import jsontext
from atoll.linux import process
from atoll.runtime import init, sync
from atoll.runtime.plan import CgroupMount, InitPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from _socket import socket
    from collections.abc import Callable

    from atoll.spec.rootfs import RootPlan
    from atoll.spec.runtime import Process, Spec

FLAGS = process.CLONE_NEWPID | process.CLONE_NEWNET | process.CLONE_NEWIPC
FILTER_MAX = 8192
"""Most bytes of a filter that travels in one packet with the rest."""


class Early:
    """An init that waits: its process, and our end of the socket pair that `sync.py` draws."""

    __slots__ = ("_end", "_owned", "pid", "pidfd")

    def __init__(self, pid: int, pidfd: int, end: socket) -> None:
        self.pid, self.pidfd, self._end, self._owned = pid, pidfd, end, True

    def tell(self, request: bytes) -> None:
        """The request as it came; what does not fit into a packet ends it."""
        try:
            if len(request) <= sync.LIMIT:
                self._end.sendmsg([request], [], MSG_NOSIGNAL)
                return
        except OSError:  # it was killed
            pass
        self.let_go()

    @property
    def waits(self) -> bool:
        """Whether it may still be used."""
        return self._owned

    def take(self) -> socket:
        """It is used: from now on its process, `pidfd` and this socket are the caller's."""
        self._owned = False
        return self._end

    def let_go(self) -> None:
        """It is not used, and ends; nothing if it was. Its status is its parent's to take in."""
        if self._owned:
            self._owned = False
            self._end.close()
            os.close(self.pidfd)


def begin(body: Callable[[socket], InitPlan | None], kept: int) -> Early:
    """Clone it. `body` is what it does: wait at its end of the socket for its plan; None ends it. Of its creator's
    descriptors it keeps that and `kept`. Raises OSError."""
    ours, theirs = sync.pair()
    try:
        pid, pidfd = process.clone3(FLAGS)
    except OSError:
        ours.close()
        theirs.close()
        raise
    if pid == 0:
        try:
            low, high = sorted((theirs.fileno(), kept))
            os.closerange(3, low)
            os.closerange(low + 1, high)
            process.close_range(high + 1)
            plan = body(theirs)
            if plan is not None:
                init.run(plan, theirs)
        finally:  # a clone must never return into its parent's code
            os._exit(125)
    theirs.close()
    return Early(pid, pidfd, ours)


def fits(plan: InitPlan) -> bool:
    """Whether an early init can carry out this plan: all that is in it travels, or is in the request."""
    return bool(
        plan.new_namespaces & FLAGS == FLAGS
        and not plan.new_namespaces & (process.CLONE_NEWUSER | process.CLONE_NEWTIME)
        and plan.mount_namespace
        and plan.pivot
        and plan.fifo >= 0
        and plan.spec.hooks is None
        and len(plan.seccomp or b"") <= FILTER_MAX
        and not (plan.user_namespace or plan.bound_devices or plan.open_sources)
        and not (plan.held or plan.trees or plan.placed or plan.preserve_fds or plan.servers or plan.stands)
    )


def hand(end: socket, plan: InitPlan) -> None:
    """Send what the plan holds beyond the request. Raises OSError."""
    message = {
        "namespaces": plan.new_namespaces,
        "terminal": plan.process.terminal,
        "cgroups": [
            [one.name, one.fstype, [list(pair) for pair in one.options], list(one.aliases), one.bind]
            for one in plan.cgroup_mounts
        ],
        "filter": None if plan.seccomp is None else plan.seccomp.hex(),
        "filter_flags": plan.seccomp_flags,
        "keyring": plan.keyring,
    }
    fds = (plan.fifo, *(plan.stdio or ()))
    rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))]
    end.sendmsg([jsontext.dumps(message).encode()], rights, MSG_NOSIGNAL)


def enter(spec: Spec) -> None:
    """Make the namespaces that the request asks for and that are not there yet, but the cgroup's (`init.py` says
    when). The creator may still do without this init; then they go with it. Raises OSError."""
    kinds = {one.type for one in spec.linux.namespaces if not one.path} if spec.linux is not None else set()
    flags = 0
    for kind, flag in (("mount", process.CLONE_NEWNS), ("uts", process.CLONE_NEWUTS)):
        flags |= flag if kind in kinds else 0
    if flags:
        process.unshare(flags)


def receive(
    end: socket, *, container_id: str, spec: Spec, root: RootPlan | None, bundle: str, run: str
) -> InitPlan | None:
    """The plan: what `hand` has sent, and what the request said. None if the creator does without. Raises OSError."""
    data, ancillary, _, _ = end.recvmsg(sync.LIMIT, 256, MSG_CMSG_CLOEXEC)
    if not data:
        return None
    fds = [fd for _, _, raw in ancillary for fd in struct.unpack(f"{len(raw) // 4}i", raw)]
    told = jsontext.loads(data)
    proc: Process | None = spec.process
    assert proc is not None
    mounts = [
        CgroupMount(name=name, fstype=kind, options=tuple(map(tuple, options)), aliases=tuple(aliases), bind=bind)
        for name, kind, options, aliases, bind in told["cgroups"]
    ]
    return InitPlan(
        spec=spec,
        process=proc.replace(terminal=told["terminal"]),
        root=root,
        bundle=bundle,
        run=run,
        new_namespaces=told["namespaces"],
        begun=True,
        user_namespace=False,
        id=container_id,
        cgroup_mounts=tuple(mounts),
        seccomp=None if told["filter"] is None else bytes.fromhex(told["filter"]),
        seccomp_flags=told["filter_flags"],
        fifo=fds[0],
        stdio=(fds[1], fds[2], fds[3]) if len(fds) == 4 else None,
        keyring=told["keyring"],
    )
