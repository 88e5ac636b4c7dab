"""The process that copies: inside the container's root before it looks at anything, and nothing of it is run.

Holds: its entry `main`, how it gets inside (`enter`), the jobs (`job`). Does not hold: starting it
(`isolation/files/client.py`, which draws the conversation; in a machine `guest/files.py`).

Everything is imported at the top and nothing later: once inside, an import would find the container's files. No
program is executed and no user looked up (`files/__init__.py` has the CVEs). The names it is given are resolved by
openat2(2) without magic links: /proc/PID/root of a container in the host's pid namespace leads to the host.
"""

from __future__ import annotations

import bz2
import encodings.idna
import encodings.latin_1
import encodings.unicode_escape
import errno
import gzip
import lzma
import os
import stat
import sys
import tarfile
import traceback
import zlib

from atoll.base import errors
from atoll.base.value import fields
from atoll.linux import mount as m
from atoll.linux import process, signals, userns
from atoll.linux.root import RESOLVE_NO_MAGICLINKS, openat2
from atoll.runtime import copyup, pivot, rootfs
from atoll.runtime.files import destination, pack, unpack
from atoll.snapshots.channel import Channel
from atoll.spec import idmap as idmaps
from atoll.spec.codec import parse
from atoll.spec.rootfs import FuseOverlay, RootPlan
from atoll.spec.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_IN = RESOLVE_NO_MAGICLINKS
PRELOADED = (bz2, copyup, encodings, gzip, lzma, tarfile, zlib)
"""What is first needed when it is too late to import: compressions, encodings, `mount_all`'s copies."""


def main(fd: int) -> None:
    """The process. Never returns; ends when the socket does."""
    signals.ignore(signals.SIGINT)  # the command decides, and its end is ours
    signals.ignore(signals.SIGPIPE)
    channel = Channel(fd)
    status = 1
    try:
        hello, fds = channel.receive()
        try:
            enter(hello, fds)
        except errors.AtollError as error:
            channel.send({"error": error.to_json()})
            return
        except OSError as error:
            channel.send({"error": errors.from_os_error(error, "enter the container's root").to_json()})
            return
        forget_the_way_back()
        channel.send({"ready": True})
        while True:
            message, fds = channel.receive()
            try:
                answer = job(message, fds)
            finally:
                for one in fds:
                    os.close(one)
            channel.send(answer)
    except Exception:  # noqa: BLE001 - the end of the other side, or a fault that it cannot be told
        status = 0
    finally:
        os._exit(status)


def enter(hello: dict[str, Any], fds: list[int]) -> None:
    """Become confined to the root that `hello` tells of. Raises AtollError, OSError."""
    os.umask(0)
    if "pid" in hello:
        _join(hello, fds[0])
    else:
        _build(hello)
    if hello.get("bare"):
        _uncover()
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)


def _join(hello: dict[str, Any], pidfd: int) -> None:
    """The namespaces of a container that runs: its user namespace, if it has one, then its mounts."""
    flags = process.CLONE_NEWNS
    if os.stat(f"/proc/{hello['pid']}/ns/user").st_ino != os.stat("/proc/self/ns/user").st_ino:
        flags |= process.CLONE_NEWUSER
    process.setns(pidfd, flags, "the container's namespaces")  # its root and working directory, too: setns(2)
    os.close(pidfd)
    if flags & process.CLONE_NEWUSER:
        userns.become_root()


def _build(hello: dict[str, Any]) -> None:
    """The root of a container that does not run, mounted in a mount namespace that goes with this process."""
    root_plan = RootPlan.from_json(hello["root"])
    mounts = tuple([parse(Mount, one, "mounts") for one in hello["mounts"]])
    if hello["idmap"] is None:
        process.unshare(process.CLONE_NEWNS)
    else:
        userns.enter(**idmaps.from_json(hello["idmap"]).ways(), flags=process.CLONE_NEWNS)
    pivot.isolate(None)
    place = os.open(hello["place"], os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)  # in this namespace
    servers = _servers(root_plan, hello["place"])
    root = rootfs.build_root(root_plan, hello["place"], place, servers)
    os.close(place)
    rootfs.mount_all(root, mounts, hello["bundle"], ())
    os.fchdir(root.fd)
    os.chroot(".")
    root.close()


def _servers(plan: RootPlan, place: str) -> tuple[int, ...]:
    if not any(isinstance(step, FuseOverlay) for step in plan.steps):
        return ()
    from atoll.runtime import served

    return served.launch(plan, place)


