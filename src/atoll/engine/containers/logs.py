"""logs: what a container has written, wherever its log driver keeps it.

Holds: `logs` (where, and whether more may come), `entries`, `output`, `attributes`. Does not hold: reading the files
(`monitor/log_reading.py`) or the journal (`journal_log.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.plan import log_name
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import is_up, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from atoll.engine.engine import Engine
    from atoll.monitor.log_reading import Entry


def logs(engine: Engine, name: str) -> tuple[str, Callable[[], bool]]:
    """The path of the newest log file ("" for one that keeps none), and a function that tells whether more may come.

    Raises NotFound, FailedPrecondition when nothing is kept.
    """
    row = engine.store.container(name)
    driver = _driver(engine, row.id)

    def running() -> bool:
        try:
            status = state_of(engine, engine.store.container(row.id).id)
        except errors.NotFound:
            return False
        return is_up(status) or status.status == "restarting"

    return f"{engine.paths.container(row.id)}/{log_name(row.id, driver)}" if driver != "journald" else "", running


def _driver(engine: Engine, name: str) -> str:
    driver = Record.from_text(engine.store.container(name).record).log_driver
    if driver == "none":
        raise errors.FailedPrecondition("configured logging driver does not support reading")
    return driver


def entries(
    engine: Engine,
    name: str,
    *,
    follow: bool = False,
    since: int | None = None,
    until: int | None = None,
    tail: int | None = None,
) -> Iterator[Entry]:
    """The entries of a container's log, oldest first; arguments as in `log_reading.read_log`. Raises NotFound,
    FailedPrecondition, Unsupported where the journal cannot be read."""
    path, running = logs(engine, name)
    driver = _driver(engine, name)
    if driver == "journald":
        from atoll.engine.containers import journal_log

        identity = engine.store.container(name).id
        return journal_log.read(identity, follow=follow, since=since, until=until, tail=tail, running=running)
    from atoll.monitor.log_reading import read_log

    return read_log(path, follow=follow, since=since, until=until, tail=tail, running=running, shape=driver)


def output(engine: Engine, name: str, *, tail: int | None = None) -> Iterator[tuple[str, bytes]]:
    """All that was written until now, as (stream, output) in pieces of many entries. Raises as `entries`."""
    path, _ = logs(engine, name)
    driver = _driver(engine, name)
    if driver == "journald":
        return ((entry.stream, entry.data) for entry in entries(engine, name, tail=tail))
    from atoll.monitor.log_reading import read_output

    return read_output(path, tail=tail, shape=driver)


def attributes(engine: Engine, name: str) -> tuple[tuple[str, str], ...]:
    """What `logs --details` shows: those labels and variables of the container that `--log-opt labels=` and `env=`
    name. Raises NotFound."""
    from atoll.engine.containers.log_options import attributes as chosen

    record = Record.from_text(engine.store.container(name).record)
    return chosen(dict(record.log_opts), dict(record.labels), record.env)
