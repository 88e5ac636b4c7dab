"""`--mount`, `--tmpfs`, `--volumes-from`: the grammars of the rarer mounts. Pure but for `volumes_from`'s caller.

Holds: `Storage` (what was asked for), `parse_mount`, `parse_tmpfs`, `volumes_from`. Does not hold: `-v`
(`volumes.py`), looking at the host. Loaded only when one of these flags is given.
Sources: docs.docker.com "Bind mounts", "Volumes", "tmpfs mounts"; podman-run(1) for `image`, `devpts`, `idmap`.
"""

from __future__ import annotations

import os

from atoll.base import errors, units
from atoll.base.value import Value
from atoll.engine.containers.record import MountPoint
from atoll.engine.containers.volumes import PROPAGATION, anonymous, inside, no_chown, volume_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.volumes.imported import Imported

TYPES = ("bind", "volume", "tmpfs", "image", "devpts")


class Storage(Value):
    """The flags as typed. `size` of `--storage-opt size=` in bytes; `secrets` as `--secret` has them; `imported` are
    volumes that lie ready for this very container."""

    mounts: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    volumes_from: tuple[str, ...] = ()
    volume_driver: str | None = None
    size: int | None = None
    secrets: tuple[str, ...] = ()
    imported: tuple[Imported, ...] = ()


class Wanted(Value):
    """A mount, and what the volume is to be like if it is made for it."""

    mount: MountPoint
    labels: tuple[tuple[str, str], ...] = ()
    options: tuple[tuple[str, str], ...] = ()


# --- comma-separated fields -----------------------------------------------------------------------------------------


def split_fields(line: str) -> list[str]:
    """One line of comma-separated fields, RFC 4180: a field in double quotes may hold commas, `""` is a quote. Raises
    InvalidArgument."""
    fields: list[str] = []
    at, length = 0, len(line)
    while True:
        if at < length and line[at] == '"':
            text, at = _quoted(line, at + 1)
            if at < length and line[at] != ",":
                raise errors.InvalidArgument(f"invalid argument '{line}': a character after the closing quote")
        else:
            end = line.find(",", at)
            end = length if end < 0 else end
            text = line[at:end]
            if '"' in text:
                raise errors.InvalidArgument(f"invalid argument '{line}': a quote inside of a field")
            at = end
        fields.append(text)
        if at >= length:
            return fields
        at += 1


def _quoted(line: str, at: int) -> tuple[str, int]:
    out = []
    while True:
        end = line.find('"', at)
        if end < 0:
            raise errors.InvalidArgument(f"invalid argument '{line}': a quote is not closed")
        out.append(line[at:end])
        if line[end + 1 : end + 2] != '"':
            return "".join(out), end + 1
        out.append('"')
        at = end + 2


def _truth(key: str, value: str, *, bare: bool) -> bool:
    known = {"true": True, "1": True, "false": False, "0": False}
    if bare:
        return True
    if value not in known:
        raise errors.InvalidArgument(f"invalid value for {key}: {value}", hint="true or false")
    return known[value]


# --- --mount --------------------------------------------------------------------------------------------------------

_ALIASES = {
    "src": "source",
    "dst": "target",
    "destination": "target",
    "ro": "readonly",
    "chown": "U",
    "rw": "readwrite",
    "subpath": "volume-subpath",
}
_SWITCHES = frozenset(
    ("readonly", "readwrite", "bind-nonrecursive", "volume-nocopy", "U", "idmap", "ridmap", "tmpcopyup",
     "notmpcopyup", "nosuid", "suid", "nodev", "dev", "noexec", "exec")
)  # fmt: skip
_BELONGS = {"bind": "bind-", "volume": "volume-", "tmpfs": "tmpfs-", "image": "image-"}
_PLAIN = frozenset(
    ("type", "source", "target", "readonly", "readwrite", "consistency", "relabel", "U", "idmap", "ridmap", "uid",
     "gid", "mode", "max", "tmpcopyup", "notmpcopyup", "nosuid", "suid", "nodev", "dev", "noexec", "exec")
)  # fmt: skip
_PREFIXED = frozenset(
    ("bind-propagation", "bind-nonrecursive", "bind-recursive", "volume-nocopy", "volume-subpath", "volume-label",
     "volume-driver", "volume-opt", "tmpfs-size", "tmpfs-mode", "image-subpath")
)  # fmt: skip
_RECURSIVE = ("enabled", "disabled", "writable", "readonly")


