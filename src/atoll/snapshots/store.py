"""The store of unpacked layers and writable directories, and the overlay that a container's root is made of.

Holds: where things lie, crash-safe commit, plans, removal, usage. Does not hold: unpacking (`apply.py`, in the
process of `worker.py`), mounting. This module is on the path of `atoll run`: it stays lean.

    <root>/layers/<chain id, hex>.<id map key>/fs      a layer; the directory's being there says it is whole
                                             /layer.json   {"diff_id", "entries", "bytes", …}
                                             /opaque       there if the layer hides all below it
    <root>/writable/<key>/{upper,work}                 of one container; `fuse` beside them: not by the kernel
    <root>/tmp/<name>/ + <name>.lock                   unpacking in progress; the lock's holder is alive
    <root>/trash/                                      on its way out; `sweep` empties it
    <root>/locks/<chain id>.<key>                      one process unpacks a layer, the others wait
    <root>/disks/<key>.img                             of writable directories with a bound (`quota.py`)
    <root>/driver                                      what "auto" has come to (`driver.py`)
    <root>/empty                                       the lower directory of an image without layers

A layer is made under `tmp` and renamed into `layers`: there is no state in which half of one is visible. The whole
tree is 0711 at most and its parts are only for the owner, because layers hold set-uid programs of strangers.
"""

from __future__ import annotations

import errno
import os

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.spec import idmap as idmaps
from atoll.spec.rootfs import Bind, FuseOverlay, Overlay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.spec.idmap import RootlessMap


class Writable(Value):
    """The writable part of one container."""

    path: str
    upper: str
    work: str


class Usage(Value):
    """What something takes on disk: bytes as allocated, and how many inodes."""

    bytes: int
    inodes: int


class Staging(Value):
    """A layer being made: the directory that `commit_layer` renames. `lock_fd` is held by its maker."""

    path: str
    fs: str
    lock_fd: int


