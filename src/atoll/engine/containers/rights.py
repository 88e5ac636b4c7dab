"""What a container may do beyond its defaults: capabilities, devices, groups, sysctls, `--privileged`. Pure.

Holds: `Rights` (asked for, and kept in the record), `capabilities`, `device_rules`, `check_sysctls`. Does not hold:
`--security-opt` (`security_options.py`), what the host's devices are (`devices.py`). Loaded only when asked for.
Sources: Docker's reference of `run` ("Runtime privilege and Linux capabilities"), capabilities(7).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers.devices import DeviceNode, parse_rule
from atoll.linux.capability import NAMES
from atoll.spec import codec
from atoll.spec import runtime as oci
from atoll.spec.codec import flag, list_of, map_of, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_texts = list_of(text)


class Rights(Value):
    """`devices` and `gpus` are as typed; `nodes` is what they are on this host (empty in a request); `groups` are
    names or numbers."""

    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    privileged: bool = False
    devices: tuple[str, ...] = ()
    nodes: tuple[DeviceNode, ...] = ()
    device_rules: tuple[str, ...] = ()
    groups: tuple[str, ...] = ()
    sysctls: tuple[tuple[str, str], ...] = ()
    WIRE = {
        "cap_add": _texts,
        "cap_drop": _texts,
        "privileged": flag,
        "devices": _texts,
        "nodes": list_of(codec.record(DeviceNode)),
        "device_rules": _texts,
        "groups": _texts,
        "sysctls": map_of(text),
    }


def normal_capabilities(names: Sequence[str], flag_name: str) -> tuple[str, ...]:
    """`net_admin`, `CAP_NET_ADMIN`, `ALL` as the kernel calls them. Raises InvalidArgument in Docker's words."""
    found = []
    for name in names:
        word = name.strip().upper()
        if word != "ALL" and not word.startswith("CAP_"):
            word = "CAP_" + word
        if word != "ALL" and word not in NAMES:
            from atoll.base import suggest

            guess = suggest.nearest(word, list(NAMES))
            raise errors.InvalidArgument(
                f'invalid {flag_name}: unknown capability: "{word}"', hint=f"did you mean {guess}?" if guess else None
            )
        found.append(word)
    return tuple(found)


def capabilities(default: tuple[str, ...], rights: Rights) -> tuple[str, ...]:
    """The set that `--cap-add`, `--cap-drop` and `--privileged` make of the default one, as Docker combines them."""
    if rights.privileged:
        return tuple(NAMES)
    added = normal_capabilities(rights.cap_add, "CapAdd")
    dropped = normal_capabilities(rights.cap_drop, "CapDrop")
    if "ALL" in added:
        return tuple([name for name in NAMES if name not in dropped])
    base = () if "ALL" in dropped else tuple([name for name in default if name not in dropped])
    return (*base, *[name for name in dict.fromkeys(added) if name not in base])


def check_sysctls(entries: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """`key=value` pairs, later ones winning. Whether a namespace of the container has it is the runtime's to judge.
    Raises InvalidArgument."""
    found: dict[str, str] = {}
    for entry in entries:
        key, equals, value = entry.partition("=")
        if not equals or not key or "\0" in entry or "\n" in entry or ".." in key or key.startswith("/"):
            raise errors.InvalidArgument(f"invalid sysctl: '{entry}'", hint="write KEY=VALUE")
        found[key.strip()] = value
    return tuple(found.items())


def device_rules(rights: Rights) -> tuple[oci.DeviceRule, ...]:
    """What the device controller allows beyond the standard nodes: each given node, each given rule; everything for
    a privileged container."""
    if rights.privileged:
        return (oci.DeviceRule(allow=True, access="rwm"),)
    nodes = [
        oci.DeviceRule(allow=True, type=one.type, major=one.major, minor=one.minor, access=one.access)
        for one in rights.nodes
    ]
    return (*nodes, *[parse_rule(rule) for rule in rights.device_rules])


def nodes(rights: Rights) -> tuple[oci.Device, ...]:
    """The nodes to make, where they can be made (not in a user namespace)."""
    return tuple(
        [
            oci.Device(
                path=one.path,
                type=one.type,
                major=one.major,
                minor=one.minor,
                file_mode=one.mode,
                uid=one.uid,
                gid=one.gid,
            )
            for one in rights.nodes
        ]
    )


def node_mounts(rights: Rights) -> tuple[oci.Mount, ...]:
    """The nodes as bind mounts, for a user namespace, in which none can be made."""
    return tuple(
        [
            oci.Mount(
                destination=one.path,
                type="bind",
                source=one.source,
                options=("bind", "rprivate", "nosuid", "noexec", *(() if "w" in one.access else ("ro",))),
            )
            for one in rights.nodes
        ]
    )


def split_groups(groups: Sequence[str]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """`--group-add`: numbers, and the names that the container's own /etc/group explains. Raises InvalidArgument."""
    numbers, names = [], []
    for group in groups:
        if not group or any(c in group for c in "\0\n:/"):
            raise errors.InvalidArgument(f"invalid group: {group!r}", hint="a name or a number")
        if group.isascii() and group.isdecimal():
            if len(group) > 10 or int(group) > (1 << 32) - 2:
                raise errors.InvalidArgument(f"uids and gids must be in range 0-{(1 << 32) - 2}: {group}")
            numbers.append(int(group))
        else:
            names.append(group)
    return tuple(numbers), tuple(names)
