"""Plots as inline SVG: a bar a rung, its samples as dots, on a scale that fits.

Holds: `bars`. Colours and letters come from the page's style sheet, so that they follow it in print.
"""

from __future__ import annotations

import math
from html import escape

from atoll.compare.report import numbers

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.compare.values import Comparison, Row

_NAMES, _WIDE, _VALUES, _LINE, _BAR = 190, 420, 110, 22, 13
_TOO_WIDE = 30.0
"""More than so many times between the least and the most, and the scale is logarithmic."""


def bars(found: Comparison, row: Row) -> str:
    """The row as a plot; "" where fewer than two rungs have numbers."""
    lines = [(one, row.cell(one.name)) for one in found.shown if row.cell(one.name).samples]
    if len(lines) < 2:
        return ""
    medians = [cell.median for _, cell in lines]
    every = [value for _, cell in lines for value in cell.samples]
    positive = [value for value in medians if value > 0]
    logarithmic = bool(positive) and max(medians) / min(positive) > _TOO_WIDE and len(positive) == len(medians)
    least, most = (min(every), max(every)) if logarithmic else (0.0, max([*every, 1e-12]))
    place = _log(least / 2, most) if logarithmic and least > 0 else _linear(most)
    height = _LINE * len(lines) + 4
    parts = [f'<svg viewBox="0 0 {_NAMES + _WIDE + _VALUES} {height}" role="img" aria-label="{escape(row.title)}">']
    for number, (rung, cell) in enumerate(lines):
        top = number * _LINE + 3
        middle = top + _BAR / 2
        end = _NAMES + place(cell.median) * _WIDE
        text = escape(numbers.cell(cell, row))
        parts.append(f'<text x="{_NAMES - 8}" y="{middle + 4:.1f}" class="n">{escape(rung.title)}</text>')
        parts.append(f'<rect x="{_NAMES}" y="{top}" width="{max(1.0, end - _NAMES):.1f}" height="{_BAR}" rx="2"/>')
        for value in cell.samples[:50]:
            parts.append(f'<circle cx="{_NAMES + place(value) * _WIDE:.1f}" cy="{middle:.1f}" r="1.8"/>')
        furthest = max([end, *[_NAMES + place(value) * _WIDE for value in cell.samples]])
        parts.append(f'<text x="{furthest + 7:.1f}" y="{middle + 4:.1f}" class="v">{text}</text>')
    parts.append("</svg>")
    if logarithmic:
        parts.append('<p class="scale">logarithmic scale</p>')
    return "".join(parts)


def _linear(most: float) -> Callable[[float], float]:
    return lambda value: max(0.0, min(1.0, value / most))


def _log(least: float, most: float) -> Callable[[float], float]:
    low, high = math.log(least), math.log(most)

    def place(value: float) -> float:
        return max(0.0, min(1.0, (math.log(max(value, least)) - low) / ((high - low) or 1.0)))

    return place
