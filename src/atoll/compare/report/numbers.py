"""Numbers as people read them.

Holds: `shown`, `cell`, `spread`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.values import Cell, Row

_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_BYTES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))


def shown(value: float, unit: str) -> str:
    """With three digits and the unit that fits."""
    if unit in ("B", "B/s"):
        for size, name in _BYTES:
            if abs(value) >= size or name == "B":
                return f"{_digits(value / size)} {name}{unit[1:]}"
    if unit == "s":
        for size, name in _SECONDS:
            if abs(value) >= size or name == "ns":
                return f"{_digits(value / size)} {name}"
    if unit == "x":
        return f"×{_digits(value)}"
    return f"{value:,.0f}" if value >= 10 or value == int(value) else _digits(value)


def _digits(value: float) -> str:
    if abs(value) >= 99.5:
        return f"{value:.0f}"
    return f"{value:.1f}" if abs(value) >= 9.95 else f"{value:.2f}"


def cell(found: Cell, row: Row) -> str:
    """The median, the word, or a dash."""
    if found.samples:
        return shown(found.median, row.unit)
    return found.text or "–"


def spread(found: Cell, row: Row) -> str:
    """Least to most, and of how many; "" where there is only one sample."""
    if len(found.samples) < 2:
        return ""
    least, most = shown(min(found.samples), row.unit), shown(max(found.samples), row.unit)
    return f"{least} … {most} of {len(found.samples)}"
