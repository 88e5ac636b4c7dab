"""Roots that a process shows: fuse-overlayfs, for those to whom the kernel gives no overlay.

Holds: `launch` (the server's side), `attach` (who mounts it). Does not hold: which containers get such a root
(`snapshots/driver.py`), the other steps of a root (`rootfs.py`). Sources: fuse(4), fuse-overlayfs(1); libfuse takes
`/dev/fd/N` for a mount point that somebody else has mounted.

    creator                        server, its fork                        who builds the root (the init)
    -------------------------      ------------------------------------    -----------------------------------------
    S1 a socket pair; forks   ──►  S2 joins the user namespace of the
                                      container, where /dev/fuse is to be
                                      opened; a mount namespace of its own
                                   S3 {"at": "fuse"} + /dev/fuse      ──►  S4 mounts it, closes its descriptor
                                      {"at": "log"} + what it will say     {"go": "mounted"}
                                   S5 its own root: programs, layers, ◄──
                                      the writable directory; execve
                                                                      ──►  S6 its first answer, or what it said

The kernel ends it: the mount is in the container's namespace alone, and with that one's last process the server reads
the end of its requests. So it needs no monitor, outlives a killed one, and cannot leak. It is in neither the cgroup
(a paused container's files can be copied) nor the pid namespace of the container, and a fault of it reaches what its
root holds and no more. Every module it needs is loaded before the clone (`prepare.lines_to_servers`).
"""

from __future__ import annotations

import errno
import fcntl
import os
from _socket import AF_UNIX, SOCK_SEQPACKET, socket

from atoll.base import errors
from atoll.linux import mount as m
from atoll.linux import process, userns
from atoll.runtime import pin, pivot, rootfs, sync
from atoll.snapshots.driver import find_fuse_overlayfs
from atoll.spec.rootfs import Bind, FuseOverlay, RootPlan, Symlink, Tmpfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.linux.root import Root
    from atoll.spec.rootfs import RootStep

_PROGRAMS = ("/usr", "/bin", "/lib", "/lib32", "/lib64", "/gnu", "/nix")
_LOG = 4096
_FUSE_FD = 3


class Lines:
    """The socket pairs between those who build a root and its servers, one for each step that needs one. `ends` are
    for `rootfs.build_root`; both sides belong to this until they are given away. A server whose `end` is closed
    before it was mounted goes."""

    def __init__(self, plan: RootPlan) -> None:
        self._steps = tuple([step for step in plan.steps if isinstance(step, FuseOverlay)])
        pairs = [sync.pair() for _ in self._steps]
        self.ends = tuple([ours.detach() for ours, _ in pairs])
        self._theirs = [theirs for _, theirs in pairs]

    def leave(self) -> None:
        """Close the sides of `build_root`: they are somebody else's now."""
        for fd in self.ends:
            os.close(fd)
        self.ends = ()

    def launch(self, run: str, *, user_namespace: int = -1) -> None:
        """Start the servers. `run` is a directory to build their own roots on, `user_namespace` a descriptor of the
        container's; -1 means this process' own. Raises AtollError."""
        try:
            for step, theirs in zip(self._steps, self._theirs, strict=True):
                pid, pidfd = process.clone3(0)
                if pid == 0:
                    self.leave()
                    for other in self._theirs:  # whose end is waited for: only its own server may hold it
                        if other is not theirs:
                            other.close()
                    _become_server(step, run, user_namespace, theirs)
                os.close(pidfd)
        except OSError as error:
            raise errors.from_os_error(error, "start the server of the container's root") from error
        finally:
            self.close_servers()

    def close_servers(self) -> None:
        """Close the servers' sides. Idempotent."""
        for theirs in self._theirs:
            theirs.close()
        self._theirs = []

    def close(self) -> None:
        """Close all that is still ours. Idempotent."""
        self.leave()
        self.close_servers()


def launch(plan: RootPlan, run: str) -> tuple[int, ...]:
    """For a process that builds a root itself: the servers started, and the descriptors for `rootfs.build_root`,
    which takes them. Raises AtollError."""
    lines = Lines(plan)
    try:
        lines.launch(run)
    except BaseException:
        lines.close()
        raise
    return lines.ends


def attach(end_fd: int, place: int, target: str) -> int:
    """Mount what the server at `end_fd` shows on `place` (O_PATH): the mount's descriptor, owned by the caller; takes
    `end_fd`. Raises OSError, and the server's own AtollError."""
    end = socket(AF_UNIX, SOCK_SEQPACKET, 0, end_fd)
    log = -1
    try:
        fuse = sync.expect(end, "at", "fuse")
        log = sync.expect(end, "at", "log") or -1
        assert fuse is not None
        try:
            tree = m.new_filesystem(
                "fuse",
                [
                    ("subtype", "fuse-overlayfs"),
                    ("fd", str(fuse)),
                    ("rootmode", "40000"),
                    ("user_id", "0"),
                    ("group_id", "0"),
                    ("default_permissions", None),
                    ("allow_other", None),
                ],
                source="fuse-overlayfs",
            )
        finally:
            os.close(fuse)
        try:
            m.move_mount(tree, place, target)
            sync.send(end, {"go": "mounted"})
            _await_first_answer(end, tree, log)
        except BaseException:
            os.close(tree)
            raise
        return tree
    finally:
        end.close()
        if log >= 0:
            os.close(log)


