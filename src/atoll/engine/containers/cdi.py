"""Devices by name, `vendor.com/class=name`: the Container Device Interface, and `--gpus` by it.

Holds: `find` (names to edits of a container), `names_of_gpus`. Does not hold: devices by path (`devices.py`). Loaded
only for such a name. Source: CNCF tag-runtime container-device-interface, SPEC.md (0.3 to 0.8).

A description is written by an administrator's tool, so it is trusted as far as its file: one that others may write is
refused, what it calls a device must be one on this host (its numbers are the host's, never the description's), and no
path may lead over what the system itself mounts.
"""

from __future__ import annotations

import os
import stat

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.engine.containers import devices, volumes
from atoll.engine.containers.devices import DeviceNode
from atoll.engine.containers.record import MountPoint
from atoll.spec import codec
from atoll.spec import runtime as oci
from atoll.spec.codec import int64, list_of, record, text, user_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

DIRECTORIES = ("/etc/cdi", "/var/run/cdi")
"""Later ones win."""
_MOST_BYTES = 4 << 20
_texts = list_of(text)
_HOOKS = {
    "prestart": "prestart",
    "createRuntime": "create_runtime",
    "createContainer": "create_container",
    "startContainer": "start_container",
    "poststart": "poststart",
    "poststop": "poststop",
}


class _Node(Value):
    path: str
    host_path: str | None = None
    permissions: str | None = None
    WIRE = {"path": text, "host_path": text, "permissions": text}


class _Mount(Value):
    host_path: str
    container_path: str
    options: tuple[str, ...] = ()
    type: str | None = None
    WIRE = {"host_path": text, "container_path": text, "options": _texts, "type": text}


class _Hook(Value):
    hook_name: str
    path: str
    args: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    timeout: int | None = None
    WIRE = {"hook_name": text, "path": text, "args": _texts, "env": _texts, "timeout": int64}


class _Edits(Value):
    env: tuple[str, ...] = ()
    device_nodes: tuple[_Node, ...] = ()
    mounts: tuple[_Mount, ...] = ()
    hooks: tuple[_Hook, ...] = ()
    additional_gids: tuple[int, ...] = ()
    KEYS = {"additional_gids": "additionalGids"}
    WIRE = {
        "env": _texts,
        "device_nodes": list_of(record(_Node)),
        "mounts": list_of(record(_Mount)),
        "hooks": list_of(record(_Hook)),
        "additional_gids": list_of(user_id),
    }


class _Device(Value):
    name: str
    container_edits: _Edits = _Edits()
    WIRE = {"name": text, "container_edits": record(_Edits)}


class _Description(Value):
    cdi_version: str
    kind: str
    devices: tuple[_Device, ...] = ()
    container_edits: _Edits = _Edits()
    WIRE = {
        "cdi_version": text,
        "kind": text,
        "devices": list_of(record(_Device)),
        "container_edits": record(_Edits),
    }


