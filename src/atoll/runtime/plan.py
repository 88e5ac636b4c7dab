"""What the creator works out before the clone and the init carries out after it: one value, no look-ups left.

Holds: `InitPlan`, `CgroupMount`, `Join`, and what comes of it, `Created`. Does not hold: how it is made (`create.py`,
`exec.py`) or carried out (`init.py`).
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.spec.rootfs import RootPlan
    from atoll.spec.runtime import Process, Spec


class CgroupMount(Value):
    """One cgroup hierarchy to show inside: `name` is its directory below `/sys/fs/cgroup` (empty for cgroup v2,
    which takes the whole place), `aliases` links to it, `bind` the host path to show where there is no cgroup
    namespace."""

    name: str
    fstype: str
    options: tuple[tuple[str, str | None], ...] = ()
    aliases: tuple[str, ...] = ()
    bind: str | None = None


class Join(Value):
    """A namespace to enter by setns(2): its open descriptor, its CLONE_ flag, and what to call it in an error."""

    fd: int
    flag: int
    subject: str


class InitPlan(Value):
    """All that the init needs. `fifo` is an O_PATH descriptor of the start fifo, or -1 to run at once; `stdio` the
    three descriptors that become 0, 1 and 2 (None with a terminal, or to inherit); `held` are further ones that
    the init needs, `trees` prepared mounts by their index in the spec's; `placed`: `placement.py` has something to
    do; `servers` lead to those who show parts of the root (`served.py`); with `open_sources` the init opens the
    mounts' sources while it still is the caller. `begun`: the init was cloned beforehand (`early.py`): its
    namespaces are there, and the loopback is up; with `dev_filled` its /dev is among the `trees` and has the
    default nodes and links (`usual.py`); `ready` is called before its last word. `stands`: the program stands for
    another, elsewhere, and gets the socket to the creator as descriptor 3, to say there whether that one runs."""

    spec: Spec
    process: Process
    root: RootPlan | None
    bundle: str
    run: str
    new_namespaces: int
    user_namespace: bool
    mount_namespace: bool = True
    held: tuple[int, ...] = ()
    open_sources: bool = False
    trees: tuple[tuple[int, int], ...] = ()
    servers: tuple[int, ...] = ()
    placed: bool = False
    bound_devices: bool = False
    cgroup_mounts: tuple[CgroupMount, ...] = ()
    seccomp: bytes | None = None
    seccomp_flags: int = 0
    fifo: int = -1
    stdio: tuple[int, int, int] | None = None
    preserve_fds: int = 0
    keyring: str | None = None
    pivot: bool = True
    id: str = ""
    stands: bool = False
    begun: bool = False
    dev_filled: bool = False
    ready: Callable[[], None] | None = None


class Created(Value):
    """A container that was created. All descriptors belong to the caller.

    `sync` becomes readable after the start: end of file says that the program was executed, otherwise there is one
    JSON error and the init exits with 125, 126 or 127. `console` is the terminal's master, if one was asked for;
    `warnings` say what the container got less of than was asked for, where the spec wants no error of it.
    """

    pid: int
    pidfd: int
    sync: int
    console: int | None = None
    warnings: tuple[str, ...] = ()
