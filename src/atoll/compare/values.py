"""What a comparison finds, as values: rungs, rows of cells with every sample, the machine.

Holds: `Rung`, `Cell`, `Row`, `Comparison`, and their form in JSON. Does not hold: how they are found or shown.
"""

from __future__ import annotations

from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

LESS, MORE, NEITHER = "less", "more", ""
"""Which of two numbers is the better one."""


class Rung(Value):
    """One rung of the ladder, or one other engine: what it is, and why it could not be tried ("" where it was)."""

    name: str
    title: str
    reason: str = ""


class Cell(Value):
    """What was found of one thing at one rung: samples, or a word, or the reason why there is neither."""

    samples: tuple[float, ...] = ()
    text: str = ""
    reason: str = ""
    note: str = ""

    @property
    def median(self) -> float:
        """Of the samples, of which there is at least one."""
        ordered = sorted(self.samples)
        middle = len(ordered) // 2
        return ordered[middle] if len(ordered) % 2 else (ordered[middle - 1] + ordered[middle]) / 2

    @property
    def known(self) -> bool:
        """Whether there is something to show."""
        return bool(self.samples or self.text)


class Row(Value):
    """One thing that was looked at, at each rung. Numbers are in the unit: `s` (seconds), `B`, `B/s`, `x` (times as
    long), or "" for counts. `how` says in a sentence what was done."""

    key: str
    section: str
    title: str
    unit: str
    better: str
    how: str
    cells: dict[str, Cell]

    def cell(self, rung: str) -> Cell:
        """The cell; an empty one, without a reason, where there is nothing to look at (a disk of its own)."""
        return self.cells.get(rung, Cell())


class Comparison(Value):
    """All of it."""

    machine: dict[str, str]
    options: dict[str, str]
    rungs: tuple[Rung, ...]
    rows: tuple[Row, ...]
    seconds: float

    @property
    def shown(self) -> tuple[Rung, ...]:
        """The rungs that were tried."""
        return tuple([one for one in self.rungs if not one.reason])

    @property
    def missing(self) -> tuple[Rung, ...]:
        """Those that do not work here."""
        return tuple([one for one in self.rungs if one.reason])

    def row(self, key: str) -> Row | None:
        """By its key, which no other row has."""
        return next((one for one in self.rows if one.key == key), None)

    def to_json(self) -> dict[str, Any]:
        """Everything, raw samples included."""
        return {
            "machine": self.machine,
            "options": self.options,
            "seconds": round(self.seconds, 1),
            "rungs": [{"name": one.name, "title": one.title, "reason": one.reason} for one in self.rungs],
            "rows": [
                {
                    "key": row.key,
                    "section": row.section,
                    "title": row.title,
                    "unit": row.unit,
                    "better": row.better,
                    "how": row.how,
                    "cells": {name: _cell(cell) for name, cell in row.cells.items()},
                }
                for row in self.rows
            ],
        }


def _cell(cell: Cell) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if cell.samples:
        found = {
            "median": cell.median,
            "least": min(cell.samples),
            "most": max(cell.samples),
            "count": len(cell.samples),
            "samples": list(cell.samples),
        }
    for key, value in (("text", cell.text), ("reason", cell.reason), ("note", cell.note)):
        if value:
            found[key] = value
    return found


def from_json(found: dict[str, Any]) -> Comparison:
    """What `to_json` made. Raises KeyError, TypeError for something else."""
    return Comparison(
        machine=dict(found["machine"]),
        options=dict(found["options"]),
        seconds=float(found["seconds"]),
        rungs=tuple([Rung(name=r["name"], title=r["title"], reason=r["reason"]) for r in found["rungs"]]),
        rows=tuple(
            [
                Row(
                    **{key: row[key] for key in ("key", "section", "title", "unit", "better", "how")},
                    cells={
                        name: Cell(
                            samples=tuple(cell.get("samples", ())),
                            text=cell.get("text", ""),
                            reason=cell.get("reason", ""),
                            note=cell.get("note", ""),
                        )
                        for name, cell in row["cells"].items()
                    },
                )
                for row in found["rows"]
            ]
        ),
    )
