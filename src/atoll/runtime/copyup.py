"""`tmpcopyup` and `copyup`: a tmpfs, and a new volume, that begin with what lay under them.

Holds: `copy_tree` and `fill_if_empty`, on descriptors alone. Does not hold: the mounts (`rootfs.py`).
"""

from __future__ import annotations

import os
import stat

from atoll.base import files

_DEPTH = 128
_CHUNK = 1 << 20


def copy_tree(source: int, target: int) -> None:
    """Copy what is in the directory `source` into the directory `target` (both may be O_PATH): files, directories,
    links and nodes with owner, mode, times and extended attributes; links are never followed. Raises OSError."""
    _copy_directory(source, target, 0)


MARK = ".atoll-being-filled"
"""A name in a volume that is being filled: what is there besides it is not whole. A container may make it, too: all
that it gains is that its own volume begins anew."""


def fill_if_empty(source: int, target: int) -> None:
    """Copy `source` into `target` as `copy_tree` does, if nothing is there, or no more than a copy that was killed
    has left. Raises OSError."""
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
    try:
        names = os.listdir(readable)
        if names and MARK not in names:
            return
        below = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
        try:
            if not os.listdir(below):
                _copy_metadata(os.fstat(below), f"/proc/self/fd/{below}", f"/proc/self/fd/{target}")
                return
        finally:
            os.close(below)
        for name in names:
            if name != MARK:
                _remove_entry(readable, name, 0)
        if MARK not in names:
            os.close(os.open(MARK, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=readable))
        copy_tree(source, target)
        os.unlink(MARK, dir_fd=readable)
    finally:
        os.close(readable)


def _remove_entry(directory: int, name: str, depth: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=directory, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=directory)
        return
    if depth > _DEPTH:
        raise OSError(40, "directories nested too deeply", name)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    below = os.open(name, flags, dir_fd=directory)
    try:
        for one in os.listdir(below):
            _remove_entry(below, one, depth + 1)
    finally:
        os.close(below)
    os.rmdir(name, dir_fd=directory)


def _copy_directory(source: int, target: int, depth: int) -> None:
    if depth > _DEPTH:
        raise OSError(40, "directories nested too deeply", "tmpcopyup")
    readable = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    try:
        for name in os.listdir(readable):
            _copy_entry(readable, target, name, depth)
        _copy_metadata(os.fstat(readable), f"/proc/self/fd/{readable}", f"/proc/self/fd/{target}")
    finally:
        os.close(readable)


def _copy_entry(source: int, target: int, name: str, depth: int) -> None:
    info = os.stat(name, dir_fd=source, follow_symlinks=False)
    kind = stat.S_IFMT(info.st_mode)
    if kind == stat.S_IFDIR:
        os.mkdir(name, 0o700, dir_fd=target)
        flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        below, made = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
        try:
            _copy_directory(below, made, depth + 1)
        finally:
            os.close(below)
            os.close(made)
    elif kind == stat.S_IFREG:
        _copy_file(source, target, name)
    elif kind == stat.S_IFLNK:
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)
    elif kind != stat.S_IFSOCK:  # a socket's file is nothing without its listener
        os.mknod(name, info.st_mode, info.st_rdev, dir_fd=target)
        os.chown(name, info.st_uid, info.st_gid, dir_fd=target, follow_symlinks=False)


def _copy_file(source: int, target: int, name: str) -> None:
    old = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        new = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while data := os.read(old, _CHUNK):
                files.write_all(new, data)
            _copy_metadata(os.fstat(old), f"/proc/self/fd/{old}", f"/proc/self/fd/{new}")
        finally:
            os.close(new)
    finally:
        os.close(old)


def _copy_metadata(info: os.stat_result, source: str, target: str) -> None:
    """By the magic links of our own descriptors, which name no path."""
    os.chown(target, info.st_uid, info.st_gid)
    os.chmod(target, stat.S_IMODE(info.st_mode))
    for name in os.listxattr(source):
        try:
            os.setxattr(target, name, os.getxattr(source, name))
        except OSError:  # a kind that tmpfs does not keep
            continue
    os.utime(target, ns=(info.st_atime_ns, info.st_mtime_ns))
