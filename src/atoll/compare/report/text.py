"""The terminal's table: a section a block, a row a thing, a column a rung; below it what does not work here, and why.

Holds: `render`.
"""

from __future__ import annotations

from atoll.compare.report import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.values import Comparison, Row


def render(found: Comparison, *, spreads: bool = False) -> str:
    """The whole of it. Texts that came from inside are made of letters and digits (`wall/`), or shown as escapes by
    the caller."""
    lines = [f"{key}: {value}" for key, value in found.machine.items()]
    names = [one.name for one in found.shown]
    section = ""
    for row in found.rows:
        if row.section != section:
            section = row.section
            lines += ["", _line(section.upper(), names)]
        lines.append(_line(row.title, [numbers.cell(row.cell(name), row) for name in names]))
        if spreads:
            lines.append(_line("", [numbers.spread(row.cell(name), row) for name in names]))
    lines += _reasons(found)
    return "\n".join(line.rstrip() for line in lines) + "\n"


_FIRST, _WIDE = 44, 13


def _line(first: str, cells: list[str]) -> str:
    return f"{first:<{_FIRST}}" + "".join([f" {one:>{max(_WIDE - 1, len(one))}}" for one in cells])


def _reasons(found: Comparison) -> list[str]:
    lines = []
    if found.missing:
        lines += ["", "Not on this host:"]
        lines += [f"  {one.title}: {one.reason}" for one in found.missing]
    lacking = list(gaps(found))
    if lacking:
        lines += ["", "Not measured:"]
        lines += [f"  {row.title}, {name}: {reason}" for row, name, reason in lacking]
    return lines


def gaps(found: Comparison) -> list[tuple[Row, str, str]]:
    """Cells without a value, and why."""
    names = [one.name for one in found.shown]
    return [
        (row, name, row.cell(name).reason or "no reason was given")
        for row in found.rows
        for name in names
        if not row.cell(name).known
    ]
