"""Networks of CNI plug-ins: which there are here, and one container's place on one, from ADD to DEL.

Holds: `row_of`, `attach`, `detach`, `check`, `collect`, what the plug-ins said (`result_of`). Does not hold: files
and programs (`network/cni.py`), documents (`spec/cni.py`).

In the bundle, `cni-<network>.json`: the list, the place and the result, as the specification wants them cached. It is
written before ADD and removed after DEL, so that a DEL after a crash, a reboot or a change of the administrator's
files asks the same plug-ins the same. While a container is on such a network its network namespace is bound to a file
of the run root, because plug-ins look for links and addresses in it when they take things away.
"""

from __future__ import annotations

import errno
import os
import time

from atoll.base import errors, files, jsontext
from atoll.engine.networks import rows
from atoll.engine.networks.records import Network
from atoll.engine.networks.rows import NetworkRow
from atoll.network import addresses, rates
from atoll.network import cni as plugins
from atoll.network.cni import Attachment, Programs
from atoll.spec import cni
from atoll.spec.cni import ConfList, Plugin, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.networks.records import Networking
    from atoll.engine.networks.rows import Endpoint, Taken

PREFIX = "cni:"
DRIVER = "cni"


def network_id(name: str) -> str:
    """A plug-ins' network's id: the same as long as it has that name."""
    import hashlib

    return hashlib.sha256(f"{PREFIX}{name}".encode()).hexdigest()


def known(engine: Engine) -> list[tuple[str, ConfList]]:
    """(file, list) of each network that the host's files describe."""
    return plugins.every(engine.config.cni_config)[0]


def _programs(engine: Engine) -> Programs:
    return Programs(folders=engine.config.cni_plugins, patience=float(engine.config.cni_timeout))


def row_of(engine: Engine, name: str) -> NetworkRow:
    """The row of `cni:NAME`, made when a container first asks for it. Raises NotFound, Unsupported."""
    if engine.uid != 0:
        raise errors.Unsupported("CNI plug-ins need root", hint="sudo atoll …, or a network of Atoll's")
    _, conf = plugins.find(name.removeprefix(PREFIX), engine.config.cni_config)
    found = rows.by_id(engine.store, network_id(conf.name))
    if found is not None:
        return found
    row = NetworkRow(
        id=network_id(conf.name),
        name=PREFIX + conf.name,
        created_at=time.time_ns(),
        network=Network(driver=DRIVER, names=False),
    )
    try:
        rows.add(engine.store, row)
    except errors.Conflict:  # another command was first
        pass
    return row


# --- one container's place ------------------------------------------------------------------------------------------


def _file(bundle: str, network: str) -> str:
    return f"{bundle}/cni-{network[:12]}.json"


def _save(path: str, conf: ConfList, place: Attachment, result: str) -> None:
    listed = [[one.kind, one.document, list(one.capabilities)] for one in conf.plugins]
    document = {
        "name": conf.name,
        "version": conf.version,
        "check": conf.check,
        "gc": conf.gc,
        "plugins": listed,
        "place": [place.container, place.interface, place.wishes, place.args, place.words],
        "result": result,
    }
    files.write_atomic(path, jsontext.dumps(document))


def _load(path: str) -> tuple[ConfList, Attachment, str] | None:
    """(list, place without namespace, result or ""), None where there is none. Raises Corrupt."""
    try:
        document: dict[str, Any] = jsontext.loads(files.read_bytes(path))
        listed = [
            Plugin(kind=kind, document=text, capabilities=tuple(can)) for kind, text, can in document["plugins"]
        ]
        container, interface, wishes, args, words = document["place"]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.Corrupt(f"{path} is damaged: {error}", hint="'atoll network disconnect -f' forgets it") from None
    conf = ConfList(
        name=document["name"], version=document["version"], plugins=tuple(listed), check=document["check"],
        gc=document["gc"],
    )  # fmt: skip
    place = Attachment(container=container, ns="", interface=interface, wishes=wishes, args=args, words=words)
    return conf, place, document["result"]


def result_of(engine: Engine, container: str, network: str) -> Result | None:
    """What ADD gave, None while there is nothing. A damaged file says nothing."""
    try:
        found = _load(_file(engine.paths.container(container), network))
        return cni.parse_result(found[2], "result") if found is not None and found[2] else None
    except errors.AtollError:
        return None


