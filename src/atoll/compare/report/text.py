"""The terminal's table: a section a block, a row a thing, a column a rung; below it what does not work here, and why.

Holds: `render`.
"""

from __future__ import annotations

from atoll.compare.report import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from atoll.compare.values import Comparison, Row


_FIRST, _WIDE = 46, 13
WIDTH = 150


def render(found: Comparison, *, spreads: bool = False, width: int = WIDTH) -> str:
    """The whole of it, in as many columns as fit into the width, and then the others. The caller makes what came from
    inside harmless to show."""
    lines = [f"{key}: {value}" for key, value in found.machine.items()]
    names = [one.name for one in found.shown]
    many = max(1, (width - _FIRST) // _WIDE)
    for start in range(0, len(names), many):
        lines += _block(found, names[start : start + many], spreads=spreads)
    lines += _reasons(found)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _block(found: Comparison, names: list[str], *, spreads: bool) -> list[str]:
    lines, section = [], ""
    for row in found.rows:
        if row.section != section:
            section = row.section
            lines += ["", _line(section.upper(), names)]
        lines.append(_line(row.title, [numbers.cell(row.cell(name), row) for name in names]))
        if spreads and any(len(row.cell(name).samples) > 1 for name in names):
            lines.append(_line("  from", [_end(row, name, min) for name in names]))
            lines.append(_line("  to", [_end(row, name, max) for name in names]))
    return lines


def _end(row: Row, name: str, which: Callable[[Iterable[float]], float]) -> str:
    samples = row.cell(name).samples
    return numbers.shown(which(samples), row.unit) if len(samples) > 1 else ""


def _line(first: str, cells: list[str]) -> str:
    return f"{first:<{_FIRST}}" + "".join([f" {one:>{_WIDE - 1}}" for one in cells])


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
