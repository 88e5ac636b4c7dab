"""The initial RAM disk of a kernel that has not everything built in, as distributions' have not: its modules, and a
program that loads them.

Holds: `needed` (what a configuration lacks), `build`. Does not hold: the program (`initrd_program.py`), where modules
are found (`kernel.py`). Sources: Documentation/driver-api/early-userspace/buffer-format.rst (the archive, "newc" of
cpio(5)), the section `.modinfo` of a module (include/linux/module.h: `depends=`), Documentation/kbuild/modules.rst.
The kernel unpacks it into its first root, where it takes as much of the guest's memory as it is long, until a module
has been loaded.
"""

from __future__ import annotations

import stat

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

WANTED = {
    "VIRTIO_MMIO": "virtio_mmio",
    "VIRTIO_BLK": "virtio_blk",
    "VIRTIO_CONSOLE": "virtio_console",
    "VIRTIO_NET": "virtio_net",
    "EROFS_FS": "erofs",
    "OVERLAY_FS": "overlay",
    "EXT4_FS": "ext4",
    "FUSE_FS": "fuse",
    "VIRTIO_FS": "virtiofs",
    "VIRTIO_BALLOON": "virtio_balloon",
    "HW_RANDOM_VIRTIO": "virtio_rng",
}
"""What a machine needs, as the kernel's configuration calls it, and the modules that it otherwise is."""
OPTIONAL = ("FUSE_FS", "VIRTIO_FS", "VIRTIO_BALLOON", "HW_RANDOM_VIRTIO")
"""Without these a machine comes up; volumes and `update` of its memory miss them."""
BUILT_IN = ("ACPI", "BLK_DEV_INITRD", "DEVTMPFS")
"""What no module brings. By ACPI such a kernel finds the machine's devices; ours reads its command line."""
MOST = 64
"""Modules at most; the above need fifteen."""
_MARK = b"\0depends="


def needed(config: str) -> tuple[str, ...]:
    """The modules that a kernel of this configuration (`/boot/config-*`) needs, without what they depend on. Raises
    Unsupported naming what it has in no form."""
    lines = frozenset(config.splitlines())
    missing = [name for name in BUILT_IN if f"CONFIG_{name}=y" not in lines]
    found = []
    for name, module in WANTED.items():
        if f"CONFIG_{name}=m" in lines:
            found.append(module)
        elif f"CONFIG_{name}=y" not in lines and name not in OPTIONAL:
            missing.append(name)
    if missing:
        raise errors.Unsupported(
            f"this kernel lacks what a machine boots from: {', '.join('CONFIG_' + name for name in missing)}",
            hint="another kernel: docs/vm.md",
        )
    return tuple(found)


def depends(module: bytes) -> tuple[str, ...]:
    """The modules that one names as what it depends on. Raises Corrupt."""
    at = module.find(_MARK)
    end = module.find(b"\0", at + len(_MARK))
    if at < 0 or end < 0:
        raise errors.Corrupt("a kernel module without a list of what it depends on")
    try:
        return tuple([normal(one) for one in module[at + len(_MARK) : end].decode().split(",") if one])
    except UnicodeDecodeError:
        raise errors.Corrupt("a kernel module with a damaged list of what it depends on") from None


def normal(name: str) -> str:
    """A module's name: the kernel takes - and _ for the same."""
    return name.replace("-", "_")


def build(machine: str, modules: tuple[str, ...], find: Callable[[str], bytes]) -> bytes:
    """The archive with these modules, what they depend on before them. `find` gives a module's content by its name,
    and raises NotFound. `machine`: as uname(2) calls it. Raises Unsupported, Corrupt, NotFound."""
    from atoll.vm.initrd_program import program

    contents: dict[str, bytes] = {}
    for name in modules:
        _add(name, find, contents, ())
    paths = tuple([f"/modules/{number:02}" for number in range(len(contents))])
    init = program(machine, paths)
    if init is None:
        raise errors.Unsupported(f"no program for the initial RAM disk of a {machine}")
    out = bytearray()
    for folder in ("dev", "root", "modules"):
        _entry(out, folder, stat.S_IFDIR | 0o755)
    _entry(out, "init", stat.S_IFREG | 0o755, init)
    for path, content in zip(paths, contents.values(), strict=True):
        _entry(out, path[1:], stat.S_IFREG | 0o600, content)
    _entry(out, "dev/console", stat.S_IFCHR | 0o600, device=(5, 1))
    _entry(out, "TRAILER!!!", 0)
    return bytes(out)


def _add(name: str, find: Callable[[str], bytes], known: dict[str, bytes], above: tuple[str, ...]) -> None:
    if name in known:
        return
    if name in above or len(above) + len(known) >= MOST:
        raise errors.Corrupt(f"the kernel module {name} depends on itself, or on too many")
    content = find(name)
    for one in depends(content):
        _add(one, find, known, (*above, name))
    known[name] = content


def _entry(out: bytearray, name: str, mode: int, content: bytes = b"", device: tuple[int, int] = (0, 0)) -> None:
    """One member: thirteen numbers of eight hexadecimal digits, name and content padded to four bytes."""
    path = name.encode() + b"\0"
    numbers = (len(out) + 1, mode, 0, 0, 1, 0, len(content), 0, 0, *device, len(path), 0)
    out += b"070701" + b"".join([b"%08X" % one for one in numbers]) + path
    out += bytes(-len(out) % 4)
    out += content
    out += bytes(-len(out) % 4)
