"""What systemd is told of a container: names of units, properties of a scope. Pure.

Holds: `names`, `expand`, `base`, `limits`, `from_annotations`. Does not hold: the telling (`systemd.py`).
Source: systemd.resource-control(5), systemd.slice(5); runc's docs/systemd.md for the annotations and the forms. A
property is a pair of its name and a D-Bus variant, which is a pair of signature and value.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.runtime.cgroups import devices, v1, v2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.spec.runtime import CPU, Memory, Resources

    Property = tuple[str, tuple[str, Any]]

PREFIX = "org.systemd.property."
_NO_LIMIT = (1 << 64) - 1
_NAME = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789:-_.\\@")
_LONGEST = 255
# Of a scope's properties those that annotations may set: they order and end it, they lift no limit of config.json.
ALLOWED = frozenset(
    "After Before BindsTo CollectMode Conflicts Description Documentation JobTimeoutUSec KillMode KillSignal "
    "OOMPolicy PartOf Requires Requisite RuntimeMaxUSec SendSIGHUP SendSIGKILL TimeoutStopUSec Wants "
    "CPUAccounting IOAccounting IPAccounting MemoryAccounting TasksAccounting".split()
)


def names(cgroups_path: str | None, container_id: str, *, user: bool) -> tuple[str, str]:
    """(slice, unit) for `slice:prefix:name`; a name that is a slice is the unit itself. Raises InvalidArgument."""
    parts = (cgroups_path or f":atoll:{container_id}").split(":")
    if len(parts) != 3 or not parts[2]:
        raise errors.InvalidArgument(
            f'linux.cgroupsPath: expected it to be of format "slice:prefix:name" for systemd cgroups, '
            f"got {cgroups_path!r} instead"
        )
    slice_, prefix, name = parts
    slice_ = slice_ or ("user.slice" if user else "system.slice")
    if name.endswith(".slice"):
        unit = slice_ = name
    else:
        unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    for one in (slice_, unit):
        if len(one) > _LONGEST or not set(one) <= _NAME:
            raise errors.InvalidArgument(f"linux.cgroupsPath: {one!r} cannot name a unit of systemd's")
    expand(slice_)
    return slice_, unit


def expand(slice_: str) -> str:
    """The cgroup of a slice: `a-b.slice` is `/a.slice/a-b.slice`. Raises InvalidArgument."""
    stem = slice_.removesuffix(".slice")
    if stem == slice_ or (stem != "-" and "" in stem.split("-")):
        raise errors.InvalidArgument(f"linux.cgroupsPath: invalid slice name {slice_!r}")
    if stem == "-":
        return ""
    parts = stem.split("-")
    return "".join([f"/{'-'.join(parts[: index + 1])}.slice" for index in range(len(parts))])


def base(unit: str, slice_: str, pid: int, container_id: str, *, unified: bool) -> list[Property]:
    """What every scope gets: its place, its process, delegation (whoever is inside may make cgroups below)."""
    found: list[Property] = [("Description", ("s", f"atoll-runtime container {container_id}"))]
    if unit.endswith(".slice"):
        found.append(("Wants", ("as", [slice_])))
    else:
        found += [("Slice", ("s", slice_)), ("Delegate", ("b", True))]
        found.append(("PIDs", ("au", [pid])))
    accounted = (
        "CPUAccounting",
        "MemoryAccounting",
        "TasksAccounting",
        "IOAccounting" if unified else "BlockIOAccounting",
    )
    found += [(name, ("b", True)) for name in accounted]
    found.append(("DefaultDependencies", ("b", False)))
    return found


def limits(asked: Resources, *, unified: bool, update: bool = False) -> list[Property]:
    """The limits of `linux.resources` that systemd has properties for. Raises InvalidArgument."""
    found: list[Property] = []
    if asked.devices or not update:
        found += _devices(asked)
    if asked.memory is not None:
        found += _memory(asked.memory, unified=unified)
    if asked.cpu is not None:
        found += _cpu(asked.cpu, unified=unified)
    if asked.pids is not None and asked.pids.limit:
        found.append(("TasksMax", ("t", asked.pids.limit if asked.pids.limit > 0 else _NO_LIMIT)))
    if asked.block_io is not None and asked.block_io.weight:
        weight = asked.block_io.weight
        found.append(
            ("IOWeight", ("t", v2.weight_from_block_io(weight))) if unified else ("BlockIOWeight", ("t", weight))
        )
    return found


def _memory(asked: Memory, *, unified: bool) -> list[Property]:
    found: list[Property] = []
    if asked.limit:
        found.append(("MemoryMax" if unified else "MemoryLimit", ("t", _bytes(asked.limit))))
    if unified and asked.reservation:
        found.append(("MemoryLow", ("t", _bytes(asked.reservation))))
    if unified and asked.swap:
        swap = _NO_LIMIT if asked.swap == v1.UNLIMITED else asked.swap - max(asked.limit or 0, 0)
        found.append(("MemorySwapMax", ("t", swap)))
    return found


def _bytes(value: int) -> int:
    return _NO_LIMIT if value < 0 else value


def _cpu(asked: CPU, *, unified: bool) -> list[Property]:
    found: list[Property] = []
    if asked.shares and asked.idle != 1:
        found.append(
            ("CPUWeight", ("t", v2.weight_from_shares(asked.shares)))
            if unified
            else ("CPUShares", ("t", asked.shares))
        )
    if asked.period:
        found.append(("CPUQuotaPeriodUSec", ("t", asked.period)))
    if asked.quota:
        found.append(("CPUQuotaPerSecUSec", ("t", quota_per_second(asked.quota, asked.period))))
    if unified:
        for text, name in ((asked.cpus, "AllowedCPUs"), (asked.mems, "AllowedMemoryNodes")):
            if text:
                found.append((name, ("ay", list(mask_of(text, name)))))
    return found


def quota_per_second(quota: int, period: int | None) -> int:
    """Microseconds of CPU a second, rounded up to 10 ms, below which systemd itself rounds down; -1 is no limit."""
    if quota < 0:
        return _NO_LIMIT
    used = quota * 1_000_000 // (period or v2.DEFAULT_PERIOD)
    return used + -used % 10_000


def mask_of(text: str, name: str) -> bytes:
    """A list like `0-3,7` as the bytes of a bit mask, bit 0 of byte 0 first. Raises InvalidArgument."""
    from atoll.runtime.placement import parse_list

    found = parse_list(text, f"linux.resources.cpu ({name})")
    return sum(1 << number for number in found).to_bytes(max(found) // 8 + 1, "little")


def _devices(asked: Resources) -> list[Property]:
    """DevicePolicy and DeviceAllow, as far as its forms go; the exact rules are set on the cgroup itself."""
    default, exceptions = devices.whitelist(devices.rules_for(asked.devices))
    if default:
        return [("DevicePolicy", ("s", "auto"))]
    allowed: list[tuple[str, str]] = []
    for (kind, major, minor), access in exceptions:
        said = devices.line((kind, major, minor), access).rpartition(" ")[2]
        letters = "".join([letter for letter in "rwm" if letter in said])
        name = "char" if kind == "c" else "block"
        if major is None:
            allowed.append((f"{name}-*", letters))
        elif minor is None:
            driver = _driver(name, major)
            if driver is not None:
                allowed.append((f"{name}-{driver}", letters))
        else:
            allowed.append((f"/dev/{name}/{major}:{minor}", letters))
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", allowed))]


def _driver(kind: str, major: int) -> str | None:
    """The name of a major number in /proc/devices, by which alone systemd takes a whole one."""
    wanted, section = f"{kind.capitalize()} devices:", ""
    with open("/proc/devices") as file:
        for line in file:
            words = line.split()
            if line.rstrip().endswith("devices:"):
                section = line.strip()
            elif section == wanted and len(words) == 2 and words[0] == str(major):
                return words[1]
    return None


def from_annotations(annotations: tuple[tuple[str, str], ...]) -> list[Property]:
    """`org.systemd.property.NAME: VALUE`, the value in GVariant's text form (`'text'`, `true`, `uint64 5`,
    `['a', 'b']`); a NAME in seconds is put in microseconds. Raises InvalidArgument, also for one not in `ALLOWED`."""
    found: list[Property] = []
    for key, text in annotations:
        if not key.startswith(PREFIX):
            continue
        name = key.removeprefix(PREFIX)
        signature, value = _variant(text, key)
        if name.endswith("Sec") and not name.endswith("USec"):
            if signature not in ("y", "n", "q", "i", "u", "x", "t", "d"):
                raise errors.InvalidArgument(f"annotation {key}: {text!r} is no number of seconds")
            name, signature, value = name.removesuffix("Sec") + "USec", "t", int(value * 1_000_000)
        if name not in ALLOWED:
            raise errors.InvalidArgument(
                f"annotation {key}: not a property that a container may set",
                hint="one of " + ", ".join(sorted(ALLOWED)),
            )
        found.append((name, (signature, value)))
    return found


_TYPES = {"byte": "y", "int16": "n", "uint16": "q", "int32": "i", "uint32": "u", "int64": "x", "uint64": "t"}


def _variant(text: str, key: str) -> tuple[str, Any]:
    word, _, rest = text.strip().partition(" ")
    try:
        if word in _TYPES:
            return _TYPES[word], int(rest)
        if word == "double":
            return "d", float(rest)
        if word in ("true", "false"):
            return "b", word == "true"
        if text[:1] == "[" and text.rstrip()[-1:] == "]":
            inner = text.strip()[1:-1].strip()
            return "as", [_quoted(one.strip()) for one in inner.split(",")] if inner else []
        if text[:1] in ("'", '"'):
            return "s", _quoted(text.strip())
        if "." in text:
            return "d", float(text)
        return "i", int(text)
    except ValueError:
        raise errors.InvalidArgument(
            f"annotation {key}: {text!r} is no value", hint="in GVariant's text form, such as 'text' or uint64 5"
        ) from None


def _quoted(text: str) -> str:
    if len(text) < 2 or text[0] not in "'\"" or text[-1] != text[0] or text[0] in text[1:-1] or "\\" in text:
        raise ValueError(text)
    return text[1:-1]
