"""What a monitor writes down: who it is, and how its container or exec session ended.

Holds: `Exit` and its file `<bundle>/exit.json`, the monitor's own record `<run>/monitor.json`, exec records. Does not
hold: the container's state (`runtime/state.py`).
Every file is replaced as a whole. Times are RFC 3339 UTC with nanoseconds, as in the runtime's record.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files, jsontext
from atoll.base.value import Value, fields
from atoll.linux import process
from atoll.monitor.requests import EventPlan, HealthPlan, LogPlan
from atoll.runtime import state
from atoll.spec.codec import dump, flag, int64, list_of, one_of, parse, record, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Self

EXIT_FILE = "exit.json"
MONITOR_FILE = "monitor.json"
STARTED_FILE = "started"

OUT_OF_MEMORY = "out of memory"
LOST_CODE = 255


CREATE, EXEC = "create", "exec"


class Charge(Value):
    """A container or exec session in a monitor's charge; written down, all that another needs to replace it."""

    what: str
    id: str
    run: str
    bundle: str = ""
    pid: int = 0
    terminal: bool = False
    stdin: bool = False
    stdin_stays: bool = False
    keep_unstarted: bool = False
    detached: bool = False
    log: LogPlan = LogPlan(driver="none")
    on_exit: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    health: HealthPlan | None = None
    events: EventPlan | None = None
    command: tuple[str, ...] = ()
    WIRE = {
        "what": one_of(CREATE, EXEC),
        "id": text,
        "run": text,
        "bundle": text,
        "pid": int64,
        "terminal": flag,
        "stdin": flag,
        "stdin_stays": flag,
        "keep_unstarted": flag,
        "detached": flag,
        "log": record(LogPlan),
        "on_exit": list_of(text),
        "env": list_of(text),
        "health": record(HealthPlan),
        "events": record(EventPlan),
        "command": list_of(text),
    }


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


class Monitor(Value):
    """Who keeps a container company, and what: all that another needs to replace it."""

    pid: int
    start_time: int
    boot_id: str
    version: int
    charge: Charge

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
    return boot_id == state.boot_id() and lives(pid, start_time)


def lives(pid: int, start_time: int) -> bool:
    """The same of a process that is known to be of this boot: by one look at proc_pid_stat(5), for lists of many."""
    try:
        line = files.read_bytes(f"/proc/{pid}/stat")
    except (FileNotFoundError, ProcessLookupError):
        return False
    words = line[line.rindex(b")") + 2 :].split()
    return words[0] not in b"ZX" and int(words[19]) == start_time


def forsaken(run: str) -> bool:
    """Whether the run directory has gone: removed by hand, with the tree that it was in, or by a `delete` that found
    the container half made."""
    try:
        os.stat(run)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return False


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
    path = f"{run}/{MONITOR_FILE}"
    try:
        found = jsontext.loads(files.read_bytes(path))
        charge = parse(Charge, found.pop("charge"), "charge")
        return Monitor(charge=charge, **{name: found[name] for name in fields(Monitor) if name != "charge"})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (ValueError, TypeError, KeyError, AttributeError, errors.InvalidArgument) as error:
        raise errors.Corrupt(f"damaged record {path}: {error}") from None


def write_monitor(charge: Charge, *, pid: int, version: int) -> None:
    """Record the process `pid` as the monitor of a container. Raises OSError."""
    found = {
        "pid": pid,
        "start_time": process.start_time(pid),
        "boot_id": state.boot_id(),
        "version": version,
        "charge": dump(charge),
    }
    files.write_atomic(f"{charge.run}/{MONITOR_FILE}", jsontext.dumps(found))


def write_started(run: str) -> None:
    """Record this moment as that in which the program was executed, by the date and by the clock that nobody sets; a
    full run root costs the moment, no more."""
    try:
        files.write_atomic(f"{run}/{STARTED_FILE}", f"{state.now()} {time.clock_gettime_ns(time.CLOCK_BOOTTIME)}")
    except OSError:
        pass


def read_started(run: str) -> str | None:
    """When the program was executed; None if it was not, or the container has gone."""
    words = _started(run)
    return words[0] if words else None


def age_ns(run: str) -> int | None:
    """How long ago the program was executed, whatever happened to the date since; None if it was not."""
    words = _started(run)
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME) - int(words[1]) if len(words) == 2 else None


def _started(run: str) -> list[str]:
    try:
        return files.read_text(f"{run}/{STARTED_FILE}").split()
    except OSError:
        return []


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


def of_status(
    status: int, *, started: str | None, oom: bool = False, error: str | None = None, inside: int | None = None
) -> Exit:
    """The record for a wait status as waitpid(2) gives it; `inside` is the signal of whom the process stood for."""
    code = os.waitstatus_to_exitcode(status)
    signal = -code if code < 0 else inside if inside is not None and code == 128 + inside else None
    if oom and signal == process.SIGKILL and error is None:
        error = OUT_OF_MEMORY
    return Exit(
        code=128 + signal if signal else code, signal=signal, oom=oom, at=state.now(), started=started, error=error
    )


def lost(reason: str, *, started: str | None = None) -> Exit:
    """The record for a process whose exit status nobody has: 255 and the reason."""
    return Exit(code=LOST_CODE, at=state.now(), started=started, error=reason)
