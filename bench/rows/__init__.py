"""The questions, one file each; a row is a function (World, Options) that yields results.

To add one: write `bench/rows/NAME.py` with `TITLE`, `PEERS` and `measure(world, options)`, and name it below.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import ModuleType

from bench.rows import (
    archives,
    breakdown,
    growth,
    gvisor,
    lifecycle,
    logs,
    machines,
    memory,
    networks,
    networks_rootless,
    pull,
    pull_memory,
    pull_more,
    run_true,
    runtime,
    sdk,
    series,
)


def all_rows() -> Iterator[tuple[str, ModuleType]]:
    """(name, module) in the order they are run."""
    containers = (run_true, breakdown, lifecycle, series, sdk, memory, logs)
    for module in (
        *containers,
        pull,
        pull_more,
        archives,
        pull_memory,
        runtime,
        networks,
        networks_rootless,
        machines,
        gvisor,
        growth,
    ):
        yield module.__name__.rsplit(".", 1)[1], module