def parse_mount(spec: str, *, cwd: str, volumes: str) -> Wanted:
    """One `--mount`. Raises InvalidArgument in Docker's words, Unsupported for other volume drivers."""
    if "\0" in spec or "\n" in spec:
        raise errors.InvalidArgument("invalid argument for --mount: it holds a control character")
    given, labels, options = _fields(spec)
    kind = given.get("type", "volume").lower()
    if kind not in TYPES:
        raise errors.InvalidArgument(f"mount type unknown: {kind!r}", hint="known are " + ", ".join(TYPES))
    if "target" not in given:
        raise errors.InvalidArgument(f"invalid argument '{spec}' for --mount: target is required")
    for key in given:
        for other, prefix in _BELONGS.items():
            if key.startswith(prefix) and other != kind and not (key == "volume-subpath" and kind == "image"):
                raise errors.InvalidArgument(f"cannot mix '{prefix}*' options with mount type '{kind}'")
    driver = given.get("volume-driver", "local")
    if driver != "local":
        raise errors.Unsupported(f"volume driver {driver!r} is not there", hint="there is 'local'")
    if given.get("U") == "true":
        raise no_chown()
    target = inside(given["target"], spec)
    if given.get("readwrite") == "true" and given.get("readonly") == "true":
        raise errors.InvalidArgument(f"invalid argument '{spec}' for --mount: both readonly and rw")
    mount = _MAKERS[kind](spec, given, target, cwd, volumes)
    flags = tuple([name for name in ("nosuid", "suid", "nodev", "dev", "noexec", "exec") if given.get(name)])
    return Wanted(
        mount=mount.replace(options=(*mount.options, *flags)),
        labels=tuple(labels.items()),
        options=tuple(options.items()),
    )


def _fields(spec: str) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    given: dict[str, str] = {}
    labels: dict[str, str] = {}
    options: dict[str, str] = {}
    for field in split_fields(spec):
        key, equals, value = field.partition("=")
        key = (
            _ALIASES.get(key, key)
            if key in _ALIASES
            else _ALIASES.get(key.lower(), key.lower() if key != "U" else key)
        )
        if key in _SWITCHES and not (key in ("idmap", "ridmap") and equals):
            given[key] = "true" if _truth(key, value, bare=not equals) else "false"
            continue
        if not equals:
            if key in ("", *_PLAIN, *_PREFIXED):
                raise errors.InvalidArgument(f"invalid field '{field}' must be a key=value pair")
            raise errors.InvalidArgument(f"unexpected key '{key}' in '{field}'")
        if key in ("volume-label", "volume-opt"):
            name, _, rest = value.partition("=")
            (labels if key == "volume-label" else options)[name] = rest
            given[key] = "true"
        elif key in _PLAIN or key in _PREFIXED:
            given[key] = value
        else:
            raise errors.InvalidArgument(f"unexpected key '{key}' in '{field}'")
    return given, labels, options


def _read_only(given: dict[str, str]) -> bool:
    return given.get("readonly") == "true"


