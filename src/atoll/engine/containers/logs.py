"""logs: where a container's output is."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.plan import log_name
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import is_up, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine


def logs(engine: Engine, name: str) -> tuple[str, Callable[[], bool]]:
    """The path of the newest log file, and a function that tells whether more may come.

    Raises NotFound, FailedPrecondition when nothing is kept.
    """
    row = engine.store.container(name)
    if Record.from_text(row.record).log_driver == "none":
        raise errors.FailedPrecondition("configured logging driver does not support reading")

    def running() -> bool:
        try:
            status = state_of(engine, engine.store.container(row.id).id)
        except errors.NotFound:
            return False
        return is_up(status) or status.status == "restarting"

    return f"{engine.paths.container(row.id)}/{log_name(row.id)}", running


def attributes(engine: Engine, name: str) -> tuple[tuple[str, str], ...]:
    """What `logs --details` shows: those labels and variables of the container that `--log-opt labels=` and `env=`
    name. Raises NotFound."""
    record = Record.from_text(engine.store.container(name).record)
    options = dict(getattr(record, "log_opts", ()))
    variables = tuple([(key, value) for key, equals, value in [one.partition("=") for one in record.env] if equals])
    found = []
    for option, known in (("labels", dict(record.labels)), ("env", dict(variables))):
        wanted = [key.strip() for key in options.get(option, "").split(",")]
        found += [(key, known[key]) for key in wanted if key in known]
    return tuple(sorted(found))
