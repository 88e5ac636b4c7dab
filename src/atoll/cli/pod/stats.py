"""`atoll pod stats`: what the containers of pods use, again and again."""

from __future__ import annotations

from atoll.base import ids
from atoll.cli.options import TEXT, Command, Flag
from atoll.cli.pod.chosen import ALL, LATEST, pods

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.containers.stats import Sample
    from atoll.engine.engine import Engine

COMMAND = Command(
    name="pod stats",
    usage="pod stats [OPTIONS] [POD...]",
    help="Show what the containers of pods use: CPU, memory, network, disk, processes",
    flags=(
        ALL,
        Flag(name="format", kind=TEXT, help="json, table TEMPLATE, or a Go template"),
        LATEST,
        Flag(name="no-stream", help="Only once"),
        Flag(name="no-trunc", help="Do not cut anything"),
    ),
    most=None,
)
HEADINGS = {"Pod": "POD", "CID": "CID", "Name": "NAME", "CPU": "CPU %", "MemUsage": "MEM USAGE/ LIMIT",
            "Mem": "MEM %", "NetIO": "NET IO", "BlockIO": "BLOCK IO", "PIDS": "PIDS"}  # fmt: skip

Look = dict[str, tuple[str, "Sample"]]


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.watching import watch
    from atoll.cli.wiring import open_engine

    engine = open_engine()
    return watch(given, lambda: _look(engine, given), lambda before, now: _shown(before, now, given))


def _look(engine: Engine, given: Given) -> Look:
    from atoll.engine.pods import rows
    from atoll.engine.pods.look import samples

    meant = pods(engine, given) if given.args or given.on("latest") else [row.id for row in rows.every(engine.store)]
    return {sample.id: (pod, sample) for name in meant for pod, sample in samples(engine, name)}


def _shown(before: Look, now: Look, given: Given) -> str:
    from atoll.cli import display
    from atoll.cli.stats import fields as fields_of
    from atoll.engine.containers.stats import between

    rows: list[dict[str, Any]] = []
    for container, (pod, sample) in now.items():
        earlier = before[container][1] if container in before else None
        shown = fields_of(between(earlier, sample), sample.name, whole=given.on("no-trunc"))
        rows.append(
            {
                "Pod": pod if given.on("no-trunc") else ids.short_id(pod),
                "CID": shown["ID"],
                "Name": shown["Name"],
                "CPU": shown["CPUPerc"],
                "MemUsage": shown["MemUsage"],
                "Mem": shown["MemPerc"],
                "NetIO": shown["NetIO"],
                "BlockIO": shown["BlockIO"],
                "PIDS": shown["PIDs"],
            }
        )
    return display.listed(given.text("format"), rows, tuple(HEADINGS), HEADINGS)