def _await_first_answer(end: socket, tree: int, log: int) -> None:
    sync.receive(end)  # the end of file at its execve, or its error
    try:
        os.fstat(tree)
    except OSError as error:
        if error.errno not in (errno.ENOTCONN, errno.ECONNABORTED, errno.EIO):
            raise
        said = os.pread(log, _LOG, 0).rstrip(b"\0").decode("utf-8", "replace")
        raise errors.FailedPrecondition(
            f"fuse-overlayfs: {' '.join(said.split()) or 'ended without a word'}"
        ) from None


# --- the server -----------------------------------------------------------------------------------------------------


def _become_server(step: FuseOverlay, run: str, user_namespace: int, end: socket) -> None:
    """S2 to S5. Never returns."""
    try:
        _serve(step, run, user_namespace, end)
    except BaseException as error:  # noqa: BLE001 - a clone must never return into its parent's code
        wrapped = error if isinstance(error, errors.AtollError) else None
        if isinstance(error, OSError):
            wrapped = errors.from_os_error(error, "serve the container's root with fuse-overlayfs")
        try:
            sync.send(end, {"error": (wrapped or errors.Internal(repr(error))).to_json()})
        except OSError:
            pass
    finally:
        os._exit(1)


def _serve(step: FuseOverlay, run: str, user_namespace: int, end: socket) -> None:
    program = find_fuse_overlayfs()
    if program is None:
        raise errors.Unsupported("fuse-overlayfs is not here", hint="apt install fuse-overlayfs")
    # 1. A session of its own: what a terminal sends is for the command, not for a container's root.
    os.setsid()
    # 2. The namespaces. The mounts are cut from the host's, and what is mounted for the container is never in them:
    #    it would hold the file system that it serves.
    if user_namespace >= 0:
        process.setns(user_namespace, process.CLONE_NEWUSER, "the container's user namespace")
    process.unshare(process.CLONE_NEWNS)
    pivot.isolate("private")
    # 3. /dev/fuse counts for the user namespace in which it is opened (fuse_fill_super), by the rights of who asked.
    try:
        fuse = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        hint = "load the module fuse, and let everybody open /dev/fuse (mode 0666, as udev makes it)"
        raise errors.from_os_error(error, "open /dev/fuse", hint=hint) from error
    log = os.memfd_create("fuse-overlayfs", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.ftruncate(log, _LOG)
    fcntl.fcntl(log, fcntl.F_ADD_SEALS, fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK)
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    # 4. Layers are opened as the caller: the way to them may be closed to the root of the container.
    place = os.open(run, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    held: list[int] = []
    view = pin.pin_root(view_of(step), pin.Opened(held))
    if user_namespace >= 0:
        userns.become_root()
    sync.send(end, {"at": "fuse"}, fuse)
    sync.send(end, {"at": "log"}, log)
    sync.expect(end, "go", "mounted")
    # 5. Nothing of the host is in sight from here on but programs, layers and the writable directory.
    root: Root = rootfs.build_root(view, run, place)
    pivot.pivot(root, None)
    root.close()
    os.umask(0)
    process.prctl(process.PR_SET_NO_NEW_PRIVS, 1)
    for fd, number in ((null, 0), (null, 1), (log, 2)):
        os.dup2(fd, number)
    # Not by dup2 alone: the socket, whose end tells the init, may be that very number.
    fuse = fcntl.fcntl(fuse, fcntl.F_DUPFD_CLOEXEC, 64)
    end_fd = fcntl.fcntl(end.detach(), fcntl.F_DUPFD_CLOEXEC, 65)
    process.close_range(3, 63)
    process.close_range(max(fuse, end_fd) + 1)
    os.dup2(fuse, _FUSE_FD)
    argv = ["fuse-overlayfs", "-f", "-o", options_of(step, os.path.basename(run)), f"/dev/fd/{_FUSE_FD}"]
    try:
        os.execve(program, argv, {"PATH": "/usr/bin:/bin"})
    except OSError as error:
        sync.send(
            socket(AF_UNIX, SOCK_SEQPACKET, 0, end_fd), {"error": errors.from_os_error(error, program).to_json()}
        )


def view_of(step: FuseOverlay) -> RootPlan:
    """The server's own root: the system's programs, procfs (it finds files by its descriptors' links), the layers at
    `/l/N`, topmost first, and the writable directories below `/w`."""
    steps: list[RootStep] = [Tmpfs(target="/", mode=0o755)]
    for path in _PROGRAMS:
        if os.path.islink(path):
            steps.append(Symlink(target=path, link=os.readlink(path)))
        else:
            steps.append(Bind(source=path, target=path, read_only=True, recursive=False, optional=True))
    steps.append(Bind(source="/proc", target="/proc"))
    for number, path in enumerate(step.lower):
        steps.append(Bind(source=path, target=f"/l/{number}", read_only=True, recursive=False))
    if step.upper is not None:
        steps.append(Bind(source=os.path.dirname(step.upper), target="/w", recursive=False))
    return RootPlan(steps=tuple(steps))


def options_of(step: FuseOverlay, name: str) -> str:
    """What fuse-overlayfs is told. `name` shows in `ps`. Writes go through at once (`writeback=0`): what `diff`,
    `cp` and `commit` read in the writable directory is what the container wrote."""
    parts = [f"fsname={name}", "lowerdir=" + ":".join([f"/l/{number}" for number in range(len(step.lower))])]
    if step.upper is not None and step.work is not None:
        parts += [f"upperdir=/w/{os.path.basename(step.upper)}", f"workdir=/w/{os.path.basename(step.work)}"]
    parts += ["writeback=0"]
    if step.volatile:
        parts += ["volatile"]
    return ",".join(parts)
