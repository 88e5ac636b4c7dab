"""delete: what create made goes; the processes (with force), the cgroup, the run directory.

Two may delete at once: the monitor after an end, and a command that has seen the end recorded and wants to start the
container anew. Both hold a flock(2) on the run directory itself meanwhile, and who gets it second finds the directory
gone: so neither takes the cgroup or the directory of the next life for the old one's.
"""

from __future__ import annotations

import fcntl
import os

from atoll.base import errors, files
from atoll.linux import process
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup

_WAIT_S = 10.0


def delete(run: str, *, force: bool = False, held: int = -1) -> None:
    """Remove a stopped container's run state and cgroup; with `force`, kill it first and accept a half-made one.

    Raises NotFound (not with `force`), FailedPrecondition if it is not stopped. A half-created container, whose
    record was never written, is removed with `force`; so is one that somebody else is just deleting: it is gone when
    this returns. `held` is what `hold` gave, and is closed here.
    """
    if held < 0:
        held = hold(run)
    if held < 0 and force:
        return
    try:
        record = _delete(run, force=force)
    finally:
        if held >= 0:
            os.close(held)
    if record is not None and record.hooks is not None and record.hooks.get("poststop"):
        _run_poststop(record)


def hold(run: str) -> int:
    """The lock of a container's end, a descriptor of the run directory; -1 if that is gone, perhaps while we waited.

    Who records an end holds it from before the record until `delete`: whoever then reads the record and clears away
    for the next life waits here, and nothing done for the old one meets the new one's directory. Raises OSError."""
    try:
        fd = os.open(run, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return -1
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        if os.fstat(fd).st_nlink:
            return fd
    except BaseException:
        os.close(fd)
        raise
    os.close(fd)
    return -1


def _delete(run: str, *, force: bool) -> state.State | None:
    """Under the lock. Returns what was recorded; None for a container that was half made."""
    try:
        record = state.read(run)
    except (errors.NotFound, errors.Corrupt):
        if not force:
            raise
        _remove_half_made(run)
        return None
    pidfd = state.open_init(record)
    try:
        if pidfd is not None:
            if not force:
                status = state.status_of(run, record)
                raise errors.FailedPrecondition(
                    f"cannot delete container {record.id}: it is {status}", hint="stop it first, or delete by force"
                )
            process.pidfd_send_signal(pidfd, process.SIGKILL)
            _wait(pidfd)
    finally:
        if pidfd is not None:
            os.close(pidfd)
    if record.cgroup is not None:
        cgroup = Cgroup.from_json(record.cgroup)
        cgroup.kill()  # without a pid namespace of its own, others may have outlived the init
        cgroup.delete()
    if record.intel_rdt is not None:
        from atoll.runtime import resctrl

        resctrl.remove(record.intel_rdt)
    files.remove_tree(run)
    return record


def _remove_half_made(run: str) -> None:
    """What a creator left that was killed before it wrote the record: its init ends by itself when it notices, and
    nothing else can be in the cgroup, which is removed without killing anybody. What another runtime was making
    notices nothing."""
    try:
        cgroup = state.noted_cgroup(run)
    except errors.Corrupt:
        cgroup = None
    if cgroup is not None:
        if os.path.exists(f"{run}/{state.FOREIGN}"):
            cgroup.present().kill()
        cgroup.delete()
    files.remove_tree(run)


def _run_poststop(record: state.State) -> None:
    """A failure ends nothing (runtime.md, step 13): each is a warning, written where a person may see it."""
    import sys

    from atoll.runtime import hooks

    found, document = hooks.recorded(record, "poststop"), hooks.of_record(record, state.STOPPED)
    for error in hooks.run_all("poststop", found, document):
        if sys.stderr is not None:
            sys.stderr.write(f"warning: {error}\n")


def _wait(pidfd: int) -> None:
    import select

    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if not poller.poll(_WAIT_S * 1000):
        raise errors.Timeout(f"the container's init did not end within {_WAIT_S:.0f} s of SIGKILL")
