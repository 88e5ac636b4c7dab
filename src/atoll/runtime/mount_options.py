"""Mount options by name: mount(8)'s and config.md's, as flags of mount_setattr(2).

Holds: the table and `parse`. Pure. Source: mount(8), config.md section "Linux mount options", fuse-free.
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False

_RDONLY, _NOSUID, _NODEV, _NOEXEC = 0x01, 0x02, 0x04, 0x08
_ATIME, _NOATIME, _STRICTATIME, _NODIRATIME, _NOSYMFOLLOW = 0x70, 0x10, 0x20, 0x80, 0x200000

# name: (set, clear)
_ATTRIBUTES = {
    "ro": (_RDONLY, 0),
    "rw": (0, _RDONLY),
    "nosuid": (_NOSUID, 0),
    "suid": (0, _NOSUID),
    "nodev": (_NODEV, 0),
    "dev": (0, _NODEV),
    "noexec": (_NOEXEC, 0),
    "exec": (0, _NOEXEC),
    "relatime": (0, _ATIME),
    "norelatime": (0, 0),
    "noatime": (_NOATIME, _ATIME),
    "atime": (0, _ATIME),
    "strictatime": (_STRICTATIME, _ATIME),
    "nostrictatime": (0, _ATIME),
    "nodiratime": (_NODIRATIME, 0),
    "diratime": (0, _NODIRATIME),
    "nosymfollow": (_NOSYMFOLLOW, 0),
    "symfollow": (0, _NOSYMFOLLOW),
}
_PRIVATE, _SLAVE, _SHARED, _UNBINDABLE = 1 << 18, 1 << 19, 1 << 20, 1 << 17
_PROPAGATION = {
    "private": (_PRIVATE, False),
    "rprivate": (_PRIVATE, True),
    "slave": (_SLAVE, False),
    "rslave": (_SLAVE, True),
    "shared": (_SHARED, False),
    "rshared": (_SHARED, True),
    "unbindable": (_UNBINDABLE, False),
    "runbindable": (_UNBINDABLE, True),
}
# Superblock flags, given to the file system as parameters of the same name.
_SUPERBLOCK = {"sync": "sync", "dirsync": "dirsync", "lazytime": "lazytime", "mand": "mand", "iversion": "iversion"}
_IGNORED = frozenset(("async", "defaults", "nofail", "auto", "noauto", "user", "nouser", "nolazytime", "nomand",
                      "noiversion", "remount", "loud", "silent", "_netdev"))  # fmt: skip


class MountOptions(Value):
    """What a list of options means. `set`, `clear` and their recursive twins are MOUNT_ATTR bits; `propagation` is
    an MS_ flag or 0; `data` goes to the file system."""

    bind: bool = False
    recursive: bool = False
    set: int = 0
    clear: int = 0
    set_recursive: int = 0
    clear_recursive: int = 0
    propagation: int = 0
    propagation_recursive: bool = False
    tmpcopyup: bool = False
    copyup: bool = False
    subpath: str | None = None
    idmap: str | None = None
    data: tuple[tuple[str, str | None], ...] = ()


def parse(options: tuple[str, ...]) -> MountOptions:
    """The meaning of options, later ones winning over earlier; what is no mount option goes to `data`. `copyup` and
    `subpath=` are our own, for bind mounts: see `rootfs.py`."""
    found: dict[str, int | bool | str | None] = {"bind": False, "recursive": False, "propagation": 0}
    bits = {"set": 0, "clear": 0, "set_recursive": 0, "clear_recursive": 0}
    data: list[tuple[str, str | None]] = []
    for option in options:
        name = option.removeprefix("r") if option.startswith("r") and option[1:] in _ATTRIBUTES else option
        if option in _ATTRIBUTES or name in _ATTRIBUTES:
            suffix = "" if option in _ATTRIBUTES else "_recursive"
            on, off = _ATTRIBUTES[option if not suffix else name]
            bits["set" + suffix] = bits["set" + suffix] & ~off | on
            bits["clear" + suffix] = bits["clear" + suffix] & ~on | off
        elif option in ("bind", "rbind"):
            found["bind"], found["recursive"] = True, option == "rbind"
        elif option in _PROPAGATION:
            found["propagation"], found["propagation_recursive"] = _PROPAGATION[option]
        elif option == "tmpcopyup":
            found["tmpcopyup"] = True
        elif option == "copyup":
            found["copyup"] = True
        elif option.startswith("subpath="):
            found["subpath"] = option.removeprefix("subpath=")
        elif option in ("idmap", "ridmap"):
            found["idmap"] = option
        elif option in _SUPERBLOCK:
            data.append((_SUPERBLOCK[option], None))
        elif option not in _IGNORED and not option.startswith("x-"):
            key, equals, value = option.partition("=")
            data.append((key, value if equals else None))
    return MountOptions(**found, **bits, data=tuple(data))  # type: ignore[arg-type]


def names() -> list[str]:
    """Every option that is understood here rather than passed on, for `features`."""
    found = {*_ATTRIBUTES, *[f"r{name}" for name in _ATTRIBUTES], *_PROPAGATION, *_SUPERBLOCK, *_IGNORED}
    return sorted((found | {"bind", "rbind", "tmpcopyup", "idmap", "ridmap"}) - {"_netdev"})
