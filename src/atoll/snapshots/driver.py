"""Which way containers get their writable roots: "overlay", the kernel's; "fuse-overlayfs", a process shows them; or
"copy", a full copy of the layers.

Holds: `chosen`, `recorded`, `has_overlay`, `need_fuse`. Does not hold: the ways (`store.py`, `copying.py`, the
runtime's `served.py`).

With "auto" the first container decides: overlay where a mount of one succeeds, else fuse-overlayfs where that is
installed and /dev/fuse is open to this user, else copies. That is recorded in
`<root>/driver`, a symbolic link that says it, and stays: what is not asked for does not change from run to run. What
is there already keeps its own way whatever is chosen later.
"""

from __future__ import annotations

import os

from atoll.base import errors

OVERLAY, FUSE, COPY = "overlay", "fuse-overlayfs", "copy"
_PLACES = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin")


def recorded(root: str) -> str | None:
    """What "auto" has come to under this root; None as long as there was no container."""
    try:
        return os.readlink(f"{root}/driver")
    except FileNotFoundError:
        return None


def chosen(root: str, *, rootless: bool, record: bool) -> str:
    """What "auto" is here, decided if it was not yet, and with `record` from then on. Raises OSError."""
    known = recorded(root)
    if known is not None:
        return known
    place = root if os.path.isdir(root) else os.path.dirname(root)
    decided = OVERLAY if has_overlay(place, rootless=rootless) else FUSE if why_no_fuse() is None else COPY
    if not record:
        return decided
    os.makedirs(root, 0o711, exist_ok=True)
    try:
        os.symlink(decided, f"{root}/driver")
    except FileExistsError:  # another process was faster
        return recorded(root) or decided
    return decided


def find_fuse_overlayfs() -> str | None:
    """Where it is installed; None where it is not. Only the system's own places are asked: it runs as root."""
    for folder in _PLACES:
        if os.access(f"{folder}/fuse-overlayfs", os.X_OK):
            return f"{folder}/fuse-overlayfs"
    return None


def why_no_fuse() -> errors.AtollError | None:
    """What is missing here for fuse-overlayfs, with what to do; None where it can be tried."""
    if find_fuse_overlayfs() is None:
        return errors.Unsupported(
            "the storage driver fuse-overlayfs is not installed",
            hint='apt install fuse-overlayfs, or [storage] driver = "copy"',
        )
    try:
        os.close(os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        hint = "load the module fuse; /dev/fuse is to be open to everybody (mode 0666, as udev makes it)"
        return errors.from_os_error(error, "use the storage driver fuse-overlayfs: open /dev/fuse", hint=hint)
    return None


def check(driver: str, *, other_map: bool) -> None:
    """Whether a container can be made without the kernel's overlay; `other_map`: its ids are mapped otherwise than
    the store's layers. Raises Unsupported, Denied."""
    if other_map:
        raise errors.Unsupported(
            f"the storage driver {driver} shows layers by one map of ids only, and this container asks for another",
            hint='use the storage driver "overlay", or leave out --userns',
        )
    problem = why_no_fuse() if driver == FUSE else None
    if problem is not None:
        raise problem


def has_overlay(root: str, *, rootless: bool) -> bool:
    """Whether this kernel mounts an overlay with its layers on the file system of `root`: tried by a child, in
    namespaces of its own. Raises OSError where no directory can be made."""
    import tempfile

    with tempfile.TemporaryDirectory(prefix=".try-", dir=root) as place:
        for name in ("lower", "upper", "work", "root"):
            os.mkdir(f"{place}/{name}")
        child = os.fork()
        if child == 0:
            code = 1
            try:
                _try(place, rootless=rootless)
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(child, 0)
        if os.path.isdir(f"{place}/work/work"):  # overlay leaves it with mode 000
            os.rmdir(f"{place}/work/work")
    return status == 0


def _try(place: str, *, rootless: bool) -> None:
    from atoll.linux import mount as m
    from atoll.linux import process as p
    from atoll.linux import userns
    from atoll.linux.overlay import attach_overlay

    if rootless:
        uid, gid = os.geteuid(), os.getegid()
        p.unshare(p.CLONE_NEWUSER)
        userns.write_maps(os.getpid(), ((0, uid, 1),), ((0, gid, 1),), deny_setgroups=True)
    p.unshare(p.CLONE_NEWNS)
    m.set_propagation("/", m.MS_REC | m.MS_PRIVATE)
    target = os.open(f"{place}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    attach_overlay((f"{place}/lower",), f"{place}/upper", f"{place}/work", target, userxattr=rootless)
