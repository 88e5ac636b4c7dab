"""`atoll audit`: this host, its images and containers against a benchmark; `atoll audit limits` is beside."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="audit",
    usage="audit --cis [OPTIONS]",
    help="Score this host, its images and containers by the CIS Docker Benchmark's sections that apply.\n"
    "The exit code is 1 if there is a warning.",
    flags=(
        Flag(name="cis", help="By the CIS Docker Benchmark: sections 1, 4, 5 and 6"),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli import display
    from atoll.cli.wiring import open_engine
    from atoll.engine.audit.cis import PASS, WARN, score

    if not given.on("cis"):
        raise UsageError("which audit? --cis, or 'atoll audit limits'", "audit")
    results = score(open_engine())
    rows = [
        {"Section": one.section, "Outcome": one.outcome, "Title": one.title, "Details": ", ".join(one.details)}
        for one in results
    ]
    style = given.text("format")
    sys.stdout.write(display.listed(style, rows, ("Section", "Outcome", "Title", "Details"), {}))
    if style in (None, "", "table"):
        passed = sum([one.outcome == PASS for one in results])
        sys.stdout.write(f"{passed} of {len(results)} passed\n")
    return 1 if any(one.outcome == WARN for one in results) else 0
