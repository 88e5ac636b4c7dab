"""What a container shares: ipc, pid, uts and cgroup namespaces of the host or another container, id maps of its own.

Holds: `Sharing` (asked for, and kept in the record), `check`, `kinds`, `user_map` (`--userns`, `--uidmap`), and
`resolve`, by which a launch finds the other container. Does not hold: network (`engine/networks`). Loaded only when
asked for, but for `resolve`, which is.
Sources: Docker's reference of `run` (--ipc, --pid, --uts, --userns), podman-run(1) (--userns, --uidmap).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import idmap as idmaps
from atoll.spec.codec import list_of, text
from atoll.spec.idmap import IdMap, RootlessMap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.requests import RunRequest
    from atoll.isolation.protocol import ContainerPlan

CONTAINER = "container:"
_texts = list_of(text)
_KNOWN = {
    "ipc": ("", "none", "private", "shareable", "host"),
    "pid": ("", "private", "host"),
    "uts": ("", "private", "host"),
    "cgroupns": ("", "private", "host"),
}
_WORDS = {"ipc": "--ipc: invalid IPC mode", "pid": "--pid: invalid PID mode", "uts": "--uts: invalid UTS mode"}
_JOINABLE = ("ipc", "pid", "uts")


class Sharing(Value):
    """The flags as typed; in a record `ipc`, `pid` and `uts` name another container by its full id. `uid_map` and
    `gid_map` are `INSIDE:OUTSIDE:COUNT`."""

    ipc: str = ""
    pid: str = ""
    uts: str = ""
    cgroupns: str = ""
    userns: str = ""
    cgroup_parent: str = ""
    uid_map: tuple[str, ...] = ()
    gid_map: tuple[str, ...] = ()
    domainname: str = ""
    WIRE = {
        "ipc": text,
        "pid": text,
        "uts": text,
        "cgroupns": text,
        "userns": text,
        "cgroup_parent": text,
        "uid_map": _texts,
        "gid_map": _texts,
        "domainname": text,
    }


def check(sharing: Sharing, request: RunRequest) -> None:
    """Refuse unknown words and contradictions. Raises InvalidArgument in Docker's words."""
    for name, known in _KNOWN.items():
        value = getattr(sharing, name)
        if value in known or (name in _JOINABLE and value.startswith(CONTAINER) and value != CONTAINER):
            continue
        raise errors.InvalidArgument(
            _WORDS.get(name, f"--{name}: invalid CGROUP mode"),
            hint=f"known are {', '.join(word for word in known if word)}"
            + (" and container:NAME" if name in _JOINABLE else ""),
        )
    if sharing.uts == "host" and (request.hostname or sharing.domainname):
        raise errors.InvalidArgument("conflicting options: hostname and the UTS mode")
    parent = sharing.cgroup_parent
    if parent and (".." in parent.split("/") or "\0" in parent or "\n" in parent):
        raise errors.InvalidArgument(f"invalid --cgroup-parent: {parent!r}")
    if sharing.userns and (sharing.uid_map or sharing.gid_map) and sharing.userns not in ("private",):
        raise errors.InvalidArgument("--userns and --uidmap/--gidmap are mutually exclusive")


def kinds(sharing: Sharing, *, user: bool, network: bool) -> tuple[tuple[str, str | None], ...]:
    """The namespaces: (kind, path). None for a new one; `container:<id>/<kind>` for another's, which `resolve`
    explains at each launch; the host's are left out."""
    wanted: list[tuple[str, str | None]] = [("mount", None)]
    for kind, word in (
        ("pid", sharing.pid),
        ("ipc", sharing.ipc),
        ("uts", sharing.uts),
        ("cgroup", sharing.cgroupns),
    ):
        if word.startswith(CONTAINER):
            wanted.append((kind, f"{word}/{kind}"))
        elif word != "host":
            wanted.append((kind, None))
    if network:
        wanted.append(("network", None))
    if user:
        joined = next((w for w in (sharing.pid, sharing.ipc, sharing.uts) if w.startswith(CONTAINER)), None)
        # A namespace can only be entered with rights over the user namespace that owns it: the other's becomes ours.
        wanted.append(("user", f"{joined}/user" if joined else None))
    return tuple(wanted)


