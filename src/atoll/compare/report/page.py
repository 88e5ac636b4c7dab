"""One HTML page: tables, plots, method and raw data, with nothing from elsewhere and no script; it prints.

Holds: `render`.
"""

from __future__ import annotations

from html import escape

from atoll.base import jsontext
from atoll.compare.report import numbers, plots
from atoll.compare.report.text import gaps
from atoll.compare.values import NEITHER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.compare.values import Comparison, Row

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2733; --soft: #5b6875; --line: #d5dbe1; --bar: #7fa8c9; --dot: #1f4e79;
  --open: #a4262c; --shut: #2b6a3b; --paper: #ffffff; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ed; --soft: #9aa7b3; --line: #3a444e; --bar: #39698f;
  --dot: #a9cbe6; --open: #f0868b; --shut: #85c996; --paper: #14191e; } }
@media print { :root { --ink: #000; --soft: #444; --line: #bbb; --bar: #bbb; --dot: #000; --open: #000; --shut: #000;
  --paper: #fff; } h2 { break-after: avoid; } figure, tr { break-inside: avoid; } details > pre { display: none; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); max-width: 66rem;
  margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; border-bottom: 1px solid var(--line); }
dl { display: grid; grid-template-columns: max-content auto; gap: .1rem 1rem; } dt { color: var(--soft); }
dd { margin: 0; } .wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { border-bottom: 1px solid var(--line); padding: .25rem .5rem; text-align: right; vertical-align: top; }
th:first-child, td:first-child { text-align: left; } td small { display: block; color: var(--soft); }
.open { color: var(--open); font-weight: 600; } .shut { color: var(--shut); }
figure { margin: 1.2rem 0; } figcaption { font-weight: 600; } figcaption small, .scale { font-weight: 400;
  color: var(--soft); font-size: .8rem; margin: 0; }
svg { width: 100%; max-width: 45rem; height: auto; font: 12px system-ui, sans-serif; }
svg rect { fill: var(--bar); } svg circle { fill: var(--dot); fill-opacity: .55; } svg text { fill: var(--ink); }
svg .n { text-anchor: end; }
pre { font-size: .75rem; overflow-x: auto; max-height: 30rem; }
"""


def render(found: Comparison) -> str:
    """The page. Everything that came from inside is escaped."""
    parts = ["<!doctype html>", '<html lang="en"><head><meta charset="utf-8">']
    parts.append('<meta name="viewport" content="width=device-width, initial-scale=1">')
    parts.append(
        f"<title>atoll compare, {escape(found.machine.get('when', ''))}</title><style>{_STYLE}</style></head>"
    )
    parts.append("<body><h1>What each level of isolation costs and keeps out</h1>")
    facts = {**found.machine, **found.options, "taken": f"{found.seconds:.0f} s"}
    parts.append("<dl>" + "".join([f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items()]) + "</dl>")
    for section in dict.fromkeys([row.section for row in found.rows]):
        rows = [row for row in found.rows if row.section == section]
        parts.append(f"<h2>{escape(section.capitalize())}</h2>{_table(found, rows)}")
        parts += [_figure(found, row) for row in rows]
    parts += _method(found)
    raw = escape(jsontext.pretty(found.to_json()), quote=False)
    parts.append(f"<h2>Raw data</h2><details><summary>every sample, as JSON</summary><pre>{raw}</pre></details>")
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _table(found: Comparison, rows: Sequence[Row]) -> str:
    head = "".join([f"<th>{escape(one.title)}</th>" for one in found.shown])
    lines = [f'<div class="wide"><table><thead><tr><th></th>{head}</tr></thead><tbody>']
    for row in rows:
        cells = []
        for one in found.shown:
            cell = row.cell(one.name)
            mark = f' class="{cell.text}"' if cell.text in ("open", "shut") else ""
            hint = cell.note or cell.reason
            title = f' title="{escape(hint)}"' if hint else ""
            around = numbers.spread(cell, row)
            small = f"<small>{escape(around)}</small>" if around else ""
            cells.append(f"<td{mark}{title}>{escape(numbers.cell(cell, row))}{small}</td>")
        lines.append(f"<tr><td>{escape(row.title)}</td>{''.join(cells)}</tr>")
    return "".join([*lines, "</tbody></table></div>"])


def _figure(found: Comparison, row: Row) -> str:
    plot = "" if row.better == NEITHER else plots.bars(found, row)
    if not plot:
        return ""
    caption = f"{escape(row.title)} <small>({escape(row.better)} is better)</small>"
    return f"<figure><figcaption>{caption}</figcaption>{plot}</figure>"


def _method(found: Comparison) -> list[str]:
    """How each row was made, and what is missing and why."""
    parts = ["<h2>Method</h2>"]
    parts.append(
        "<p>Every rung is run once, then each again, so that what disturbs the machine disturbs all alike. Tables "
        "show medians, least and most, and how many samples; the dots of a plot are the samples.</p><dl>"
    )
    parts += [f"<dt>{escape(row.title)}</dt><dd>{escape(row.how)}</dd>" for row in found.rows if row.how]
    parts.append("</dl>")
    if found.missing:
        items = [f"<li>{escape(one.title)}: {escape(one.reason)}</li>" for one in found.missing]
        parts.append(f"<h2>Not on this host</h2><ul>{''.join(items)}</ul>")
    lacking = [f"<li>{escape(what)} ({escape(names)}): {escape(why)}</li>" for what, names, why in gaps(found)]
    if lacking:
        parts.append(f"<h2>Not measured</h2><ul>{''.join(lacking)}</ul>")
    return parts
