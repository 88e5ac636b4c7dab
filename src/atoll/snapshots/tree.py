"""The tree that a layer is applied to: its directories by descriptor, what is in an entry's way, marks, attributes.

Holds: `Tree`. Does not hold: what each kind of entry does (`apply.py`, which says what keeps it all inside).
"""

from __future__ import annotations

import errno
import os
import stat

from atoll.base import errors
from atoll.linux.root import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.snapshots import tar
    from atoll.snapshots.policy import ApplyPolicy

_IN_ROOT = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_CACHED = 200
_MAX_IMPLICIT = 20_000
_OVERRIDE = "user.containers.override_stat"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_RESERVED = ("user.overlay.", "user.containers.", "user.fuseoverlayfs.")


class Tree:
    """A directory that is being filled. `root_fd` stays the caller's; the descriptors of parents are this one's."""

    def __init__(self, root_fd: int, policy: ApplyPolicy) -> None:
        self.root_fd = root_fd
        self.policy = policy
        self.chown = policy.ownership == "chown"
        self.parents: dict[bytes, int] = {b"": root_fd}
        self.implicit: dict[bytes, None] = {}
        self.marks: dict[bytes, None] = {}
        self.whiteouts = False
        self.stripped = 0

    def close(self) -> None:
        """Give up the descriptors of parents."""
        self._forget()

    # --- parents ------------------------------------------------------------------------------------------------

    def _parent(self, path: bytes) -> int:
        """The descriptor of a directory inside the root; made, with its parents, when nothing describes it."""
        fd = self.parents.get(path)
        if fd is not None:
            return fd
        try:
            return self._known_parent(path)
        except FileNotFoundError:
            pass
        except NotADirectoryError:
            if not self.whiteouts:
                raise
        self._make_parent(path)
        return self._known_parent(path)

    def _open(self, path: bytes) -> int:
        return openat2(self.root_fd, os.fsdecode(path), os.O_PATH | os.O_DIRECTORY, resolve=_IN_ROOT)

    def _make_parent(self, path: bytes) -> None:
        parent, _, base = path.rpartition(b"/")
        parent_fd = self._parent(parent)
        try:
            os.mkdir(base, 0o755, dir_fd=parent_fd)
        except FileExistsError:
            if self._whiteout_at(parent_fd, base):  # removed below, and new here without an entry of its own
                os.unlink(base, dir_fd=parent_fd)
                os.mkdir(base, 0o755, dir_fd=parent_fd)
                self._mark_opaque(path)
        else:
            if len(self.implicit) < _MAX_IMPLICIT:
                self.implicit[path] = None

    def _known_parent(self, path: bytes) -> int:
        """Like `_parent`, but nothing is made: FileNotFoundError instead."""
        fd = self.parents.get(path)
        if fd is None:
            fd = self._open(path)
            if len(self.parents) > _CACHED:
                self._forget()
            self.parents[path] = fd
        return fd

    def _forget(self) -> None:
        """Drop the cached parents: after a directory or a link went, a path may mean another place."""
        for path, fd in self.parents.items():
            if path:
                os.close(fd)
        self.parents = {b"": self.root_fd}

    # --- marks ------------------------------------------------------------------------------------------------------

    def _mark_opaque(self, path: bytes) -> None:
        """Hide what the layers below have in this directory of ours."""
        if self.policy.bottom:
            return
        fd = openat2(self.root_fd, os.fsdecode(path), os.O_RDONLY | os.O_DIRECTORY, resolve=_IN_ROOT)
        try:
            os.setxattr(fd, self.policy.opaque_xattr, b"y")
        except PermissionError:  # `trusted.` without CAP_SYS_ADMIN, as in `confine.py`
            self.marks[self._without_links(path)] = None
        finally:
            os.close(fd)

    def _without_links(self, path: bytes) -> bytes:
        """Where a directory inside the root really is, now: a later entry may exchange the links on the way to it."""
        done: list[bytes] = []
        pending = path.split(b"/")[::-1]
        while pending:
            part = pending.pop()
            if part == b"..":
                del done[-1:]
            if part in (b"", b".", b".."):
                continue
            try:
                target = os.readlink(b"/".join([*done, part]), dir_fd=self.root_fd)
            except OSError as error:
                if error.errno != errno.EINVAL:
                    raise
                done.append(part)
                continue
            if target.startswith(b"/"):
                done = []
            pending += target.split(b"/")[::-1]
        return b"/".join(done)

    @staticmethod
    def _whiteout_at(parent_fd: int, base: bytes) -> bool:
        try:
            info = os.stat(base, dir_fd=parent_fd, follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISCHR(info.st_mode) and info.st_rdev == 0

    def _clear(self, parent_fd: int, base: bytes) -> None:
        """Remove what is in the way of an entry: a file, or a directory with all in it."""
        mode = os.stat(base, dir_fd=parent_fd, follow_symlinks=False).st_mode
        if not stat.S_ISDIR(mode):
            os.unlink(base, dir_fd=parent_fd)
            if stat.S_ISLNK(mode):
                self._drop_parents(parent_fd)
            return
        _remove(parent_fd, base)
        self._drop_parents(parent_fd)

    def _drop_parents(self, keep: int) -> None:
        """Like `_forget`, but the descriptor in use stays open (and cached, its path being untouched)."""
        kept = {path: fd for path, fd in self.parents.items() if fd == keep or not path}
        for path, fd in self.parents.items():
            if path not in kept:
                os.close(fd)
        self.parents = kept

    def _record(self, fd: int, entry: tar.Entry, kind: str) -> None:
        """The owner and mode that a file should have, in the form containers/storage reads."""
        value = f"{entry.uid}:{entry.gid}:{entry.mode:04o}:{kind}"
        try:
            os.setxattr(fd, _OVERRIDE, value.encode())
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.ENOSPC):
                raise
            self.stripped += 1

    def _set_xattrs(self, where: int | bytes, entry: tar.Entry) -> None:
        """Attributes a layer may carry: file capabilities, and `user.` ones that no engine uses for itself.

        The rest is stripped: `trusted.` and overlay marks would forge whiteouts, labels of security modules belong
        to the host's policy.
        """
        for name, value in (entry.xattrs or {}).items():
            capability = name == "security.capability"
            if not capability and (not name.startswith("user.") or name.startswith(_RESERVED)):
                self.stripped += 1
                continue
            try:
                if isinstance(where, int):
                    os.setxattr(where, name, value)
                else:
                    os.setxattr(where, name, value, follow_symlinks=False)
            except (OSError, ValueError) as error:
                if capability:
                    raise errors.Unsupported(
                        f"cannot keep the file capabilities of {entry.name!r}: {error}",
                        hint="the store lies on a file system without extended attributes",
                    ) from None
                self.stripped += 1


def _remove(parent_fd: int, base: bytes) -> None:
    """Remove a directory and all in it, by descriptors."""
    fd = os.open(base, _DIRECTORY, dir_fd=parent_fd)
    try:
        for name in os.listdir(fd):
            inner = os.fsencode(name)
            if stat.S_ISDIR(os.stat(inner, dir_fd=fd, follow_symlinks=False).st_mode):
                _remove(fd, inner)
            else:
                os.unlink(inner, dir_fd=fd)
    finally:
        os.close(fd)
    os.rmdir(base, dir_fd=parent_fd)