class Edits(Value):
    """What the devices ask for, checked."""

    env: tuple[str, ...] = ()
    nodes: tuple[DeviceNode, ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    groups: tuple[str, ...] = ()
    hooks: oci.Hooks | None = None


def names_of_gpus(request: str) -> tuple[str, ...]:
    """Docker's `--gpus`: `all`, a count, or `device=0,1`, as CDI names of NVIDIA's. Raises InvalidArgument."""
    if request == "all":
        return ("nvidia.com/gpu=all",)
    if request.isascii() and request.isdecimal() and 0 < int(request[:3]) < 256:
        return tuple([f"nvidia.com/gpu={number}" for number in range(int(request))])
    key, equals, value = request.strip('"').partition("=")
    if key == "device" and equals and value:
        return tuple([f"nvidia.com/gpu={name}" for name in value.split(",") if name])
    raise errors.InvalidArgument(f"invalid value '{request}' for --gpus", hint="all, a number, or device=0,1")


def find(names: Sequence[str], directories: Sequence[str] = DIRECTORIES) -> Edits:
    """The edits for qualified names, each description's own once. Raises NotFound in Docker's words, InvalidArgument,
    Denied."""
    known: dict[str, tuple[_Description, _Device]] = {}
    for directory in directories:
        for description in _descriptions(directory):
            for device in description.devices:
                known[f"{description.kind}={device.name}"] = (description, device)
    missing = [name for name in names if name not in known]
    if missing:
        raise errors.NotFound(
            f"CDI device injection failed: unresolvable CDI devices {', '.join(missing)}",
            hint=f"is there a description in {' or '.join(directories)}? For NVIDIA's: nvidia-ctk cdi generate",
        )
    found: list[_Edits] = []
    for name in dict.fromkeys(names):
        description, device = known[name]
        if description.container_edits not in found:
            found.append(description.container_edits)
        found.append(device.container_edits)
    return _joined(found)


def _descriptions(directory: str) -> list[_Description]:
    try:
        names = sorted(os.listdir(directory))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise errors.from_os_error(error, "look for CDI descriptions") from error
    found = []
    for name in names:
        if name.endswith((".json", ".yaml", ".yml")):
            found.append(_read(f"{directory}/{name}"))
    return found


def _read(path: str) -> _Description:
    what = f"CDI description {path}"
    try:
        for place in (os.path.dirname(path), path):
            info = os.stat(place)
            if info.st_uid not in (0, os.geteuid()) or info.st_mode & 0o022:
                raise errors.Denied(f"{what}: others may write to {place}", hint=f"run: chmod go-w {place}")
        if not stat.S_ISREG(info.st_mode) or info.st_size > _MOST_BYTES:
            raise errors.InvalidArgument(f"{what}: not a file of at most {_MOST_BYTES} bytes")
        content = files.read_bytes(path)
    except OSError as error:
        raise errors.from_os_error(error, f"read the {what}") from error
    description = codec.parse(_Description, _document(content, path, what), what)
    vendor, slash, device_class = description.kind.partition("/")
    if not slash or not vendor or not device_class:
        raise errors.InvalidArgument(f"{what}: kind {description.kind!r} is not vendor/class")
    return description


def _document(content: bytes, path: str, what: str) -> Any:
    try:
        if path.endswith(".json"):
            return jsontext.loads(content)
        try:
            import yaml  # type: ignore[import-untyped,unused-ignore]
        except ImportError:
            raise errors.Unsupported(
                f"{what} is YAML, and no module that reads it is installed",
                hint="install PyYAML, or write it as JSON (nvidia-ctk cdi generate --format=json)",
            ) from None
        return yaml.safe_load(content)
    except errors.AtollError:
        raise
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(f"{what}: {error}") from None
    except Exception as error:  # noqa: BLE001 - PyYAML's own tree of errors, which is no ValueError
        raise errors.InvalidArgument(f"{what}: {error}") from None


def _joined(edits: Sequence[_Edits]) -> Edits:
    hooks: dict[str, list[oci.Hook]] = {}
    nodes: dict[str, DeviceNode] = {}
    mounts: dict[str, MountPoint] = {}
    env: list[str] = []
    groups: list[str] = []
    for one in edits:
        env += one.env
        groups += [str(gid) for gid in one.additional_gids if gid]
        for node in one.device_nodes:
            found = _node(node)
            nodes[found.path] = found
        for mount in one.mounts:
            point = _mount(mount)
            mounts[point.destination] = point
        for hook in one.hooks:
            if hook.hook_name not in _HOOKS or not hook.path.startswith("/"):
                raise errors.InvalidArgument(f"CDI hook {hook.hook_name!r} of {hook.path!r} is none")
            made = oci.Hook(path=hook.path, args=hook.args, env=hook.env, timeout=hook.timeout)
            hooks.setdefault(_HOOKS[hook.hook_name], []).append(made)
    return Edits(
        env=tuple(env),
        nodes=tuple(nodes.values()),
        mounts=tuple(mounts.values()),
        groups=tuple(dict.fromkeys(groups)),
        hooks=oci.Hooks(**{name: tuple(found) for name, found in hooks.items()}) if hooks else None,
    )


def _node(node: _Node) -> DeviceNode:
    source = node.host_path or node.path
    access = node.permissions or "rw"
    for path in (source, node.path):
        if not path.startswith("/") or ".." in path.split("/"):
            raise errors.InvalidArgument(f"CDI device node {path!r} is no absolute, plain path")
    if not devices.valid_access(access):
        raise errors.InvalidArgument(f"CDI device node {node.path}: invalid permissions {access!r}")
    devices.check_place(node.path, node.path)
    try:
        info = os.stat(source)
    except OSError as error:
        raise errors.from_os_error(error, f"look at the CDI device node {source}") from error
    return devices.node(source, node.path, access, info)


def _mount(mount: _Mount) -> MountPoint:
    source = mount.host_path
    if not source.startswith("/") or ".." in source.split("/"):
        raise errors.InvalidArgument(f"CDI mount of {source!r}: no absolute, plain path")
    if source.rstrip("/") in ("", "/proc", "/sys", "/dev") or source.startswith(("/proc/", "/sys/kernel/")):
        raise errors.InvalidArgument(f"CDI mount of {source}: the host's own view is not a device's to give")
    if mount.type not in (None, "", "bind", "none"):
        raise errors.InvalidArgument(f"CDI mount of {source}: type {mount.type!r}", hint="only binds")
    kept = tuple([option for option in mount.options if option in ("nosuid", "nodev", "noexec")])
    return MountPoint(
        type="bind",
        source=os.path.normpath(source),
        destination=volumes.inside(mount.container_path, mount.container_path),
        read_only="ro" in mount.options,
        options=kept,
    )
