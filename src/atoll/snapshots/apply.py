"""Applying a layer: from an archive to a directory that an overlay can use as a lower layer.

Holds: what each entry does. Does not hold: the tree's directories and marks (`tree.py`), parsing (`tar.py`),
decompression and digests (`stream.py`), the process all this runs in (`worker.py`). Start reading at `apply`.
Source: image-spec, layer.md.

The archive is hostile. The rules that keep it inside its directory:

    - every parent directory is reached by openat2(RESOLVE_IN_ROOT) from the root's descriptor, every last component
      is acted on relative to its parent's descriptor and never followed
    - a file is made with O_EXCL, so nothing is ever written through a link or a hard link that was there before;
      what is in the way goes first (the last entry of a name wins)
    - overlayfs's own marks (0:0 devices, overlay attributes) come only from whiteouts, never from entries

Whiteouts become overlayfs's form: a 0:0 character device, or the opaque attribute on a directory. They speak of the
layers below only, wherever they stand in the archive. As in other engines an entry below a symbolic link of a lower
layer makes a directory: each layer is applied on its own, not on a view of all.
"""

from __future__ import annotations

import errno
import os
import stat
import time

from atoll.base import errors
from atoll.snapshots import tar
from atoll.snapshots.policy import ApplyPolicy, ApplyResult
from atoll.snapshots.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_MAX_DIRECTORIES = 1_000_000  # each is remembered until the end
_WHITEOUT = b".wh."
_OPAQUE = b".wh..wh..opq"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAX_NS = (1 << 62) - 1
_SMALL = 64 << 10  # bytes that are copied once rather than looked at in place


def apply(next_chunk: Callable[[], bytes], root_fd: int, policy: ApplyPolicy) -> ApplyResult:
    """Apply one archive (its plain bytes, in chunks, b"" at the end) to the empty directory `root_fd`.

    Reads the archive to its end. Changes this process's umask and, for rare attributes, its working directory:
    meant for a process of its own. Raises Corrupt for an archive that is malformed or tries to get out, Exhausted
    beyond a budget or when the disk is full, Denied for owners that the id map lacks.
    """
    umask = os.umask(0)
    applier = _Applier(root_fd, policy, tar.Stream(next_chunk))
    try:
        return applier.run()
    finally:
        applier.close()
        os.umask(umask)