class Snapshots:
    """Layers and writable directories under one root, for one id map.

    `idmap` None is root without a user namespace; otherwise files belong to the ids of the map, and overlays are
    mounted with `userxattr`. `wanted` is the storage driver asked for. Nothing is cached: many processes use the same
    root.
    """

    def __init__(self, root: str, idmap: RootlessMap | None = None, wanted: str = "overlay") -> None:
        self.root = root
        self.wanted = wanted
        self.idmap = idmap
        self.key = idmaps.key_of(idmap)

    # --- layers -------------------------------------------------------------------------------------------------

    def layer_path(self, chain_id: str) -> str:
        """Where a layer's own directory is or would be."""
        return f"{self.root}/layers/{_hex(chain_id)}.{self.key}"

    def layer_dir(self, chain_id: str) -> str:
        """The file tree of a layer, an overlay's lower directory."""
        return self.layer_path(chain_id) + "/fs"

    def has(self, chain_id: str) -> bool:
        """Whether the layer is there, whole."""
        return os.path.isdir(self.layer_path(chain_id))

    def missing(self, chain_ids: Sequence[str]) -> list[str]:
        """Those of a chain that are not unpacked, bottom first."""
        return [chain_id for chain_id in chain_ids if not self.has(chain_id)]

    def layer_lock(self, chain_id: str) -> files.FileLock:
        """The lock under which one process unpacks a layer: take it, then ask `has` again."""
        self._make("locks")
        return files.FileLock(f"{self.root}/locks/{_hex(chain_id)}.{self.key}")

    def prepare_layer(self, chain_id: str) -> Staging:
        """A fresh empty place to unpack a layer into. End it with `commit_layer` or `discard_layer`."""
        import fcntl

        self._make("tmp")
        name = f"{_hex(chain_id)[:16]}.{os.getpid()}.{os.urandom(4).hex()}"
        path = f"{self.root}/tmp/{name}"
        # The lock comes first and goes last: `sweep` removes what has no living holder.
        lock_fd = os.open(path + ".lock", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        fcntl.flock(lock_fd, fcntl.LOCK_EX)
        os.mkdir(path, 0o711)
        os.mkdir(path + "/fs", 0o755)
        return Staging(path=path, fs=path + "/fs", lock_fd=lock_fd)

    def commit_layer(
        self,
        staging: Staging,
        chain_id: str,
        *,
        diff_id: str,
        entries: int,
        size: int,
        opaque: bool = False,
        sync: bool = True,
    ) -> None:
        """Make a staged layer visible under its chainID. Committing one that is there already is fine.

        With `sync`, the whole file system is flushed before the rename, so that after a loss of power a layer that
        is visible is whole too (one syncfs(2) for all files instead of an fsync for each). Raises OSError.
        """
        from atoll.base import jsontext

        facts = {"diff_id": diff_id, "chain_id": chain_id, "entries": entries, "bytes": size, "opaque": opaque}
        files.write_atomic(staging.path + "/layer.json", jsontext.dumps(facts))
        if opaque:
            files.write_atomic(staging.path + "/opaque", b"")
        self._make("layers")
        if sync:
            from atoll.linux import sync as linux_sync

            linux_sync.syncfs_path(staging.path)
        try:
            os.rename(staging.path, self.layer_path(chain_id))
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            self.discard_layer(staging)  # another process was faster
            return
        if sync:
            files.sync_directory(f"{self.root}/layers")
        _unlock(staging)

    def flush(self) -> None:
        """Flush the file system of this store to disk: before commits with `sync=False`."""
        from atoll.linux import sync as linux_sync

        linux_sync.syncfs_path(self.root)

    def discard_layer(self, staging: Staging) -> None:
        """Give up a staged layer: nothing of it stays. Idempotent."""
        self._remove(staging.path)
        _unlock(staging)

    def layer_usage(self, chain_id: str) -> Usage:
        """What a layer takes. From its record, so it costs one read. Raises NotFound."""
        from atoll.base import jsontext

        try:
            facts = jsontext.loads(files.read_bytes(self.layer_path(chain_id) + "/layer.json"))
            return Usage(bytes=int(facts["bytes"]), inodes=int(facts["entries"]))
        except FileNotFoundError:
            raise errors.NotFound(f"layer {chain_id} is not unpacked") from None
        except (ValueError, KeyError, TypeError) as error:
            raise errors.Corrupt(f"the record of layer {chain_id} is damaged: {error}") from None

    def layers(self) -> list[str]:
        """The chainIDs that are unpacked for this id map, in no order."""
        try:
            names = os.listdir(f"{self.root}/layers")
        except FileNotFoundError:
            return []
        suffix = "." + self.key
        return ["sha256:" + n.removesuffix(suffix) for n in names if n.endswith(suffix) and n[64:65] == "."]

    def note_use(self, chain_id: str) -> None:
        """Note that a container is made from the layer: the time of its directory is that of its last use."""
        try:
            os.utime(self.layer_path(chain_id))
        except OSError:  # gone, or a disk that takes nothing more: only the order of eviction depends on it
            return

    def last_use(self, chain_id: str) -> int | None:
        """When the layer was unpacked or last used, in nanoseconds; None for one that is not here."""
        try:
            return os.stat(self.layer_path(chain_id)).st_mtime_ns
        except FileNotFoundError:
            return None

    def elsewhere(self) -> list[tuple[str, str]]:
        """The layers that are unpacked for other id maps: chainID and what `remove_elsewhere` takes, in no order."""
        names = [name for name in _listdir(f"{self.root}/layers") if name[64:65] == "."]
        return [("sha256:" + name[:64], name) for name in names if not name.endswith("." + self.key)]

    def remove_elsewhere(self, name: str) -> None:
        """Remove one of `elsewhere`; absent is fine. The caller knows that nothing uses it."""
        self._to_trash(f"{self.root}/layers/{_safe(name)}")

    def remove_layer(self, chain_id: str) -> None:
        """Remove a layer; absent is fine. The caller knows that no container and no image uses it."""
        self._to_trash(self.layer_path(chain_id))

    # --- writable directories -----------------------------------------------------------------------------------

    def create_writable(self, key: str, *, size: int = 0, inodes: int = 0, fuse: bool = False) -> Writable:
        """The writable directories of a container, bounded to `size` bytes and `inodes` files (0: not bounded);
        `fuse`: for fuse-overlayfs. Raises Conflict when they exist, and what `quota.bound` does."""
        path = f"{self.root}/writable/{_safe(key)}"
        try:
            os.mkdir(path, 0o711)
        except FileNotFoundError:
            self._make("writable")
            os.mkdir(path, 0o711)
        except FileExistsError:
            raise errors.Conflict(f"the writable layer {key} exists already") from None
        if size or inodes:
            from atoll.snapshots import quota

            quota.bound(self.root, key, path, size, inodes)
        os.mkdir(path + "/upper", 0o755)
        os.mkdir(path + "/work", 0o700)
        if fuse:
            files.write_atomic(path + "/fuse", b"")
        return Writable(path=path, upper=path + "/upper", work=path + "/work")

    def writable(self, key: str) -> Writable:
        """The writable directories that `create_writable` made, whether they are there or not."""
        path = f"{self.root}/writable/{_safe(key)}"
        return Writable(path=path, upper=path + "/upper", work=path + "/work")

    def is_away(self, key: str) -> bool:
        """Whether the writable directories lie on a file system of their own that is not mounted."""
        return os.path.exists(f"{self.root}/disks/{_safe(key)}.img") and not os.path.isdir(self.writable(key).upper)

    def ensure_writable(self, key: str) -> None:
        """Have the writable directories there again that lie on a file system of their own: after a reboot."""
        if os.path.exists(f"{self.root}/disks/{_safe(key)}.img"):
            from atoll.snapshots import quota

            quota.ensure(self.root, key, f"{self.root}/writable/{key}")

    def remove_writable(self, key: str) -> None:
        """Remove the writable directories of a container; absent is fine."""
        if os.path.isdir(f"{self.root}/disks"):
            from atoll.snapshots import quota

            quota.release(self.root, key, f"{self.root}/writable/{_safe(key)}")
        self._to_trash(f"{self.root}/writable/{_safe(key)}")

    def usage(self, key: str) -> Usage:
        """What a container wrote, counted file by file. Raises OSError."""
        return tree_usage(self.writable(key).upper)

    # --- plans --------------------------------------------------------------------------------------------------

    def plan(self, chain_ids: Sequence[str], writable: Writable | None = None, *, volatile: bool = False) -> Overlay:
        """The overlay of an image's layers (`chain_ids` bottom first), with the container's writable directories
        or read-only. Raises NotFound when a layer is not unpacked."""
        lower: list[str] = []
        for chain_id in reversed(chain_ids):
            path = self.layer_path(chain_id)
            if not os.path.isdir(path):
                raise errors.NotFound(f"layer {chain_id} is not unpacked here", hint="pull the image again")
            lower.append(path + "/fs")
            if os.path.exists(path + "/opaque"):
                break  # the kernel ignores an opaque mark on a root, so what lies below is left out here
        if not lower:
            lower.append(self._empty())
        return Overlay(
            lower=tuple(lower),
            upper=writable.upper if writable else None,
            work=writable.work if writable else None,
            userxattr=self.idmap is not None,
            volatile=volatile and writable is not None,
        )

    def driver(self, *, record: bool = False) -> str:
        """How new containers get their roots: "overlay", "fuse-overlayfs" or "copy". `record`: what "auto" comes to
        is to stay. Raises OSError where nothing can be made."""
        if self.wanted != "auto":
            return self.wanted
        try:
            return os.readlink(f"{self.root}/driver")
        except FileNotFoundError:
            from atoll.snapshots import driver

            return driver.chosen(self.root, rootless=self.idmap is not None, record=record)

    def is_copy(self, key: str) -> bool:
        """Whether a container's writable layer is a full copy; it stays one whatever driver is chosen later."""
        return os.path.exists(self.writable(key).path + "/copied")

    def way_of(self, key: str) -> str:
        """The driver that a container was made with, which it keeps whatever is chosen later."""
        path = self.writable(key).path
        if os.path.exists(path + "/copied"):
            return "copy"
        return "fuse-overlayfs" if os.path.exists(path + "/fuse") else "overlay"

    def root_of(
        self, chain_ids: Sequence[str], writable: Writable, driver: str, *, volatile: bool = False
    ) -> Overlay | FuseOverlay | Bind:
        """The root of a new container by that driver: the overlay by the kernel or a process, or its copy, to be
        filled by `copying.fill`. Raises NotFound when a layer is not unpacked."""
        overlay = self.plan(chain_ids, writable, volatile=volatile)
        if driver == "overlay":
            return overlay
        if driver == "fuse-overlayfs":
            return FuseOverlay(lower=overlay.lower, upper=overlay.upper, work=overlay.work, volatile=overlay.volatile)
        return Bind(source=writable.upper, target="/", recursive=False)

    # --- upkeep -------------------------------------------------------------------------------------------------

    def sweep(self) -> None:
        """Remove what dead processes left under `tmp`, and all of `trash`. Cheap when there is nothing."""
        for staging in self._take_abandoned():
            self.discard_layer(staging)
        for name in _listdir(f"{self.root}/trash"):
            self._remove(f"{self.root}/trash/{name}")

    def abandoned(self) -> list[str]:
        """What `sweep` would remove of `tmp`: layers half unpacked by dead processes."""
        found = self._take_abandoned()
        for staging in found:
            os.close(staging.lock_fd)
        return [staging.path for staging in found]

    def _take_abandoned(self) -> list[Staging]:
        """The staged layers whose makers are dead, each with its lock, now ours."""
        import fcntl

        found = []
        for name in _listdir(f"{self.root}/tmp"):
            if not name.endswith(".lock"):
                continue
            path = f"{self.root}/tmp/{name}"
            try:
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                os.close(fd)
                continue
            found.append(Staging(path=path.removesuffix(".lock"), fs="", lock_fd=fd))
        return found

    def _to_trash(self, path: str) -> None:
        """Out of sight first, in one step; then removed. A kill in between leaves only trash."""
        target = f"{self.root}/trash/{os.path.basename(path)}.{os.urandom(4).hex()}"
        try:
            try:
                os.rename(path, target)
            except FileNotFoundError:
                if not os.path.lexists(path):
                    self._finish(os.path.basename(path))
                    return
                self._make("trash")
                os.rename(path, target)
        except FileNotFoundError:
            return  # another process was faster
        self._remove(target)

    def _finish(self, name: str) -> None:
        """Remove what somebody who was killed had taken out of sight."""
        for left in _listdir(f"{self.root}/trash"):
            if left.startswith(f"{name}."):
                self._remove(f"{self.root}/trash/{left}")

    def _remove(self, path: str) -> None:
        remove_tree(path, self.idmap)

    def _make(self, name: str) -> None:
        """One of the store's own directories. Search permission for others is what lets a mapped root reach its
        layers; names are unguessable or listed to nobody."""
        try:
            os.mkdir(f"{self.root}/{name}", 0o711)
        except FileExistsError:
            pass
        except FileNotFoundError:
            os.makedirs(self.root, 0o711, exist_ok=True)
            self._make(name)

    def _empty(self) -> str:
        self._make("empty")
        return f"{self.root}/empty"


def remove_tree(path: str, idmap: RootlessMap | None) -> None:
    """Remove a tree; one with files of other ids of the map is removed inside that map. Absent is fine. Raises
    OSError, and what the worker does (AtollError)."""
    try:
        files.remove_tree(path)
    except PermissionError:
        if idmap is None or idmap.single:
            raise
        from atoll.snapshots import worker

        worker.remove_trees([path], idmap)


def tree_usage(path: str) -> Usage:
    """Allocated bytes and inodes below a directory, hard links counted once. Raises OSError."""
    seen: set[tuple[int, int]] = set()
    total = 0
    pending = [path]
    while pending:
        with os.scandir(pending.pop()) as entries:
            for entry in entries:
                info = entry.stat(follow_symlinks=False)
                if (info.st_dev, info.st_ino) in seen:
                    continue
                seen.add((info.st_dev, info.st_ino))
                total += info.st_blocks * 512
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
    return Usage(bytes=total, inodes=len(seen))


def _hex(chain_id: str) -> str:
    from atoll.spec import digest

    return digest.encoded(digest.check(chain_id, "chain id"))


def _safe(key: str) -> str:
    """A name that is one path component and nothing special."""
    if not key or "/" in key or "\0" in key or key.startswith("."):
        raise errors.InvalidArgument(f"{key!r} cannot name a writable layer")
    return key


def _listdir(path: str) -> list[str]:
    try:
        return os.listdir(path)
    except FileNotFoundError:
        return []


def _unlock(staging: Staging) -> None:
    files.unlink_if_present(staging.path + ".lock")
    try:
        os.close(staging.lock_fd)
    except OSError:
        pass
