"""`atoll stats`: what containers use, again and again."""

from __future__ import annotations

from atoll.base import errors, ids, units
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.containers.stats import Sample, Usage
    from atoll.engine.engine import Engine

COMMAND = Command(
    name="stats",
    usage="stats [OPTIONS] [CONTAINER...]",
    help="Show what containers use: CPU, memory, network, disk, processes",
    flags=(
        Flag(name="all", short="a", help="Also those that do not run"),
        Flag(name="format", kind=TEXT, help="json, table TEMPLATE, or a Go template"),
        Flag(name="no-stream", help="Only once"),
        Flag(name="no-trunc", help="Do not cut anything"),
    ),
    most=None,
)
HEADINGS = {
    "Container": "CONTAINER ID",
    "ID": "CONTAINER ID",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
}
_COLUMNS = ("ID", "Name", "CPUPerc", "MemUsage", "MemPerc", "NetIO", "BlockIO", "PIDs")


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.watching import watch
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.stats import sample

    engine = open_engine()
    for name in given.args:
        sample(engine, name)  # one that is not there is told at once
    return watch(given, lambda: _look(engine, given), lambda before, now: _shown(before, now, given))


def _look(engine: Engine, given: Given) -> dict[str, Sample]:
    from atoll.engine.containers.list import list_containers
    from atoll.engine.containers.stats import sample

    names = given.args or [view.id for view in list_containers(engine, all=given.on("all"))]
    found: dict[str, Sample] = {}
    for name in names:
        try:
            one = sample(engine, name)
        except errors.NotFound:  # removed while we look
            continue
        if one.up or given.on("all") or given.args:
            found[name] = one
    return found


def _shown(before: dict[str, Sample], now: dict[str, Sample], given: Given) -> str:
    from atoll.cli import display
    from atoll.engine.containers.stats import between

    rows = [fields(between(before.get(name), one), name, whole=given.on("no-trunc")) for name, one in now.items()]
    return display.listed(given.text("format"), rows, _COLUMNS, HEADINGS)


def fields(used: Usage, name: str, *, whole: bool) -> dict[str, Any]:
    """What a template may show of one."""
    return {
        "Container": name,
        "ID": used.id if whole else ids.short_id(used.id),
        "Name": used.name,
        "CPUPerc": "--" if used.cpu is None else f"{used.cpu:.2f}%",
        "MemUsage": f"{_binary(used.memory)} / {_binary(used.limit)}",
        "MemPerc": "--" if used.memory_share is None else f"{used.memory_share:.2f}%",
        "NetIO": f"{_decimal(used.received)} / {_decimal(used.sent)}",
        "BlockIO": f"{_decimal(used.read)} / {_decimal(used.written)}",
        "PIDs": "--" if used.pids is None else str(used.pids),
    }


def _binary(size: int | None) -> str:
    return "--" if size is None else units.show_binary(size)


def _decimal(size: int | None) -> str:
    return "--" if size is None else units.show_size(size)