class _Applier(Tree):
    def __init__(self, root_fd: int, policy: ApplyPolicy, stream: tar.Stream) -> None:
        super().__init__(root_fd, policy)
        self.stream = stream
        self.times: dict[bytes, tuple[int, int]] = {}
        self.entries = self.bytes = self.apparent = self.recorded = 0
        self.opaque = False

    def run(self) -> ApplyResult:
        """All entries, then what must come last."""
        # The directory was made below the store: what it inherited (setgid) must not spread.
        os.fchmod(self.root_fd, 0o755)
        kinds = {
            tar.REGULAR: self._regular,
            tar.DIRECTORY: self._directory,
            tar.SYMLINK: self._symlink,
            tar.HARDLINK: self._hardlink,
            tar.CHARACTER: self._node,
            tar.BLOCK_DEVICE: self._node,
            tar.FIFO: self._node,
        }
        started = time.process_time()
        layer = not self.policy.plain
        entry: tar.Entry | None = None
        name = b""
        try:
            for entry in tar.entries(self.stream):
                name = _normal(entry.name)
                self._budget(entry, started)
                parent, _, base = name.rpartition(b"/")
                if layer and _WHITEOUT in parent and self._below_whiteout(entry, parent):
                    continue
                if not base:
                    self._root(entry)
                elif layer and base[:4] == _WHITEOUT:
                    self._whiteout(entry, parent, base)
                else:
                    kinds[entry.kind](entry, name, parent, base)
            self.stream.drain()
            name = b"(directory times)"
            self._finish()
        except OSError as error:
            raise _translated(error, name, entry) from error
        return ApplyResult(
            entries=self.entries,
            bytes=self.bytes,
            opaque=self.opaque,
            stripped=self.stripped,
            recorded=self.recorded,
            implicit=tuple([os.fsdecode(path) for path in self.implicit]),
            marks=tuple([os.fsdecode(path) for path in self.marks]),
        )

    # --- budgets ------------------------------------------------------------------------------------------------

    def _budget(self, entry: tar.Entry, started: float) -> None:
        policy = self.policy
        self.entries += 1
        self.bytes += entry.size
        self.apparent += entry.real_size
        if self.entries > policy.max_entries:
            raise errors.Exhausted(f"the layer has more than {policy.max_entries} entries")
        if self.bytes > policy.max_bytes or self.apparent > policy.max_apparent:
            raise errors.Exhausted(f"the layer unpacks to more than {policy.max_bytes} bytes")
        if not self.entries & 1023 and time.process_time() - started > policy.max_seconds:
            raise errors.Exhausted(f"unpacking the layer took more than {policy.max_seconds:.0f} s of processor time")

    # --- kinds of entries ---------------------------------------------------------------------------------------

    def _regular(self, entry: tar.Entry, name: bytes, parent: bytes, base: bytes) -> None:
        parent_fd = self.parents.get(parent)
        if parent_fd is None:
            parent_fd = self._parent(parent)
        mode = entry.mode
        try:
            fd = os.open(base, _NEW_FILE, mode & 0o777, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(parent_fd, base)
            fd = os.open(base, _NEW_FILE, mode & 0o777, dir_fd=parent_fd)
        try:
            if entry.sparse is not None:
                self._write_sparse(fd, entry)
            elif entry.size > _SMALL:
                for piece in self.stream.pieces(entry.size):
                    written = os.write(fd, piece)
                    while written < len(piece):
                        written += os.write(fd, piece[written:])
            elif entry.size:
                content = self.stream.take(entry.size)
                if not content:
                    raise tar.broken("the archive breaks off within a file")
                written = os.write(fd, content)
                while written < len(content):
                    written += os.write(fd, content[written:])
            # The order matters: chown clears set-id bits and capabilities, any write or attribute the time.
            if self.chown:
                if entry.uid or entry.gid:
                    os.fchown(fd, entry.uid, entry.gid)
            elif entry.uid or entry.gid:
                self._record(fd, entry, "file")
            if mode > 0o777:
                os.fchmod(fd, mode)
            if entry.xattrs:
                self._set_xattrs(fd, entry)
            when = entry.mtime_ns
            if not -_MAX_NS < when < _MAX_NS:
                when = 0
            os.utime(fd, ns=(when, when))
        finally:
            os.close(fd)

    def _write_sparse(self, fd: int, entry: tar.Entry) -> None:
        for offset, length in entry.sparse or ():
            for piece in self.stream.pieces(length):
                view = piece
                while view:
                    written = os.pwrite(fd, view, offset)
                    offset += written
                    view = view[written:]
        os.ftruncate(fd, entry.real_size)

    def _directory(self, entry: tar.Entry, name: bytes, parent: bytes, base: bytes) -> None:
        parent_fd = self._parent(parent)
        try:
            os.mkdir(base, entry.mode & 0o777, dir_fd=parent_fd)
        except FileExistsError:
            info = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
            if not stat.S_ISDIR(info.st_mode):
                self._clear(parent_fd, base)
                os.mkdir(base, entry.mode & 0o777, dir_fd=parent_fd)
                # Something else of this name came before, in this layer: what lies below it is hidden.
                self._mark_opaque(name)
            fresh = False
        else:
            fresh = True
        self._directory_attributes(entry, name, base, parent_fd, fresh)

    def _directory_attributes(self, entry: tar.Entry, name: bytes, base: bytes, parent_fd: int, fresh: bool) -> None:
        self.implicit.pop(name, None)
        self.times[name] = (entry.mtime_ns, entry.mode & 0o7000)
        if len(self.times) > _MAX_DIRECTORIES:
            raise errors.Exhausted(f"the layer has more than {_MAX_DIRECTORIES} directories")
        owned = entry.uid or entry.gid or not fresh
        if fresh and not entry.xattrs and (self.chown or not owned):
            if owned:
                os.chown(base, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
            return
        fd = os.open(base, _DIRECTORY, dir_fd=parent_fd)
        try:
            self._attributes(fd, entry, owned=bool(owned))
        finally:
            os.close(fd)

    def _attributes(self, fd: int, entry: tar.Entry, *, owned: bool) -> None:
        """Owner, mode without the special bits (they come last), attributes of a directory."""
        if self.chown:
            if owned:
                os.fchown(fd, entry.uid, entry.gid)
        elif owned:
            self._record(fd, entry, "dir")
        os.fchmod(fd, entry.mode & 0o777)
        if entry.xattrs:
            self._set_xattrs(fd, entry)

    def _root(self, entry: tar.Entry) -> None:
        """An entry for `./` itself."""
        if entry.kind != tar.DIRECTORY:
            raise tar.broken(f"the root as something else than a directory: {entry.name!r}")
        self._attributes(self.root_fd, entry, owned=True)
        self.times[b""] = (entry.mtime_ns, entry.mode & 0o7000)

    def _symlink(self, entry: tar.Entry, name: bytes, parent: bytes, base: bytes) -> None:
        parent_fd = self._parent(parent)
        if not entry.link:
            raise tar.broken(f"the link {entry.name!r} has no target")
        try:
            os.symlink(entry.link, base, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(parent_fd, base)
            os.symlink(entry.link, base, dir_fd=parent_fd)
        self._unopened(entry, base, parent_fd)

    def _hardlink(self, entry: tar.Entry, name: bytes, parent: bytes, base: bytes) -> None:
        target = _normal(entry.link)
        if target == name:
            return
        target_parent, _, target_base = target.rpartition(b"/")
        if not target_base:
            raise tar.broken(f"{entry.name!r} is a hard link to the root")
        try:
            cached = self.parents.get(target_parent)
            source_fd = self._open(target_parent) if cached is None else os.dup(cached)
        except (FileNotFoundError, NotADirectoryError):
            raise tar.broken(f"{entry.name!r} is a hard link to {entry.link!r}, which is not in this layer") from None
        try:
            if self.whiteouts and self._whiteout_at(source_fd, target_base):
                raise tar.broken(f"{entry.name!r} is a hard link to {entry.link!r}, which this layer removes")
            self._link(entry, source_fd, target_base, self._parent(parent), base)
        finally:
            os.close(source_fd)

    def _link(self, entry: tar.Entry, source_fd: int, target: bytes, parent_fd: int, base: bytes) -> None:
        how = {"src_dir_fd": source_fd, "dst_dir_fd": parent_fd, "follow_symlinks": False}
        try:
            try:
                os.link(target, base, **how)  # type: ignore[arg-type]
            except FileExistsError:
                one = os.stat(target, dir_fd=source_fd, follow_symlinks=False)
                two = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
                if (one.st_dev, one.st_ino) == (two.st_dev, two.st_ino):
                    return
                self._clear(parent_fd, base)
                os.link(target, base, **how)  # type: ignore[arg-type]
        except FileNotFoundError:
            raise tar.broken(f"{entry.name!r} is a hard link to {entry.link!r}, which is not in this layer") from None
        except PermissionError:
            raise tar.broken(f"{entry.name!r} is a hard link to {entry.link!r}, which cannot be linked") from None

    def _node(self, entry: tar.Entry, name: bytes, parent: bytes, base: bytes) -> None:
        """Devices and FIFOs. A 0:0 character device is overlayfs's mark of removal: never from an entry."""
        if entry.kind == tar.CHARACTER and not entry.major and not entry.minor:
            self.stripped += 1
            return
        if entry.kind != tar.FIFO and self.policy.devices == "drop":
            self.stripped += 1
            return
        parent_fd = self._parent(parent)
        if entry.kind != tar.FIFO and self.policy.devices != "create":
            self._record_node(entry, parent_fd, base)
            return
        kinds = {tar.FIFO: stat.S_IFIFO, tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK}
        device = os.makedev(entry.major & 0xFFFFFFFF, entry.minor & 0xFFFFFFFF) if entry.kind != tar.FIFO else 0
        mode = kinds[entry.kind] | entry.mode & 0o777
        try:
            os.mknod(base, mode, device, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(parent_fd, base)
            os.mknod(base, mode, device, dir_fd=parent_fd)
        self._unopened(entry, base, parent_fd)

    def _record_node(self, entry: tar.Entry, parent_fd: int, base: bytes) -> None:
        """An empty file in place of a device, what it should be in an attribute."""
        try:
            fd = os.open(base, _NEW_FILE, 0o600, dir_fd=parent_fd)
        except FileExistsError:
            self._clear(parent_fd, base)
            fd = os.open(base, _NEW_FILE, 0o600, dir_fd=parent_fd)
        try:
            kind = "char" if entry.kind == tar.CHARACTER else "block"
            self._record(fd, entry, f"{kind}-{entry.major}-{entry.minor}")
            os.utime(fd, ns=(_clamped(entry.mtime_ns),) * 2)
        finally:
            os.close(fd)
        self.recorded += 1

    def _unopened(self, entry: tar.Entry, base: bytes, parent_fd: int) -> None:
        """Owner, attributes and time of what cannot be opened."""
        if self.chown and (entry.uid or entry.gid):
            os.chown(base, entry.uid, entry.gid, dir_fd=parent_fd, follow_symlinks=False)
        if entry.xattrs:
            os.fchdir(parent_fd)  # there is no lsetxattr relative to a descriptor before Linux 6.13
            self._set_xattrs(base, entry)
        when = _clamped(entry.mtime_ns)
        os.utime(base, ns=(when, when), dir_fd=parent_fd, follow_symlinks=False)

    # --- whiteouts ----------------------------------------------------------------------------------------------

    def _whiteout(self, entry: tar.Entry, parent: bytes, base: bytes) -> None:
        """`.wh.NAME` hides NAME below, `.wh..wh..opq` hides all below in its directory; others of aufs mean nothing.

        Neither touches what this layer itself brings. The cost is one call each, however often repeated
        (CVE-2026-95838 was a walk for each).
        """
        self.stream.skip(entry.size)
        if base == _OPAQUE:
            if self.policy.bottom:
                return
            if not parent:
                self.opaque = True
                return
            self._parent(parent)
            self._mark_opaque(parent)
            return
        if base.startswith(b".wh..wh."):
            return
        name = base[4:]
        if name in (b"", b".", b".."):
            raise tar.broken(f"the whiteout {entry.name!r} names no entry")
        if self.policy.bottom:
            return
        parent_fd = self._parent(parent)
        try:
            os.mknod(name, stat.S_IFCHR, 0, dir_fd=parent_fd)
            self.whiteouts = True
        except FileExistsError:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent_fd, follow_symlinks=False).st_mode):
                self._mark_opaque(parent + b"/" + name if parent else name)

    def _below_whiteout(self, entry: tar.Entry, parent: bytes) -> bool:
        """Whether an entry lies in one of aufs's own directories, and is passed over. In a removed one is nothing."""
        for part in parent.split(b"/"):
            if part.startswith(b".wh..wh."):
                self.stream.skip(entry.size)
                return True
            if part.startswith(_WHITEOUT):
                raise tar.broken(f"{entry.name!r} lies below a whiteout")
        return False

    # --- the end ----------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """Special bits and times of directories: last, because every entry made below changes them. One that no entry
        tells of is as old as can be: the same layer gives the same directory whenever it is unpacked."""
        for path in (*self.implicit, *([] if b"" in self.times else [b""])):
            self.times.setdefault(path, (0, 0))
        for path, (when, special) in self.times.items():
            parent, _, base = path.rpartition(b"/")
            if not path:
                self._finish_one(self.root_fd, when, special)
                continue
            try:
                parent_fd = self._known_parent(parent)
                if special:
                    fd = os.open(base, _DIRECTORY, dir_fd=parent_fd)
                    try:
                        self._finish_one(fd, when, special)
                    finally:
                        os.close(fd)
                else:
                    stamp = _clamped(when)
                    os.utime(base, ns=(stamp, stamp), dir_fd=parent_fd, follow_symlinks=False)
            except (FileNotFoundError, NotADirectoryError):
                pass  # a later entry replaced it
            except OSError as error:
                if error.errno != errno.ELOOP:
                    raise

    def _finish_one(self, fd: int, when: int, special: int) -> None:
        os.fchmod(fd, stat.S_IMODE(os.fstat(fd).st_mode) & 0o777 | special)
        stamp = _clamped(when)
        os.utime(fd, ns=(stamp, stamp))


def _normal(name: bytes) -> bytes:
    """The path without leading `/`, `./` and doubled slashes; b"" for the root. `..` is refused."""
    if name[:2] == b"./":
        name = name[2:]
    name = name.strip(b"/")
    if b"//" in name or name[:1] == b"." or b"/." in name:
        parts = [part for part in name.split(b"/") if part and part != b"."]
        if b".." in parts:
            raise tar.broken(f"the name {name[:200]!r} leads out of its directory")
        name = b"/".join(parts)
    return name


def _clamped(when: int) -> int:
    return when if -_MAX_NS < when < _MAX_NS else 0


def _translated(error: OSError, name: bytes, entry: tar.Entry | None) -> errors.AtollError:
    shown = os.fsdecode(name)[:200]
    if error.errno in (errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.ENOENT):
        return tar.broken(f"{shown!r}: {error.strerror}")
    if error.errno == errno.EINVAL and entry is not None:
        return errors.Denied(
            f"cannot unpack {shown!r}: its owner {entry.uid}:{entry.gid} has no place in this user's id map",
            hint="grant more ids in /etc/subuid and /etc/subgid",
        )
    return errors.from_os_error(error, f"unpack {shown!r}")