def check_wishes(engine: Engine, row: NetworkRow, networking: Networking, *, ports: bool) -> None:
    """Refuse what the network's plug-ins cannot do, before anything is made. Raises Unsupported."""
    conf = plugins.find(row.name.removeprefix(PREFIX), engine.config.cni_config)[1]
    lacking = [
        (ports and bool(networking.ports), cni.PORTS, "publish ports"),
        (bool(networking.rate_in or networking.rate_out), cni.BANDWIDTH, "limit rates"),
    ]
    for wanted, capability, words in lacking:
        if wanted and not conf.can(capability):
            raise errors.Unsupported(
                f"the plug-ins of CNI network {conf.name} cannot {words}",
                hint=f'a plug-in with "capabilities": {{"{capability}": true}} can',
            )
    if networking.egress:
        raise errors.Unsupported(
            f"--egress is not enforced on CNI network {conf.name}, which is its plug-ins' own",
            hint="use a network of 'atoll network create'",
        )


def _wishes(
    networking: Networking, one: Endpoint, names: tuple[str, ...], ports: Sequence[Taken]
) -> tuple[str, str, str]:
    """(by capability, args, CNI_ARGS) as JSON and text: a plug-in without capabilities reads one of the latter."""
    found: dict[str, Any] = {}
    if ports:
        found[cni.PORTS] = [
            {"hostPort": p.port, "containerPort": p.inner, "protocol": p.protocol}
            | ({"hostIP": p.address} if p.address else {})
            for p in ports
        ]
    if networking.rate_in or networking.rate_out:
        found[cni.BANDWIDTH] = {
            key: value
            for way, rate in (("ingress", networking.rate_in), ("egress", networking.rate_out))
            if rate
            for key, value in ((f"{way}Rate", rate * 8), (f"{way}Burst", rates.burst_of(rate) * 8))
        }
    fixed = [text for text in (one.wish.address, one.wish.address6) if text]
    args: dict[str, Any] = {}
    words = ["IgnoreUnknown=1"]
    if fixed:
        found[cni.IPS] = args["ips"] = fixed
        words.append(f"IP={fixed[0]}")
    if one.wish.mac:
        found[cni.MAC] = args["mac"] = one.wish.mac
        words.append(f"MAC={one.wish.mac}")
    aliases = list(dict.fromkeys((*names, *one.wish.aliases)))
    if aliases:
        found[cni.ALIASES] = aliases
    return jsontext.dumps(found), jsontext.dumps(args), ";".join(words)


def attach(
    engine: Engine, row: NetworkRow, one: Endpoint, pid: int, networking: Networking, names: tuple[str, ...],
    ports: Sequence[Taken] = (),
) -> Endpoint:  # fmt: skip
    """ADD: the place with the addresses that it was given. `ports` are to be published by this network. Raises
    AtollError; then the plug-ins have undone what they did."""
    bundle = engine.paths.container(one.container)
    _, conf = plugins.find(row.name.removeprefix(PREFIX), engine.config.cni_config)
    wishes, args, words = _wishes(networking, one, names, ports)
    place = Attachment(
        container=one.container, ns=_hold(engine, one.container, pid), interface=f"eth{one.place}",
        wishes=wishes, args=args, words=words,
    )  # fmt: skip
    # 1. Whoever finds this after a SIGKILL knows whom to tell.
    _save(_file(bundle, row.id), conf, place, "")
    # 2. The plug-ins.
    result = plugins.add(conf, place, _programs(engine))
    # 3. What they said, for CHECK, DEL and `inspect`.
    _save(_file(bundle, row.id), conf, place, result.document)
    return _learn(engine, row, one, place, result)


def _learn(engine: Engine, row: NetworkRow, one: Endpoint, place: Attachment, result: Result) -> Endpoint:
    given = [addresses.parse(a.address) for a in result.addresses if _is_inside(result, a.interface, place)]
    four = next((a for a in given if len(a) == 4), None)
    six = next((a for a in given if len(a) == 16), None)
    for wanted, got in ((one.wish.address, four), (one.wish.address6, six)):
        if wanted and (got is None or addresses.show(got) != wanted):
            raise errors.Unsupported(
                f"the plug-ins of {row.name} did not give the address {wanted}",
                hint='host-local does with "capabilities": {"ips": true}',
            )
    own = next((i.mac for i in result.interfaces if i.sandbox and i.name == place.interface), "")
    try:
        mac = addresses.parse_mac(own)
    except errors.InvalidArgument:
        mac = one.mac or addresses.mac_of(four)
    known = one.replace(address=four, address6=six, mac=mac, link="")
    rows.learn(engine.store, known)
    return known


def _is_inside(result: Result, at: int, place: Attachment) -> bool:
    """Whether an address is of the container's side: old results don't say."""
    if not 0 <= at < len(result.interfaces):
        return True
    return bool(result.interfaces[at].sandbox) or result.interfaces[at].name == place.interface


