"""What a monitor writes down: who it is, and how its container or exec session ended.

Holds: `Exit` and its file `<bundle>/exit.json`, the monitor's own record `<run>/monitor.json`, exec records. Does not
hold: the container's state (`runtime/state.py`).
Every file is replaced as a whole. Times are RFC 3339 UTC with nanoseconds, as in the runtime's record.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value, fields
from atoll.linux import process
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

EXIT_FILE = "exit.json"
MONITOR_FILE = "monitor.json"

OUT_OF_MEMORY = "out of memory"
LOST_CODE = 255


class Record(Value):
    """A record kept as one JSON object in a file of its own."""

    def to_json(self) -> dict[str, Any]:
        """The record as it is written."""
        return {name: getattr(self, name) for name in fields(self)}

    @classmethod
    def read(cls, path: str) -> Self | None:
        """The record in a file; None if there is none. Keys it does not know are a newer version's and passed
        over. Raises Corrupt."""
        try:
            found = jsontext.loads(files.read_bytes(path))
            return cls(**{name: found[name] for name in fields(cls) if name in found})
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError) as error:
            raise errors.Corrupt(f"damaged record {path}: {error}") from None


class Exit(Record):
    """How a process ended. `code` as a shell has it (128 + signal); `error` says why when Atoll knows better;
    `log_dropped` counts bytes of output that the log had no room for."""

    code: int
    signal: int | None = None
    oom: bool = False
    at: str = ""
    started: str | None = None
    error: str | None = None
    log_dropped: int = 0


class Monitor(Record):
    """Who keeps a container company, in its run directory: what another needs to replace it. `started` is when the
    program was exec'd; `on_exit` and `env` are the clean-up command."""

    pid: int
    start_time: int
    boot_id: str
    bundle: str
    version: int
    started: str | None = None
    on_exit: Any = ()
    env: Any = ()

    def alive(self) -> bool:
        """Whether that very process still runs."""
        return alive(self.pid, self.start_time, self.boot_id)


class Session(Record):
    """One exec session, `<run>/exec/<id>.json`: running while `exit` is None and its monitor lives."""

    id: str
    pid: int | None = None
    monitor: int = 0
    monitor_start_time: int = 0
    boot_id: str = ""
    started: str | None = None
    exit: Any = None


def alive(pid: int, start_time: int, boot_id: str) -> bool:
    """Whether the process of that pid, start time and boot still runs (a reused pid or a reboot is another)."""
    if boot_id != state.boot_id():
        return False
    try:
        return process.start_time(pid) == start_time and _state(pid) not in b"ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _state(pid: int) -> bytes:
    line = files.read_bytes(f"/proc/{pid}/stat")
    after = line.rindex(b")") + 2
    return line[after : after + 1]


def read_exit(bundle: str) -> Exit | None:
    """How the container of that bundle ended last; None if it has not. Raises Corrupt."""
    return Exit.read(f"{bundle}/{EXIT_FILE}")


def write_exit(bundle: str, ended: Exit) -> None:
    """Record the end. Raises OSError."""
    files.write_atomic(f"{bundle}/{EXIT_FILE}", jsontext.dumps(ended.to_json()))


def forget_exit(bundle: str) -> None:
    """Remove the record of an earlier run. Raises OSError."""
    files.unlink_if_present(f"{bundle}/{EXIT_FILE}")


def read_monitor(run: str) -> Monitor | None:
    """The monitor's record; None if there is none. Raises Corrupt."""
    return Monitor.read(f"{run}/{MONITOR_FILE}")


def write_monitor(run: str, monitor: Monitor) -> None:
    """Record a monitor of `run`. Raises OSError."""
    files.write_atomic(f"{run}/{MONITOR_FILE}", jsontext.dumps(monitor.to_json()))


def session_path(run: str, session_id: str) -> str:
    """Where an exec session is recorded."""
    return f"{run}/exec/{session_id}.json"


def write_session(run: str, session: Session) -> None:
    """Record an exec session. A container that ended meanwhile has taken its run directory along: that is fine.
    Raises OSError otherwise."""
    try:
        if not os.path.isdir(f"{run}/exec"):
            os.mkdir(f"{run}/exec", 0o700)
        files.write_atomic(session_path(run, session.id), jsontext.dumps(session.to_json()))
    except FileNotFoundError:
        pass
    except FileExistsError:  # two sessions made the directory at once
        write_session(run, session)


def read_session(run: str, session_id: str) -> Session | None:
    """An exec session's record; None if there is none. Raises Corrupt."""
    return Session.read(session_path(run, session_id))


def of_status(status: int, *, started: str | None, oom: bool = False, error: str | None = None) -> Exit:
    """The record for a wait status as waitpid(2) gives it."""
    code = os.waitstatus_to_exitcode(status)
    signal = -code if code < 0 else None
    if oom and signal == process.SIGKILL and error is None:
        error = OUT_OF_MEMORY
    return Exit(
        code=128 + signal if signal else code, signal=signal, oom=oom, at=state.now(), started=started, error=error
    )


def lost(reason: str, *, started: str | None = None) -> Exit:
    """The record for a process whose exit status nobody has: 255 and the reason."""
    return Exit(code=LOST_CODE, at=state.now(), started=started, error=reason)
