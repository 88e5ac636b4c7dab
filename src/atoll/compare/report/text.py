"""The terminal's table: a section a block, a row a thing, a column a rung; below it what does not work here, and why.

Holds: `render`.
"""

from __future__ import annotations

from atoll.compare.report import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.values import Comparison


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
        lines += [f"  {titles} ({names}): {reason}" for titles, names, reason in lacking]
    return lines


def gaps(found: Comparison) -> list[tuple[str, str, str]]:
    """What could not be found: the rows' titles, the rungs, and why; what has one reason is one entry."""
    known: dict[tuple[str, str], list[str]] = {}
    for one in found.shown:
        for row in found.rows:
            cell = row.cell(one.name)
            if not cell.known and cell.reason:
                known.setdefault((one.name, cell.reason), []).append(row.title)
    joined: dict[tuple[str, str], list[str]] = {}
    for (name, reason), titles in known.items():
        joined.setdefault(("; ".join(titles), reason), []).append(name)
    return [(titles, ", ".join(names), reason) for (titles, reason), names in joined.items()]