def _bind(spec: str, given: dict[str, str], target: str, cwd: str, volumes: str) -> MountPoint:
    source = given.get("source", "")
    if not source:
        raise errors.InvalidArgument('invalid mount config for type "bind": field Source must not be empty')
    propagation = given.get("bind-propagation", "rprivate")
    if propagation not in PROPAGATION:
        raise errors.InvalidArgument(
            f'invalid mount config for type "bind": invalid propagation: {propagation}',
            hint="known are " + ", ".join(sorted(PROPAGATION)),
        )
    recursive = given.get("bind-recursive", "enabled")
    if recursive in ("true", "false"):
        recursive = "enabled" if recursive == "true" else "disabled"
    if given.get("bind-nonrecursive") == "true":
        recursive = "disabled"
    if recursive not in _RECURSIVE:
        raise errors.InvalidArgument(
            f"invalid value for bind-recursive: {recursive} (must be {', '.join(_RECURSIVE)})"
        )
    if recursive in ("writable", "readonly") and not _read_only(given):
        raise errors.InvalidArgument(
            f"option 'bind-recursive={recursive}' requires 'readonly' to be specified in conjunction"
        )
    if recursive == "readonly" and propagation not in ("rprivate", "private"):
        raise errors.InvalidArgument("option 'bind-recursive=readonly' requires 'bind-propagation=rprivate'")
    return MountPoint(
        type="bind",
        source=os.path.normpath(os.path.join(cwd, source)),
        destination=target,
        read_only=_read_only(given),
        propagation=propagation,
        recursive=recursive,
        idmap=_idmap(given),
        relabel={"shared": "z", "private": "Z"}.get(given.get("relabel", ""), ""),
    )


def _idmap(given: dict[str, str]) -> str:
    for name in ("idmap", "ridmap"):
        if given.get(name) == "true":
            return name
        if given.get(name) not in (None, "false"):
            raise errors.Unsupported(
                f"{name}={given[name]}: a map of its own for one mount",
                hint=f"{name} alone takes the container's map",
            )
    return ""


def _volume(spec: str, given: dict[str, str], target: str, cwd: str, volumes: str) -> MountPoint:
    name = given.get("source", "")
    if name.startswith(("/", ".")):
        raise errors.InvalidArgument(
            f"invalid mount config for type \"volume\": invalid mount path: '{name}'",
            hint="type=bind mounts a directory of the host",
        )
    base = anonymous(target, volumes)
    if name:
        base = base.replace(name=name, source=volume_source(name, volumes), anonymous=False)
    return base.replace(
        read_only=_read_only(given),
        copy=given.get("volume-nocopy") != "true",
        subpath=check_subpath(given.get("volume-subpath", "")),
        idmap=_idmap(given),
    )


def check_subpath(path: str) -> str:
    """A path within a volume or image. Raises InvalidArgument for one that is absolute or leads out."""
    if path and (path.startswith("/") or ".." in path.split("/")):
        raise errors.InvalidArgument(f"subpath {path!r} must be a relative path within the volume")
    return os.path.normpath(path) if path and os.path.normpath(path) != "." else ""


def _tmpfs(spec: str, given: dict[str, str], target: str, cwd: str, volumes: str) -> MountPoint:
    if given.get("source"):
        raise errors.InvalidArgument('invalid mount config for type "tmpfs": field Source must not be specified')
    options = ["nosuid", "nodev", *(() if given.get("exec") == "true" else ("noexec",))]
    if "tmpfs-size" in given:
        options.append(f"size={units.parse_size(given['tmpfs-size'], 'value for tmpfs-size')}")
    mode = given.get("tmpfs-mode", given.get("mode"))
    options.append(f"mode={_octal(mode, 'tmpfs-mode') if mode is not None else '1777'}")
    options += [f"{key}={_number(given[key], key)}" for key in ("uid", "gid") if key in given]
    if given.get("tmpcopyup") == "true":
        options.append("tmpcopyup")
    return MountPoint(
        type="tmpfs", source="", destination=target, read_only=_read_only(given), options=tuple(options)
    )


def _devpts(spec: str, given: dict[str, str], target: str, cwd: str, volumes: str) -> MountPoint:
    if given.get("source"):
        raise errors.InvalidArgument('invalid mount config for type "devpts": field Source must not be specified')
    options = ["nosuid", "noexec", "newinstance", "ptmxmode=0666"]
    options.append(f"mode={_octal(given['mode'], 'mode') if 'mode' in given else '0620'}")
    options += [f"{key}={_number(given[key], key)}" for key in ("uid", "gid", "max") if key in given]
    return MountPoint(type="devpts", source="", destination=target, options=tuple(options))


