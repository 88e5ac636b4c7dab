"""`update`: other limits for a container that exists.

Holds: the verb and the flags of runc's that stand for properties. Does not hold: applying them (`../cgroups`).
"""

from __future__ import annotations

import sys

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.runtime import state
from atoll.runtime.command.options import NUMBER, TEXT, parse
from atoll.spec.runtime import CPU, BlockIO, Memory, Pids, Resources

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context
    from atoll.runtime.command.options import Given

# flag: (record, field)
_FIELDS = {
    "blkio-weight": ("block_io", "weight"),
    "cpu-period": ("cpu", "period"),
    "cpu-quota": ("cpu", "quota"),
    "cpu-burst": ("cpu", "burst"),
    "cpu-share": ("cpu", "shares"),
    "cpu-rt-period": ("cpu", "realtime_period"),
    "cpu-rt-runtime": ("cpu", "realtime_runtime"),
    "cpu-idle": ("cpu", "idle"),
    "cpuset-cpus": ("cpu", "cpus"),
    "cpuset-mems": ("cpu", "mems"),
    "memory": ("memory", "limit"),
    "memory-reservation": ("memory", "reservation"),
    "memory-swap": ("memory", "swap"),
    "kernel-memory": ("memory", "kernel"),
    "kernel-memory-tcp": ("memory", "kernel_tcp"),
    "pids-limit": ("pids", "limit"),
}
UPDATE = {
    "resources": TEXT,
    **{name: TEXT if name.startswith("cpuset") else NUMBER for name in _FIELDS},
    "l3-cache-schema": TEXT,
    "mem-bw-schema": TEXT,
}
_RECORDS: dict[str, type[Value]] = {"block_io": BlockIO, "cpu": CPU, "memory": Memory, "pids": Pids}
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40}


def update(context: Context, argv: list[str]) -> int:
    """Change the limits that are given."""
    given = parse("update", argv, UPDATE, {"r": "resources"})
    run_dir = context.existing(given.one_word())
    record = state.read(run_dir)
    if state.status_of(run_dir, record) == state.STOPPED:
        raise errors.FailedPrecondition("container not running")
    path = given.text("resources")
    wanted = _read(path) if path is not None else _from_flags(given)
    schemata = [text for name in ("l3-cache-schema", "mem-bw-schema") if (text := given.text(name))]
    if schemata:
        if record.intel_rdt is None:
            raise errors.Unsupported("update of Intel RDT schemata: the container was made without linux.intelRdt")
        from atoll.runtime import resctrl

        resctrl.update(record.intel_rdt, schemata)
        if wanted == Resources():
            return 0
    if record.cgroup is None:
        raise errors.Denied(
            f"cannot update container {record.id}: it has no cgroup", hint="delegate a cgroup subtree to this user"
        )
    from atoll.runtime.cgroups.cgroup import Cgroup
    from atoll.runtime.cgroups.detect import detect

    Cgroup.from_json(record.cgroup).update(wanted, detect())
    return 0


def _read(path: str) -> Resources:
    from atoll.spec.codec import parse as parse_record

    try:
        data = sys.stdin.buffer.read() if path == "-" else files.read_bytes(path)
        return parse_record(Resources, jsontext.loads(data), "resources")
    except OSError as error:
        raise errors.from_os_error(error, f"read the resources in {path}") from error
    except ValueError as error:
        raise errors.InvalidArgument(f"{path}: {error}") from None


def _from_flags(given: Given) -> Resources:
    from atoll.spec.codec import key_of
    from atoll.spec.codec import parse as parse_record

    wire: dict[str, dict[str, object]] = {}
    for name, (record, field) in _FIELDS.items():
        text = given.text(name)
        if text is not None and text != "":
            key = key_of(_RECORDS[record], field)
            value: object = text if name.startswith("cpuset") else _number(name, text)
            wire.setdefault(key_of(Resources, record), {})[key] = value
    return parse_record(Resources, wire, "resources")


def _number(name: str, text: str) -> int:
    scale = _UNITS.get(text[-1:].lower(), 1) if "memory" in name else 1
    digits = text[:-1] if scale > 1 else text
    try:
        return int(digits) * scale
    except ValueError:
        raise errors.InvalidArgument(f"invalid value {text!r} for {name}") from None