def resolve(plan: ContainerPlan, pid_of: object) -> ContainerPlan:
    """The plan with every `container:<id>/<kind>` as a path below /proc, for this launch. `pid_of(id, kind)` gives
    the first process of that container, and raises what is wrong with it."""
    linux = plan.spec.linux
    if linux is None or not any(one.path and one.path.startswith(CONTAINER) for one in linux.namespaces):
        return plan
    assert callable(pid_of)
    names = {"network": "net", "mount": "mnt"}
    found = []
    pids: dict[str, int] = {}
    for one in linux.namespaces:
        if one.path and one.path.startswith(CONTAINER):
            other, _, kind = one.path.removeprefix(CONTAINER).partition("/")
            if other not in pids:
                pids[other] = pid_of(other, kind)
            one = one.replace(path=f"/proc/{pids[other]}/ns/{names.get(kind, kind)}")
        found.append(one)
    mounts = []
    for mount in plan.spec.mounts:
        source = mount.source or ""
        if source.startswith(CONTAINER):
            other, _, below = source.removeprefix(CONTAINER).partition("/")
            mount = mount.replace(source=f"/proc/{pids[other]}/root/{below}")
        mounts.append(mount)
    spec = plan.spec.replace(linux=linux.replace(namespaces=tuple(found)), mounts=tuple(mounts))
    return plan.replace(spec=spec)


# --- id maps --------------------------------------------------------------------------------------------------------

AUTO_FIRST, AUTO_SIZE, AUTO_RANGES = 2_001_000_000, 65536, 2048
"""Where the ranges of `--userns auto` lie: above those of systemd and of every /etc/subuid by default, below 2^31."""


def parse_maps(lines: Sequence[str], flag: str) -> tuple[IdMap, ...]:
    """`INSIDE:OUTSIDE[:COUNT]` each. Raises InvalidArgument."""
    found = []
    for line in lines:
        parts = line.split(":")
        if len(parts) not in (2, 3) or not all(p.isascii() and p.isdecimal() and len(p) <= 10 for p in parts):
            raise errors.InvalidArgument(
                f"invalid --{flag}: '{line}'", hint="write INSIDE:OUTSIDE:COUNT, e.g. 0:100000:65536"
            )
        found.append(
            IdMap(inside=int(parts[0]), outside=int(parts[1]), count=int(parts[2]) if len(parts) == 3 else 1)
        )
    maps = tuple(found)
    idmaps.check(maps, f"--{flag}")
    return maps


def user_map(
    sharing: Sharing, own: RootlessMap | None, *, uid: int, gid: int, taken: Sequence[int] = (), start: int = 0
) -> RootlessMap | None:
    """The container's id map: `own` is the one that this user's containers have anyway (None for root: none), `taken`
    the first ids of ranges of `auto` in use, `start` where to look for a free one (two commands at once that
    begin at random places do not choose the same). Raises InvalidArgument, Denied, Unsupported."""
    if sharing.uid_map or sharing.gid_map:
        return _with_own_id(_explicit(sharing, own), own, uid, gid)
    mode, _, options = sharing.userns.partition(":")
    if mode in ("", "private") or (mode == "host" and uid == 0):
        return own if uid != 0 else None
    if mode == "auto":
        return _auto(options, own, taken, start)
    if mode == "host":
        return own  # an ordinary user's container always is in a user namespace of that user's, as Podman's
    if mode in ("keep-id", "nomap"):
        if own is None:
            raise errors.InvalidArgument(
                f"--userns={mode} is for containers of an ordinary user", hint="--userns=auto"
            )
        return _with_own_id(_keep_id(options, own, uid, gid) if mode == "keep-id" else _nomap(own), own, uid, gid)
    raise errors.InvalidArgument(
        "--userns: invalid USER mode", hint="known are host, auto[:size=N], keep-id[:uid=N,gid=N], nomap"
    )


def _explicit(sharing: Sharing, own: RootlessMap | None) -> RootlessMap:
    uids = parse_maps(sharing.uid_map or sharing.gid_map, "uidmap" if sharing.uid_map else "gidmap")
    gids = parse_maps(sharing.gid_map or sharing.uid_map, "gidmap" if sharing.gid_map else "uidmap")
    if own is None:
        return RootlessMap(uid_map=uids, gid_map=gids)
    # As Podman's users write it: the ids outside are those of this user's own namespace, 0 being the user.
    return own.replace(uid_map=_through(uids, own.uid_map, "uidmap"), gid_map=_through(gids, own.gid_map, "gidmap"))