def _uncover() -> None:
    """The root's own file system without what is mounted on it: a clone of the one mount (open_tree(2))."""
    tree = m.open_tree("/", m.OPEN_TREE_CLONE)
    os.fchdir(tree)
    os.chroot(".")
    os.close(tree)


def forget_the_way_back() -> None:
    """From here on an import fails instead of finding the container's files."""
    sys.path[:] = []
    sys.path_importer_cache.clear()
    sys.meta_path[:] = []


def job(message: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """One job, with the descriptor of its archive. Its failure is an answer."""
    jobs = {"stat": _stat, "get": _get, "put": _put}
    try:
        return {"done": jobs[message["do"]](message, fds)}
    except errors.AtollError as error:
        return {"error": error.to_json()}
    except OSError as error:
        return {"error": _told(error, message["path"]).to_json()}
    except MemoryError:
        return {"error": errors.Exhausted("no memory left to copy").to_json()}
    except Exception as error:  # noqa: BLE001 - this edge is a request handler
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{os.path.basename(last.filename)}:{last.lineno}"
        return {"error": errors.Internal(f"copying failed at {where}: {error!r}").to_json()}


def _told(error: OSError, path: str) -> errors.AtollError:
    if error.errno in (errno.ENOENT, errno.ENOTDIR):
        return errors.NotFound(f"could not find the file {path} in the container")
    if error.errno == errno.EROFS:
        return errors.Denied("the container's root file system, or what is mounted there, is read-only")
    return errors.from_os_error(error, f"copy {path} of the container")


def _open(path: str, flags: int) -> int:
    return openat2(-100, "/" + path.lstrip("/"), flags, resolve=_IN)  # AT_FDCWD; the path is absolute


def _stat(message: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    flags = os.O_PATH | (0 if message["follow"] else os.O_NOFOLLOW)
    fd = _open(message["path"], flags)
    try:
        info = os.fstat(fd)
        target = os.readlink("", dir_fd=fd) if stat.S_ISLNK(info.st_mode) else ""
    finally:
        os.close(fd)
    return {"mode": info.st_mode, "size": info.st_size, "mtime": info.st_mtime_ns, "target": target}


def _get(message: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """An archive of `path` into a descriptor. With `follow` a link stands for what it leads to."""
    path = "/" + message["path"].strip("/")
    parent, _, name = path.rpartition("/")
    if message["follow"] or not name or name in (".", ".."):
        # What it leads to, once and for all: a directory by its own descriptor, a file by its real place.
        fd = _open(path, os.O_PATH)
        directory = stat.S_ISDIR(os.fstat(fd).st_mode)
        if not directory:
            os.close(fd)
            parent, name = _real(path)
            fd = _open(parent or "/", os.O_PATH | os.O_DIRECTORY)
        name = "." if directory else name
    else:
        fd = _open(parent or "/", os.O_PATH | os.O_DIRECTORY)
    try:
        with open(os.dup(fds[0]), "wb", buffering=0) as out:
            packed = pack.pack(out, fd, name, arcname=message["arcname"], one_mount=bool(message.get("one_mount")))
    finally:
        os.close(fd)
    return {name: getattr(packed, name) for name in fields(packed)}


def _real(path: str) -> tuple[str, str]:
    """(parent, name) of the file that a path ends at, links followed."""
    for _ in range(40):
        parent, _, name = path.rpartition("/")
        fd = _open(parent or "/", os.O_PATH | os.O_DIRECTORY)
        try:
            target = os.readlink(name, dir_fd=fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            return parent, name
        finally:
            os.close(fd)
        path = target if target.startswith("/") else f"{parent}/{target}"
        path = path.rstrip("/")
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)


def _put(message: dict[str, Any], fds: Sequence[int]) -> dict[str, Any]:
    """An archive from a descriptor to `path`, by the rules of `destination.py`; what is made belongs to root, or with
    `archive` to those whom the archive names."""
    about = message["source"]
    source = None if about is None else destination.Source(**about)
    base, rename = destination.settle(_open, message["path"], source)
    owner = None if message["archive"] else (0, 0)
    renamed = None if rename is None or source is None else (source.name, rename)
    try:
        with open(os.dup(fds[0]), "rb", buffering=0) as archive:
            done = unpack.unpack(archive, base, unpack.Rules(owner=owner, resolve=_IN, rename=renamed))
    finally:
        os.close(base)
    return {name: getattr(done, name) for name in fields(done)}
