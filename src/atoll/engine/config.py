"""`atoll.toml`: the user's settings, every one with a safe default.

Holds: the settings, where they are read from, and errors for what is unknown. Does not hold: what they do.
Root reads `/etc/atoll/atoll.toml` only (a `sudo` that keeps HOME must not take orders from a user's file); an
ordinary user's `~/.config/atoll/atoll.toml` goes over it. `ATOLL_CONFIG` names one file instead of both, or several
with colons between them.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any


class Config(Value):
    """The settings. Sizes in bytes, times in seconds.

    `registries` are `images.values.RegistrySettings`, one a table `[registries."prefix"]`; `registries_conf` is a
    registries.conf of Podman's that is read besides; `trust_policy` is a policy.json that counts instead of the usual
    ones, `trust_registries_d` a folder that says where GPG signatures lie.

    `isolation_rules` are `engine.isolation_rules.Rule`, those of the system's file before the user's: nobody's file
    takes away another's.

    `pids_limit` 2048 stops a fork bomb long before the host's own limit and is what Podman's users know.
    """

    isolation: str = "container"
    isolation_rules: tuple[Any, ...] = ()
    security: str = "atoll"
    network: str = "bridge"
    uplink: str = "auto"
    cni_config: tuple[str, ...] = ("/etc/cni/net.d",)
    cni_plugins: tuple[str, ...] = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
    cni_timeout: int = 120
    pids_limit: int = 2048
    shm_size: int = 64 << 20
    stop_timeout: int = 10
    log_driver: str = "json-file"
    log_max_size: int = 10 << 20
    log_max_files: int = 3
    cgroup_parent: str = "/atoll"
    insecure_registries: tuple[str, ...] = ()
    registries: tuple[Any, ...] = ()
    offline: bool = False
    registries_conf: str | None = None
    trust_policy: str | None = None
    trust_registries_d: str | None = None
    detach_keys: str = "ctrl-p,ctrl-q"
    secrets_key: str = ""
    userns: str = "host"
    storage_driver: str = "auto"
    storage_keep: int = 0
    vm_driver: str = "auto"
    vm_accel: str = "auto"
    vm_memory: int = 256 << 20
    vm_kernel: str = "default"
    source: tuple[str, ...] = ()


def _text(value: Any) -> str:
    if not isinstance(value, str) or "\0" in value or "\n" in value:
        raise ValueError("a text")
    return value


def _choice(*choices: str) -> Any:
    def read(value: Any) -> str:
        if value not in choices:
            raise ValueError("one of " + ", ".join(choices))
        return str(value)

    return read


def _count(value: Any) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not -1 <= value < 1 << 31:
        raise ValueError("a whole number")
    return value


def _positive(value: Any) -> int:
    if _count(value) < 1:
        raise ValueError("a number of 1 or more")
    return int(value)


def _size(value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    from atoll.base import units

    try:
        return units.parse_size(_text(value))
    except errors.InvalidArgument:
        raise ValueError("a size such as 64m") from None


def _texts(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError("a list of texts")
    return tuple(_text(one) for one in value)


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def _path(value: Any) -> str:
    path = _text(value)
    if not path.startswith("/"):
        raise ValueError("an absolute path")
    return path


def _paths(value: Any) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise ValueError("a list of absolute paths")
    return tuple(_path(one) for one in value)


def _secrets_key(value: Any) -> str:
    source = _text(value)
    kind, _, place = source.partition(":")
    if source != "prompt" and (kind not in ("file", "keyring") or not place or (kind == "file" and place[0] != "/")):
        raise ValueError("file:/PATH, keyring:NAME or prompt")
    return source


def _cgroup(value: Any) -> str:
    path = _text(value)
    if not path.startswith("/") or ".." in path.split("/"):
        raise ValueError("an absolute cgroup path")
    return "/" + path.strip("/")


def _rules(value: Any) -> tuple[Any, ...]:
    from atoll.engine import isolation_rules

    return isolation_rules.parse(value)


# table -> key -> (field, reader); the empty table is the top of the file.
KEYS: dict[str, dict[str, tuple[str, Any]]] = {
    "": {"isolation": ("isolation", _text)},
    "isolation": {"default": ("isolation", _text), "rules": ("isolation_rules", _rules)},
    "defaults": {
        "security": ("security", _choice("atoll", "docker")),
        "network": ("network", _choice("none", "host", "bridge")),
        "pids_limit": ("pids_limit", _count),
        "shm_size": ("shm_size", _size),
        "stop_timeout": ("stop_timeout", _count),
        "detach_keys": ("detach_keys", _text),
        "userns": ("userns", _choice("host", "auto")),
    },
    "log": {
        "driver": ("log_driver", _choice("json-file", "k8s-file", "journald", "none")),
        "max_size": ("log_max_size", _size),
        "max_files": ("log_max_files", _positive),
    },
    "secrets": {"key": ("secrets_key", _secrets_key)},
    "network": {
        "default": ("network", _choice("none", "host", "bridge")),
        "uplink": ("uplink", _choice("auto", "pasta", "slirp4netns", "forwarder")),
        "cni_config": ("cni_config", _paths),
        "cni_plugins": ("cni_plugins", _paths),
        "cni_timeout": ("cni_timeout", _positive),
    },
    "storage": {
        "driver": ("storage_driver", _choice("auto", "overlay", "fuse-overlayfs", "copy")),
        "keep": ("storage_keep", _size),
    },
    "cgroup": {"parent": ("cgroup_parent", _cgroup)},
    "vm": {
        "driver": ("vm_driver", _choice("auto", "qemu", "uml", "firecracker", "cloud-hypervisor")),
        "accel": ("vm_accel", _choice("auto", "kvm", "tcg")),
        "memory": ("vm_memory", _size),
        "kernel": ("vm_kernel", _text),
    },
    "registries": {
        "insecure": ("insecure_registries", _texts),
        "offline": ("offline", _flag),
        "conf": ("registries_conf", _path),
    },
    "trust": {"policy": ("trust_policy", _path), "registries_d": ("trust_registries_d", _path)},
}


def files(environ: Mapping[str, str], uid: int) -> tuple[str, ...]:
    """The files that are read if they are there, the later ones over the earlier."""
    named = environ.get("ATOLL_CONFIG")
    if named:
        return tuple(named.split(":"))
    if uid == 0:
        return ("/etc/atoll/atoll.toml",)
    home = environ.get("XDG_CONFIG_HOME") or environ.get("HOME", "") + "/.config"
    return ("/etc/atoll/atoll.toml", home + "/atoll/atoll.toml")


def load(environ: Mapping[str, str], uid: int) -> Config:
    """Read the settings. A file named by `ATOLL_CONFIG` must be there. Raises InvalidArgument and NotFound."""
    config = Config()
    for path in files(environ, uid):
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            if environ.get("ATOLL_CONFIG"):
                raise errors.NotFound(f"the settings file {path} does not exist", hint="see ATOLL_CONFIG") from None
            continue
        except OSError as error:
            raise errors.from_os_error(error, "read the settings") from error
        with open(fd, "rb") as file:
            content = file.read()
        config = parse(content, path, config)
    return config


def parse(content: bytes, path: str, base: Config) -> Config:
    """One file's settings over `base`. Raises InvalidArgument naming the file and the key."""
    try:
        lines = content.decode("utf-8")
        document = _plain(lines)
        if document is None:
            import tomllib

            document = tomllib.loads(lines)
    except ValueError as error:  # of TOML, or of UTF-8
        raise errors.InvalidArgument(f"{path}: {error}") from None
    if not document:
        return base
    changes: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            known = KEYS.get(key)
            if known is None or not key:
                raise _unknown(path, key, [k for k in KEYS if k] + list(KEYS[""]))
            for inner, inner_value in value.items():
                if key == "registries" and isinstance(inner_value, dict):
                    _registry(path, inner, inner_value, changes, base)
                else:
                    _read(path, key, inner, inner_value, changes)
        else:
            _read(path, "", key, value, changes)
    if "isolation_rules" in changes:
        changes["isolation_rules"] = (*base.isolation_rules, *changes["isolation_rules"])
    return base.replace(**changes, source=(*base.source, path))


