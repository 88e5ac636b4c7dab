"""Markdown: all of a comparison, or the short table that the README shows between two marks.

Holds: `render`, `short`, `between_marks`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.compare.report import numbers
from atoll.compare.report.text import gaps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.compare.values import Comparison, Row

BEGIN, END = "<!-- compare: start -->", "<!-- compare: end -->"
_SHORT = (
    "start",
    "answer",
    "stop",
    "memory",
    "disk",
    "fit",
    "system call",
    "fork",
    "file metadata",
    "sequential write",
    "loopback throughput",
    "cpu",
    "noise processor",
    "survival helper",
    "kernel",
    "calls",
    "host files",
    "capabilities",
    "open",
)
"""The rows of the short table, as far as they were looked at."""


def render(found: Comparison) -> str:
    """A document: the machine, a table a section with medians and spreads, how each row was made, what is missing."""
    lines = ["# What each level of isolation costs and keeps out", ""]
    lines += [f"- {key}: {_plain(value)}" for key, value in {**found.machine, **_options(found)}.items()]
    section = ""
    rows: list[Row] = []
    for row in (*found.rows, None):
        if row is None or row.section != section:
            if rows:
                lines += ["", f"## {section.capitalize()}", "", *_table(found, rows, spreads=True), "", *_how(rows)]
            section, rows = (row.section, []) if row is not None else ("", [])
        if row is not None:
            rows.append(row)
    return "\n".join([*lines, *_missing(found)]) + "\n"


def _options(found: Comparison) -> dict[str, str]:
    return {**found.options, "taken": f"{found.seconds:.0f} s"}


def _plain(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")


def _table(found: Comparison, rows: Sequence[Row], *, spreads: bool) -> list[str]:
    shown = found.shown
    lines = ["| | " + " | ".join([_plain(one.title) for one in shown]) + " |"]
    lines.append("|---|" + "--:|" * len(shown))
    for row in rows:
        cells = []
        for one in shown:
            cell = row.cell(one.name)
            text, around = _plain(numbers.cell(cell, row)), numbers.spread(cell, row)
            cells.append(f"{text} <sub>{around}</sub>" if spreads and around else text)
        lines.append(f"| {_plain(row.title)} | " + " | ".join(cells) + " |")
    return lines


def _how(rows: Sequence[Row]) -> list[str]:
    lines: list[str] = []
    for row in rows:
        if row.how and row.how != (lines[-1].partition(": ")[2] if lines else ""):
            lines.append(f"- *{_plain(row.title)}*: {_plain(row.how)}")
    return lines


def _missing(found: Comparison) -> list[str]:
    lines = []
    if found.missing:
        lines += ["", "## Not on this host", ""]
        lines += [f"- {_plain(one.title)}: {_plain(one.reason)}" for one in found.missing]
    lacking = gaps(found)
    if lacking:
        lines += ["", "## Not measured", ""]
        lines += [f"- {_plain(titles)} ({names}): {_plain(reason)}" for titles, names, reason in lacking]
    return lines


def short(found: Comparison) -> str:
    """The rows that tell most, and the machine in a sentence."""
    rows = [row for key in _SHORT if (row := found.row(key)) is not None]
    machine = found.machine
    samples = found.options.get("samples", "?")
    words = (
        f"Medians of {samples} samples in turn, on {_plain(machine.get('processors', '?'))}, "
        f"{machine.get('memory', '?')}, kernel {machine.get('kernel', '?')}, {machine.get('system', '?')}, with a "
        f"load of {machine.get('load', '?')} at the end, image {_plain(found.options.get('image', '?'))}, "
        f"{machine.get('when', '?')[:10]}."
    )
    lines = [*_table(found, rows, spreads=False), "", words]
    if found.missing:
        lines.append(
            "Not on that host: " + "; ".join([f"{one.title} ({_plain(one.reason)})" for one in found.missing]) + "."
        )
    return "\n".join(lines)


def between_marks(document: str, found: Comparison) -> str:
    """The document with the short table between its marks. Raises InvalidArgument where it has none."""
    before, mark, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not mark or not end:
        raise errors.InvalidArgument(f"there are no marks {BEGIN} and {END} in it")
    return f"{before}{BEGIN}\n{short(found)}\n{END}{after}"