def detach(engine: Engine, container: str, network: str, *, force: bool = False) -> None:
    """DEL, and forget the place; nothing known of it is fine. `force`: what a plug-in does not undo is left to it.
    Raises AtollError; then the place is still known, and the next command that misses it tries again."""
    path = _file(engine.paths.container(container), network)
    try:
        found = _load(path)
        if found is not None:
            conf, place, result = found
            plugins.delete(conf, place.replace(ns=_held(engine, container)), result, _programs(engine))
    except errors.AtollError as error:
        if not force:
            error.hint = error.hint or "mend the plug-in, or 'atoll network disconnect -f' forgets it"
            raise
    files.unlink_if_present(path)
    if not any(one.startswith("cni-") for one in os.listdir(engine.paths.container(container))):
        let_go(engine, container)


def check(engine: Engine, container: str, network: str) -> None:
    """CHECK. Raises AtollError with what is not as it was left."""
    found = _load(_file(engine.paths.container(container), network))
    if found is not None and found[2]:
        conf, place, result = found
        plugins.check(conf, place.replace(ns=_held(engine, container)), result, _programs(engine))


def collect(engine: Engine, name: str) -> None:
    """GC: containers of this store that live are the only ones on the network. Raises NotFound, AtollError."""
    from atoll.engine.networks import repair

    repair.sweep(engine)
    _, conf = plugins.find(name.removeprefix(PREFIX), engine.config.cni_config)
    if not conf.at_least("1.1.0"):
        raise errors.Unsupported(
            f"CNI network {conf.name} is of version {conf.version}, which knows no GC", hint='"cniVersion": "1.1.0"'
        )
    there = rows.of_network(engine.store, network_id(conf.name))
    plugins.gc(conf, [(one.container, f"eth{one.place}") for one in there], _programs(engine))


# --- the network namespace's file -----------------------------------------------------------------------------------


def _path(engine: Engine, container: str) -> str:
    return f"{engine.paths.run}/networks/{container[:16]}.ns"


def _hold(engine: Engine, container: str, pid: int) -> str:
    """The path by which plug-ins find the namespace, now and after its processes' end. Raises AtollError."""
    from atoll.linux.mount import MS_BIND, mount

    path = _path(engine, container)
    if _held(engine, container):
        return path
    try:
        os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
        os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600))
        mount(f"/proc/{pid}/ns/net", path, None, MS_BIND)
    except OSError as error:
        raise errors.from_os_error(error, "hold the container's network namespace") from error
    return path


def _held(engine: Engine, container: str) -> str:
    """The path, or "" where no namespace is bound to it: never that of a process whose pid is another's by now."""
    path = _path(engine, container)
    try:
        return path if os.stat(path).st_dev != os.stat(os.path.dirname(path)).st_dev else ""
    except OSError:
        return ""


def let_go(engine: Engine, container: str) -> None:
    """The namespace may go; it was not held is fine. Raises AtollError."""
    from atoll.linux.mount import MNT_DETACH, umount2

    path = _path(engine, container)
    try:
        if _held(engine, container):
            umount2(path, MNT_DETACH)
        files.unlink_if_present(path)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOENT):
            raise errors.from_os_error(error, "let the container's network namespace go") from error


# --- as documents ---------------------------------------------------------------------------------------------------


def described(path: str, conf: ConfList) -> dict[str, Any]:
    """What `network inspect` adds: the file, the plug-ins, the subnets that the list itself names."""
    ipam: dict[str, Any] = {}
    for one in conf.plugins:
        document = jsontext.loads(one.document)
        if isinstance(document.get("ipam"), dict):
            ipam = document["ipam"]
            break
    subnets = [ipam["subnet"]] if isinstance(ipam.get("subnet"), str) else []
    ranges = ipam.get("ranges")
    for several in ranges if isinstance(ranges, list) else []:
        subnets += [one["subnet"] for one in several if isinstance(one, dict) and isinstance(one.get("subnet"), str)]
    return {
        "EnableIPv6": any(":" in one for one in subnets),
        "IPAM": {"Driver": str(ipam.get("type", "")), "Options": {}, "Config": [{"Subnet": one} for one in subnets]},
        "Options": {
            "cni.file": path,
            "cni.version": conf.version,
            "cni.plugins": ",".join([one.kind for one in conf.plugins]),
            "cni.capabilities": ",".join(sorted({can for one in conf.plugins for can in one.capabilities})),
        },
    }