def _image(spec: str, given: dict[str, str], target: str, cwd: str, volumes: str) -> MountPoint:
    source = given.get("source", "")
    if not source:
        raise errors.InvalidArgument('invalid mount config for type "image": field Source must not be empty')
    if given.get("readwrite") == "true":
        raise errors.Unsupported("a writable image mount", hint="leave out rw: images are mounted read-only")
    return MountPoint(
        type="image",
        source=source,
        destination=target,
        name=source,
        read_only=True,
        subpath=check_subpath(given.get("image-subpath", given.get("volume-subpath", ""))),
    )


_MAKERS = {"bind": _bind, "volume": _volume, "tmpfs": _tmpfs, "image": _image, "devpts": _devpts}


def _octal(text: str, key: str) -> str:
    if not text or len(text) > 5 or any(c not in "01234567" for c in text):
        raise errors.InvalidArgument(f"invalid value for {key}: {text}", hint="an octal number such as 1770")
    return text


def _number(text: str, key: str) -> str:
    if not text.isascii() or not text.isdecimal() or len(text) > 10 or int(text) > (1 << 32) - 2:
        raise errors.InvalidArgument(f"invalid value for {key}: {text}", hint="a whole number")
    return text


# --- --tmpfs --------------------------------------------------------------------------------------------------------

_TMPFS_FLAGS = frozenset(
    ("rw", "exec", "noexec", "suid", "nosuid", "dev", "nodev", "sync", "dirsync", "atime", "noatime", "relatime",
     "strictatime", "nodiratime", "diratime", "private", "rprivate", "shared", "rshared", "slave", "rslave",
     "unbindable", "runbindable", "tmpcopyup", "notmpcopyup", "defaults")
)  # fmt: skip


def parse_tmpfs(spec: str) -> MountPoint:
    """`--tmpfs PATH[:OPTIONS]`. Raises InvalidArgument in Docker's words."""
    if "\0" in spec or "\n" in spec:
        raise errors.InvalidArgument("invalid argument for --tmpfs: it holds a control character")
    path, _, text = spec.partition(":")
    options, read_only = ["noexec", "nosuid", "nodev"], False
    for word in text.split(",") if text else ():
        key, equals, value = word.partition("=")
        if word == "ro":
            read_only = True
        elif not equals and word in _TMPFS_FLAGS:
            if word not in ("notmpcopyup", "rw", "defaults"):
                options.append(word)
        elif key == "size":
            options.append(
                f"size={value if value.endswith('%') and value[:-1].isdecimal() else units.parse_size(value)}"
            )
        elif key == "mode":
            options.append(f"mode={_octal(value, 'mode')}")
        elif key in ("uid", "gid", "nr_inodes", "nr_blocks"):
            options.append(f"{key}={_number(value, key)}")
        elif key == "mpol" and value and all(c.isalnum() or c in ":,-=" for c in value):
            options.append(word)
        else:
            raise errors.InvalidArgument(f'invalid tmpfs option ["{word}"]', hint="e.g. size=64m,mode=1777,exec")
    if not any(option.startswith("mode=") for option in options):
        options.append("mode=1777")
    target = inside(path, spec)
    return MountPoint(type="tmpfs", source="", destination=target, read_only=read_only, options=tuple(options))


# --- --volumes-from -------------------------------------------------------------------------------------------------


def split_volumes_from(spec: str) -> tuple[str, bool]:
    """`CONTAINER[:ro|rw|z|Z]`: its name, and whether read-only. Raises InvalidArgument."""
    name, _, mode = spec.partition(":")
    words = set(mode.split(",")) if mode else set()
    if not name or not words <= {"ro", "rw", "z", "Z", "nocopy"} or {"ro", "rw"} <= words:
        raise errors.InvalidArgument(f"invalid mode for volumes-from: {mode}" if name else f"invalid: {spec!r}")
    return name, "ro" in words


def volumes_from(mounts: Sequence[MountPoint], *, read_only: bool) -> list[MountPoint]:
    """What another container's mounts are for this one: its binds and volumes, which stay that one's to remove."""
    return [
        mount.replace(read_only=mount.read_only or read_only, anonymous=False, copy=False)
        for mount in mounts
        if mount.type in ("bind", "volume")
    ]
