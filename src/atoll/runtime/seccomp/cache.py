"""Compiled filters kept as files, found by the content of what they were compiled from.

Holds: `read_or_compile`, `read`, and the file's form. Does not hold: the compiler (imported only on a miss).

    <cache_dir>/<key>.bpf = MAGIC, sha256 of the filter, the filter
    key = sha256 of (FORMAT, machine, all of the profile that shapes the filter), in hexadecimal

A filter is what stands between a container and the kernel, so one is believed only from a directory and a file that
belong to us and that nobody else can write, and only if it is whole.
"""

from __future__ import annotations

import errno
import os
import stat
import sys

from atoll.base import errors, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import Seccomp

# Part of every key. Raise it whenever the compiler or the tables change what comes out (a test tells).
FORMAT = 1

_MAGIC = b"ATOLLBPF"
_DIGEST = 32
_LARGEST = 8 * 4096
_KEEP = 64


def read_or_compile(seccomp: Seccomp, cache_dir: str, arch: str | None = None) -> bytes:
    """See the package's `cached`."""
    machine = arch or os.uname().machine
    directory = _open_directory(cache_dir)
    try:
        name = _key(seccomp, machine) + ".bpf"
        program = _read(directory, name) if directory >= 0 else None
        if program is None:
            from atoll.runtime.seccomp.compiler import compile_filter

            program = compile_filter(seccomp, machine)
            if directory >= 0:
                _write(directory, name, program)
        return program
    finally:
        if directory >= 0:
            os.close(directory)


def read(seccomp: Seccomp, cache_dir: str) -> bytes | None:
    """The filter if it is there, for this machine. Raises Denied."""
    directory = _open_directory(cache_dir)
    if directory < 0:
        return None
    try:
        return _read(directory, file_name(seccomp))
    finally:
        os.close(directory)


def file_name(seccomp: Seccomp) -> str:
    """What the file of a filter is called, for whoever takes it elsewhere (a guest)."""
    return _key(seccomp, os.uname().machine) + ".bpf"


def _sha256(data: bytes) -> bytes:
    """SHA-256 by the interpreter's own module: hashlib loads OpenSSL, 15 ms of every start."""
    try:
        if sys.version_info >= (3, 12):
            from _sha2 import sha256  # type: ignore[import-not-found,unused-ignore]
        else:
            from _sha256 import sha256  # type: ignore[import-not-found,unused-ignore]
    except ImportError:  # another interpreter
        from hashlib import sha256
    digest: bytes = sha256(data).digest()
    return digest


def _key(seccomp: Seccomp, machine: str) -> str:
    rules = [
        [rule.names, rule.action, rule.errno_ret, [[a.index, a.op, a.value, a.value_two] for a in rule.args]]
        for rule in seccomp.syscalls
    ]
    shape = [FORMAT, machine, seccomp.default_action, seccomp.default_errno_ret, seccomp.architectures, rules]
    return _sha256(jsontext.dumps(shape).encode()).hex()


def _open_directory(path: str) -> int:
    """A descriptor of the cache's directory, made if absent; -1 where it cannot be made, as on a read-only disk.

    Raises Denied if it is a link or others could write there.
    """
    try:
        os.makedirs(path, 0o700, exist_ok=True)
        directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.EEXIST, errno.EACCES):
            raise errors.from_os_error(error, f"use {path} for compiled filters", hint=f"remove {path}") from error
        return -1
    found = os.fstat(directory)
    if found.st_uid == os.geteuid() and not found.st_mode & 0o077:
        return directory
    os.close(directory)
    raise errors.Denied(
        f"cannot trust the filters in {path}: owner {found.st_uid}, mode {stat.S_IMODE(found.st_mode):04o}",
        hint=f"remove it, or 'chown {os.geteuid()} {path}; chmod 700 {path}'",
    )


def _read(directory: int, name: str) -> bytes | None:
    """The filter in a file, or None if there is none that can be believed."""
    try:
        fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    except OSError:
        return None
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
            return None
        content = os.read(fd, len(_MAGIC) + _DIGEST + _LARGEST + 1)
    finally:
        os.close(fd)
    start = len(_MAGIC) + _DIGEST
    program = content[start:]
    if content[: len(_MAGIC)] != _MAGIC or not program or len(program) % 8 or len(program) > _LARGEST:
        return None
    return program if _sha256(program) == content[len(_MAGIC) : start] else None


def _write(directory: int, name: str, program: bytes) -> None:
    """Leave a filter for the next time. A cache that cannot be written (full, read-only) is no reason to fail."""
    temporary = f"{name}.{os.getpid()}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        _forget_oldest(directory)
        fd = os.open(temporary, flags, 0o600, dir_fd=directory)
        try:
            files.write_all(fd, _MAGIC + _sha256(program) + program)
            os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        except OSError:
            os.unlink(temporary, dir_fd=directory)
        finally:
            os.close(fd)
    except OSError:
        pass


def _forget_oldest(directory: int) -> None:
    """Keep the cache small: profiles of one's own come and go."""
    names = os.listdir(directory)
    if len(names) < _KEEP:
        return
    aged = sorted((os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns, name) for name in names)
    for _, name in aged[: len(aged) - _KEEP // 2]:
        os.unlink(name, dir_fd=directory)
