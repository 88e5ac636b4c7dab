"""inspect --security: what a container may do, in sentences. Pure but for `explain`, which looks the container up.

Holds: `explain`, `sentences`. Does not hold: the rights themselves (`containers/rights.py`, `defaults.py` there).
"""

from __future__ import annotations

from atoll.engine.containers import defaults
from atoll.engine.containers.record import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

# Capabilities by which a container's root reaches the host, and how.
STRONG = {
    "CAP_SYS_ADMIN": "mounts, namespaces and much else of the kernel",
    "CAP_SYS_MODULE": "loads code into the kernel",
    "CAP_SYS_PTRACE": "reads and writes the memory of processes that it sees",
    "CAP_SYS_RAWIO": "reaches hardware and physical memory",
    "CAP_DAC_READ_SEARCH": "opens files past their permissions, and past mounts by handle",
    "CAP_SYS_BOOT": "restarts the machine",
    "CAP_SYS_TIME": "sets the host's clock",
    "CAP_NET_ADMIN": "configures the network that it is in",
    "CAP_BPF": "loads programs into the kernel",
    "CAP_SYSLOG": "reads the kernel's messages and addresses",
}
_SENSITIVE = (
    "/",
    "/etc",
    "/boot",
    "/dev",
    "/proc",
    "/sys",
    "/root",
    "/home",
    "/var",
    "/usr",
    "/lib",
    "/bin",
    "/sbin",
)
_SOCKETS = ("docker.sock", "containerd.sock", "podman.sock", "crio.sock", "spawner.sock")


def explain(engine: Engine, name: str) -> list[str]:
    """The sentences on a container. Raises NotFound."""
    row = engine.store.container(name)
    record = Record.from_text(row.record)
    return [f"{row.name} ({row.id[:12]}):", *[f"  {line}" for line in sentences(record, uid=engine.uid)]]


def sentences(record: Record, *, uid: int) -> list[str]:
    """What it may do; what is weaker than the defaults begins with `WARNING: `."""
    found = [_identity(record, uid)]
    found += _capabilities(record)
    found.append(
        "A program cannot gain rights by execve (set-user-ID, file capabilities)."
        if record.no_new_privileges
        else "WARNING: programs may gain rights by execve: no-new-privileges is off."
    )
    found.append(_seccomp(record))
    if record.apparmor:
        found.append(f"AppArmor: the profile {record.apparmor} holds besides.")
    found += _shared(record)
    found += _devices(record)
    found += _mounts(record)
    found += _limits(record)
    return found


def _identity(record: Record, uid: int) -> str:
    who = "root" if record.user.partition(":")[0] in ("", "0", "root") else f"user {record.user}"
    if record.user_namespace:
        outside = "an id of nobody's" if uid == 0 else "one of your own ids"
        return f"It runs as {who} inside; root inside is {outside} outside (user namespace)."
    if who == "root":
        return "WARNING: root inside is root outside: --userns auto would make it nobody (or --user)."
    return f"It runs as {who}, the same id outside: there is no user namespace."


def _capabilities(record: Record) -> list[str]:
    if not record.capabilities:
        return ["It has no capabilities."]
    names = " ".join([name.removeprefix("CAP_") for name in record.capabilities])
    found = [f"Capabilities: {names}."]
    for name in record.capabilities:
        if name in STRONG and name not in defaults.DOCKER_CAPABILITIES:
            found.append(f"WARNING: {name.removeprefix('CAP_')} {STRONG[name]}.")
    return found


def _seccomp(record: Record) -> str:
    if record.seccomp == "unconfined":
        return "WARNING: every system call of the kernel is open: seccomp is off."
    if record.seccomp == "default,32bit":
        return "System calls: the default profile, with the 32-bit entry points open."
    if record.seccomp == "default":
        return f"System calls: the default profile ({record.security})."
    return f"System calls: the profile {record.seccomp}."


def _shared(record: Record) -> list[str]:
    found = []
    if record.network == "host":
        found.append("WARNING: it is in the host's network: it reaches services on loopback and abstract sockets.")
    sharing = record.sharing
    if sharing is not None:
        if sharing.pid == "host":
            found.append("WARNING: it sees all processes of the host.")
        if sharing.ipc == "host":
            found.append("WARNING: it shares memory and queues with the host.")
        if sharing.uts == "host":
            found.append("It has the host's name.")
        if sharing.cgroupns == "host":
            found.append("It sees the host's cgroups.")
        for kind in ("pid", "ipc"):
            if getattr(sharing, kind).startswith("container:"):
                found.append(f"It is in the {kind} namespace of {getattr(sharing, kind)[:22]}.")
    return found


def _devices(record: Record) -> list[str]:
    rights = record.rights
    if rights is None:
        return []
    if rights.privileged:
        return ["WARNING: it is privileged: every device of the host, nothing hidden in /proc and /sys."]
    return [f"Device {node.path} of the host ({node.access})." for node in rights.nodes] + [
        f"Devices by the rule {rule!r}." for rule in rights.device_rules
    ]


def _mounts(record: Record) -> list[str]:
    found = []
    for mount in record.mounts:
        if mount.type != "bind":
            continue
        how = "reads" if mount.read_only else "reads and writes"
        if mount.source.rsplit("/", 1)[-1] in _SOCKETS:
            found.append(f"WARNING: {mount.source} on {mount.destination} lets it command an engine of the host.")
        elif (mount.source.rstrip("/") or "/") in _SENSITIVE:
            found.append(f"WARNING: it {how} {mount.source} of the host, on {mount.destination}.")
        else:
            found.append(f"It {how} {mount.source} of the host, on {mount.destination}.")
    if record.read_only:
        found.append("Its root file system is read-only.")
    return found


def _limits(record: Record) -> list[str]:
    from atoll.base import units

    memory = units.show_binary(record.memory) if record.memory else "no limit"
    cpus = f"{record.cpus / 1e9:g}" if record.cpus else "no limit"
    pids = f"{record.pids_limit}" if record.pids_limit else "no limit"
    found = [f"Limits: memory {memory}, CPUs {cpus}, processes {pids}."]
    if not record.pids_limit:
        found.append("WARNING: nothing bounds its processes: a fork bomb is the host's.")
    return found
