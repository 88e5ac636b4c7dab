"""Rounds: each rung once, then each again; a rung that fails says why and is left out from then on.

Holds: `Session`, `Tally`. Does not hold: what is done in a round.
"""

from __future__ import annotations

from atoll.compare.copies import FAILURES
from atoll.compare.values import Cell, Row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from atoll.compare.copies import Copy
    from atoll.compare.place import Place
    from atoll.compare.rungs.way import Way


class Session:
    """What every measure gets: the place, the rungs that work, how many samples, where progress is told."""

    def __init__(
        self, place: Place, ways: Sequence[Way], *, samples: int, quick: bool, say: Callable[[str], None]
    ) -> None:
        self.place, self.ways, self.samples, self.quick, self.say = place, list(ways), samples, quick, say

    def rounds(
        self, title: str, once: Callable[[Way], Mapping[str, float]], *, samples: int = 0, warm_up: bool = False
    ) -> Tally:
        """Call `once` for each rung in turn, so many times. It gives numbers by key. The first round does not count
        where there is a warm-up."""
        tally = Tally()
        count = samples or self.samples
        for number in range(-int(warm_up), count):
            for way in self.ways:
                if way.name in tally.reasons:
                    continue
                self.say(f"{title}: {max(0, number) + 1} of {count}, {way.name}")
                try:
                    found = once(way)
                except FAILURES as error:
                    tally.reasons[way.name] = str(error)
                    continue
                if number >= 0:
                    for key, value in found.items():
                        tally.samples.setdefault(key, {}).setdefault(way.name, []).append(value)
        return tally

    def with_copy(self, way: Way, *words: str, body: Callable[[Copy], object], port: int = 0) -> None:
        """Start a copy, do something with it, remove it whatever happens."""
        copy = way.start(*words, port=port)
        try:
            body(copy)
        finally:
            way.remove(copy)


class Tally:
    """Samples by key and rung, and why there are none."""

    def __init__(self) -> None:
        self.samples: dict[str, dict[str, list[float]]] = {}
        self.reasons: dict[str, str] = {}

    def row(
        self,
        key: str,
        *,
        section: str,
        title: str,
        unit: str,
        better: str,
        how: str,
        notes: Mapping[str, str] | None = None,
    ) -> Row:
        """The row of one key."""
        cells = self.cells(key, notes)
        return Row(key=key, section=section, title=title, unit=unit, better=better, how=how, cells=cells)

    def cells(self, key: str, notes: Mapping[str, str] | None = None) -> dict[str, Cell]:
        """A cell a rung: its samples, or why there are none."""
        cells = {name: Cell(reason=reason) for name, reason in self.reasons.items()}
        for name, found in self.samples.get(key, {}).items():
            cells[name] = Cell(samples=tuple(found), note=(notes or {}).get(name, ""))
        return cells