def _plain(content: str) -> dict[str, Any] | None:
    """A file of tables with texts, whole numbers and flags, each once and on a line of its own: not worth the 20 ms
    that `tomllib` takes to load. None for anything else."""
    document: dict[str, Any] = {}
    table = document
    for line in content.splitlines():
        words = line.strip()
        if not words or words.startswith("#"):
            continue
        if words.startswith("["):
            name = words[1:-1]
            if not words.endswith("]") or not _is_bare(name) or name in document:
                return None
            table = document[name] = {}
            continue
        key, equals, value = [part.strip() for part in words.partition("=")]
        known = _plain_value(value)
        if not equals or not _is_bare(key) or key in table or known is None:
            return None
        table[key] = known
    return document


def _is_bare(key: str) -> bool:
    return key.isascii() and key.replace("_", "").isalnum()


def _plain_value(text: str) -> str | int | bool | None:
    if len(text) > 1 and text[0] == text[-1] == '"' and text[1:-1].isprintable() and not set(text[1:-1]) & set('"\\'):
        return text[1:-1]
    if text in ("true", "false"):
        return text == "true"
    if text.isascii() and text.isdecimal() and (text == "0" or text[0] != "0"):
        return int(text)
    return None


def _read(path: str, table: str, key: str, value: Any, changes: dict[str, Any]) -> None:
    entry = KEYS[table].get(key)
    shown = f"{table}.{key}" if table else key
    if entry is None:
        everything = [f"{t}.{k}" if t else k for t, keys in KEYS.items() for k in keys]
        raise _unknown(path, shown, everything)
    field, reader = entry
    try:
        changes[field] = reader(value)
    except ValueError as error:
        raise errors.InvalidArgument(f"{path}: {shown}: expected {error}, got {value!r}") from None


def _registry(path: str, prefix: str, table: dict[str, Any], changes: dict[str, Any], base: Config) -> None:
    """A table of its own for a registry; over one of the same name in an earlier file."""
    from atoll.images.settings import parse_table

    try:
        parsed = parse_table(prefix, table)
    except ValueError as error:
        raise errors.InvalidArgument(f'{path}: registries."{prefix}": expected {error}') from None
    known = changes.get("registries", base.registries)
    changes["registries"] = (*[one for one in known if one.prefix != parsed.prefix], parsed)


def _unknown(path: str, key: str, known: list[str]) -> errors.InvalidArgument:
    from atoll.base import suggest

    guess = suggest.nearest(key, known)
    hint = f"did you mean '{guess}'?" if guess else "known are " + ", ".join(sorted(known))
    return errors.InvalidArgument(f"{path}: unknown setting '{key}'", hint=hint)
