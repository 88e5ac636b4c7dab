"""An image as one read-only erofs file: for machines that mount it, and for sharing.

Holds: `make`, `remove`, `listed`. Does not hold: unpacking (`snapshots`), the rows. Made once per image by
mkfs.erofs(1) of the merged tree, in the id map's namespace, so that owners are the image's; whiteouts are resolved.
The same layers give the same bytes: the UUID comes from the last chainID. Source:
Documentation/filesystems/erofs.rst, fsverity.rst.

    <snapshots root>/erofs/<chain id, hex>.<id map key>.img
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.snapshots.store import Snapshots


class ErofsImage(Value):
    """A made image: where it is, its bytes, and its fs-verity digest (sha256, hex) where the file system has it."""

    path: str
    size: int
    verity: str | None = None


def path_of(snapshots: Snapshots, chain_ids: Sequence[str]) -> str:
    """Where the image of these layers (bottom first) is or would be."""
    from atoll.spec import digest

    return f"{snapshots.root}/erofs/{digest.encoded(chain_ids[-1])}.{snapshots.key}.img"


def make(snapshots: Snapshots, chain_ids: Sequence[str]) -> ErofsImage:
    """The image of unpacked layers, made if it is not there. Two at once is fine: one makes it, the other waits.

    Raises NotFound when a layer is not unpacked, Unsupported without mkfs.erofs, Exhausted.
    """
    from atoll.snapshots.worker import Worker

    path = path_of(snapshots, chain_ids)
    if os.path.exists(path):
        return _look(path)
    plan = snapshots.plan(chain_ids)
    tool = _tool()
    place = f"{os.path.dirname(path)}/place"
    os.makedirs(place, 0o711, exist_ok=True)
    lock = files.FileLock(path + ".lock")
    lock.acquire()
    try:
        if os.path.exists(path):
            return _look(path)
        # Made by us, written by the tool in the map's namespace: it needs no right to the directory.
        with files.Pending(path) as pending:
            with Worker(snapshots.idmap) as worker:
                message = {"do": "erofs", "lower": plan.lower, "tool": tool, "uuid": _uuid(chain_ids[-1])}
                worker.ask({**message, "place": place, "rootless": snapshots.idmap is not None}, [pending.fd])
            pending.keep()
        files.sync_directory(os.path.dirname(path))
        _enable_verity(path)
        return _look(path)
    finally:
        lock.release()


def remove(snapshots: Snapshots, chain_id: str) -> None:
    """Remove the image whose last layer this is; absent is fine."""
    path = path_of(snapshots, [chain_id])
    for end in ("", ".tmp", ".lock", ".sha256"):
        files.unlink_if_present(path + end)


def listed(snapshots: Snapshots) -> list[str]:
    """The last chainIDs of the images that are there for this id map, half made or whole."""
    try:
        names = os.listdir(f"{snapshots.root}/erofs")
    except FileNotFoundError:
        return []
    end = f".{snapshots.key}.img"
    whole = {name.removesuffix(".tmp") for name in names}
    return sorted(["sha256:" + name.removesuffix(end) for name in whole if name.endswith(end)])


def _tool() -> str:
    import shutil

    found = shutil.which("mkfs.erofs", path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/bin:/sbin")
    if found is None:
        raise errors.Unsupported("mkfs.erofs is not here", hint="apt install erofs-utils")
    return found


def _uuid(chain_id: str) -> str:
    digits = chain_id.partition(":")[2][:32]
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _look(path: str) -> ErofsImage:
    from atoll.linux import verity

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return ErofsImage(path=path, size=os.fstat(fd).st_size, verity=verity.measure(fd))
    finally:
        os.close(fd)


def _enable_verity(path: str) -> None:
    """From here on the kernel checks every read, where it and the file system can."""
    from atoll.linux import verity

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        verity.enable(fd)
    finally:
        os.close(fd)
