"""Another program's command: a fork that makes ready, executes it, and is waited for; its words as our errors.

Holds: `Call`, `run` (a command that comes to an end), `stay` (one that stays as long as what it has made). Does not
hold: which commands there are (`foreign.py`).

    clerk                     the fork
    1 fork ─────────────────▶ 2 `before`: namespaces, mounts
      `meanwhile`             3 execve, when the clerk says so
    4 to its end
    5 read its log, or the error of the fork
"""

from __future__ import annotations

import os
import select
import stat
import time

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.linux import mount, process
from atoll.runtime.streams import is_null

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

PATIENCE = 120.0
"""How long a command may take; it is killed then."""
LOG_MAX = 1 << 16
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Call(Value):
    """`line` is to be executed, with a log at `log`. `before` is done in the fork first; `meanwhile` here, with its
    pid, and the program begins after both. What `stays` outlives us."""

    line: tuple[str, ...]
    log: str
    stdio: tuple[int, int, int] | None = None
    before: Callable[[], None] | None = None
    meanwhile: Callable[[int], None] | None = None
    stays: bool = False


def run(call: Call) -> None:
    """Steps 1 to 5. Raises what went wrong."""
    deadline = time.monotonic() + PATIENCE
    pid, pidfd = _begin(call, deadline)
    try:
        code = _end_of(pid, pidfd, call, deadline)
    finally:
        os.close(pidfd)
    if code:
        raise _said(call, code)


def stay(call: Call, pid_file: str) -> tuple[int, int]:
    """Steps 1 to 3, and until the program has written its pid to `pid_file`: its pid and pidfd. Raises what went
    wrong."""
    os.mkfifo(pid_file, 0o600)
    told = os.open(pid_file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        deadline = time.monotonic() + PATIENCE
        pid, pidfd = _begin(call, deadline)
        poller = select.poll()
        poller.register(told, select.POLLIN)
        poller.register(pidfd, select.POLLIN)
        poller.poll(PATIENCE * 1000)
        try:
            if os.read(told, 16):
                return pid, pidfd
        except BlockingIOError:  # it is about to, and its time is up
            pass
        code = _end_of(pid, pidfd, call, deadline)
        os.close(pidfd)
        raise _said(call, code)
    finally:
        os.close(told)


def _begin(call: Call, deadline: float) -> tuple[int, int]:
    """Steps 1 to 3: the process that executes the line, and its pidfd. Raises what went wrong; then there is no
    process."""
    files.unlink_if_present(call.log)
    heard, said = os.pipe2(os.O_CLOEXEC)
    asked, go = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(go)
        _become(call, asked, said)
    os.close(said)
    os.close(asked)
    pidfd, failure = os.pidfd_open(pid), None
    try:
        if call.meanwhile is not None:
            call.meanwhile(pid)
        os.write(go, b"g")
    except (OSError, errors.AtollError) as error:  # perhaps because the fork has ended, and says why
        failure = error
    finally:
        os.close(go)
    word = _until_closed(heard, deadline)
    os.close(heard)
    if not word and failure is None:
        return pid, pidfd
    try:
        _end_of(pid, pidfd, call, deadline)
    finally:
        os.close(pidfd)
    raise errors.from_json(jsontext.loads(word)) if word else failure or errors.Internal("nothing was executed")


def _end_of(pid: int, pidfd: int, call: Call, deadline: float) -> int:
    """Its exit code, once it has ended; it is killed when its time is up. Raises Timeout."""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        process.pidfd_send_signal(pidfd, process.SIGKILL)
        os.waitpid(pid, 0)
        raise errors.Timeout(f"{call.line[0]} did not answer within {PATIENCE:.0f} s")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _own_null() -> int:
    """A null device that is not the host's: runtimes give the streams that they are given to the container's user
    (crun), or to `nobody` (runsc), whatever they are, and so would the /dev/null that all of the host writes to. Who
    may make no device may not change the owner of the host's either. Raises OSError."""
    try:
        folder = mount.new_filesystem("tmpfs", (("size", "4k"),))
        try:
            os.mknod("null", stat.S_IFCHR | 0o600, os.makedev(1, 3), dir_fd=folder)
            return os.open("null", os.O_RDWR | os.O_CLOEXEC, dir_fd=folder)
        finally:
            os.close(folder)
    except PermissionError:
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)


def _until_closed(fd: int, deadline: float) -> bytes:
    """What the fork says before it executes; b"" when it did."""
    found = b""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    while poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
        data = os.read(fd, 1 << 16)
        if not data:
            break
        found += data
    return found


def _become(call: Call, asked: int, said: int) -> None:
    """Steps 2 and 3, in the fork. Does not return."""
    line = call.line
    try:
        from _signal import SIG_DFL, SIGPIPE, signal  # type: ignore[import-not-found]

        for number in (*range(1, 9), *range(10, 19), *range(20, 32)):
            signal(number, SIG_DFL)
        signal(SIGPIPE, SIG_DFL)
        if not call.stays:  # nobody waits for it when the clerk was killed
            process.prctl(process.PR_SET_PDEATHSIG, process.SIGKILL)
        if call.before is not None:
            call.before()
        null = _own_null()
        # Lifted first: one of the three may be what another is about to be put over.
        lifted = [os.dup(null if is_null(os.fstat(fd)) else fd) for fd in (call.stdio or (null, null, null))]
        for number, fd in enumerate(lifted):
            os.dup2(fd, number, inheritable=True)
        if not os.read(asked, 1):
            os._exit(1)
        os.execvpe(line[0], line, {"PATH": PATH})
    except BaseException as error:  # noqa: BLE001 - nothing may return into the parent's code
        known = error if isinstance(error, errors.AtollError) else None
        if isinstance(error, OSError):
            known = errors.from_os_error(error, f"run {line[0]}")
        os.write(said, jsontext.dumps((known or errors.Internal(repr(error))).to_json()).encode())
    finally:
        os._exit(1)


def _said(call: Call, code: int) -> errors.AtollError:
    """The program's own words as our error."""
    text = f"exit status {code}"
    try:
        with open(call.log, "rb") as stream:
            lines = stream.read(LOG_MAX).splitlines()
        for one in reversed(lines):
            found = jsontext.loads(one)
            if isinstance(found, dict) and found.get("level") in ("error", "fatal", None) and "msg" in found:
                text = str(found["msg"])
                break
    except (OSError, ValueError, KeyError, TypeError):
        pass
    low = text.lower()
    message = f"{os.path.basename(call.line[0])}: {text}"
    program = "exec" in low or "failed to load" in low or "creating process" in low
    if "executable file not found" in low or (program and "no such file or directory" in low):
        return errors.CommandNotFound(message)
    if program and ("permission denied" in low or "not permitted" in low or "is a directory" in low):
        return errors.CommandNotExecutable(message)
    return errors.FailedPrecondition(message)