def _through(maps: tuple[IdMap, ...], own: tuple[IdMap, ...], flag: str) -> tuple[IdMap, ...]:
    """Maps onto the ids of `own`'s inside, as maps onto those of its outside."""
    found = []
    for one in maps:
        at = 0
        while at < one.count:
            middle = one.outside + at
            line = next((o for o in own if o.inside <= middle < o.inside + o.count), None)
            if line is None:
                raise errors.Denied(
                    f"--{flag}: id {middle} is not one of this user's ({sum(o.count for o in own)} are)",
                    hint="give the user a longer range in /etc/subuid and /etc/subgid",
                )
            count = min(one.count - at, line.inside + line.count - middle)
            found.append(IdMap(inside=one.inside + at, outside=line.outside + middle - line.inside, count=count))
            at += count
    return tuple(found)


def _auto(options: str, own: RootlessMap | None, taken: Sequence[int], start: int) -> RootlessMap:
    size = AUTO_SIZE
    for option in options.split(",") if options else ():
        key, _, value = option.partition("=")
        if key != "size" or not value.isascii() or not value.isdecimal() or not 1 <= int(value[:9]) <= AUTO_SIZE:
            raise errors.InvalidArgument(f"--userns=auto: {option!r}", hint=f"size=N, at most {AUTO_SIZE}")
        size = int(value)
    if own is not None:
        raise errors.Unsupported(
            "--userns=auto takes ranges of ids that an ordinary user does not have",
            hint="run as root, or take --userns=keep-id or --uidmap",
        )
    used = set(taken)
    for number in range(AUTO_RANGES):
        first = AUTO_FIRST + (start + number) % AUTO_RANGES * AUTO_SIZE
        if first not in used:
            line = (IdMap(inside=0, outside=first, count=size),)
            return RootlessMap(uid_map=line, gid_map=line)
    raise errors.Exhausted(f"all {AUTO_RANGES} ranges of --userns=auto are in use", hint="remove containers")


def _keep_id(options: str, own: RootlessMap, uid: int, gid: int) -> RootlessMap:
    wanted = {"uid": uid, "gid": gid}
    for option in options.split(",") if options else ():
        key, _, value = option.partition("=")
        if key not in wanted or not value.isascii() or not value.isdecimal() or len(value) > 9:
            raise errors.InvalidArgument(f"--userns=keep-id: {option!r}", hint="uid=N and gid=N")
        wanted[key] = int(value)
    if own.single:
        return own.replace(
            uid_map=(IdMap(inside=wanted["uid"], outside=uid, count=1),),
            gid_map=(IdMap(inside=wanted["gid"], outside=gid, count=1),),
        )
    return own.replace(
        uid_map=_around(wanted["uid"], uid, own.uid_map), gid_map=_around(wanted["gid"], gid, own.gid_map)
    )


def _around(inside: int, outside: int, own: tuple[IdMap, ...]) -> tuple[IdMap, ...]:
    """The user's own id at `inside`, the subordinate ones at all other places from 0 on."""
    rest = [line for line in own if line.outside != outside]
    found: list[IdMap] = []
    at = 0
    for line in rest:
        start, count = line.outside, line.count
        while count:
            if at == inside:
                found.append(IdMap(inside=inside, outside=outside, count=1))
                at += 1
            take = min(count, inside - at) if at < inside else count
            found.append(IdMap(inside=at, outside=start, count=take))
            at, start, count = at + take, start + take, count - take
    if at <= inside:
        found.append(IdMap(inside=inside, outside=outside, count=1))
    return tuple(found)


def _nomap(own: RootlessMap) -> RootlessMap:
    """The subordinate ids alone."""
    return own.replace(uid_map=own.uid_map[1:], gid_map=own.gid_map[1:])


def _with_own_id(found: RootlessMap, own: RootlessMap | None, uid: int, gid: int) -> RootlessMap:
    """A map of an ordinary user's must hold the user's own ids: what Atoll makes for the container belongs to those,
    and would be nobody's inside."""
    if own is None:
        return found
    for maps, number in ((found.uid_map, uid), (found.gid_map, gid)):
        if not any(line.outside <= number < line.outside + line.count for line in maps):
            raise errors.Unsupported(
                f"an id map without your own id {number}: the container's files belong to it",
                hint="--userns=keep-id, or a map with 0, which stands for you",
            )
    return found
