"""Which images `images --filter` and the prunes mean: Docker's words.

Holds: `Filters`. Does not hold: what all nouns' filters have in common (`engine/filters.py`).
"""

from __future__ import annotations

from atoll.base import clock
from atoll.engine.filters import by_kind, has_labels, truth
from atoll.engine.images.resolve import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.engine import Engine
    from atoll.engine.requests import ImageView
    from atoll.engine.store import ImageRow

KNOWN = ("before", "since", "until", "label", "label!", "reference", "dangling")


class Filters:
    """Parsed conditions. Raises InvalidArgument for an unknown one, NotFound for an image in `before` and `since`
    (which an engine is needed for)."""

    def __init__(self, engine: Engine | None, conditions: Sequence[str], known: Sequence[str] = KNOWN) -> None:
        self.dangling: bool | None = None
        self.before: int | None = None
        self.since: int | None = None
        self._given = by_kind(conditions, known)
        for kind, values in self._given.items():
            for value in values:
                self._add(engine, kind, value)

    def _add(self, engine: Engine | None, kind: str, value: str) -> None:
        if kind == "dangling":
            self.dangling = truth(kind, value)
        elif kind in ("before", "since") and engine is not None:
            from atoll.spec.image import parse_config

            stamp = parse_config(need(engine, value).config.encode(), value).created
            setattr(self, kind, clock.parse(stamp) if stamp else 0)
        elif kind == "until":
            clock.since(value, 0)  # a wrong one is told at once

    def view(self, one: ImageView, *, now: int) -> bool:
        """Whether a row of `images` is meant."""
        if self.dangling is not None and (one.tag is None) != self.dangling:
            return False
        return self._times(one.created_at, now) and self._named(one) and has_labels(one.labels, self._given)

    def image(self, row: ImageRow, *, now: int) -> bool:
        """Whether an image is meant, by its time and labels."""
        from atoll.spec.image import parse_config

        config = parse_config(row.config.encode(), row.id)
        return self._times(config.created, now) and has_labels(config.config.labels, self._given)

    def _times(self, created: str | None, now: int) -> bool:
        stamp = clock.parse(created) if created else 0
        if self.before is not None and stamp >= self.before:
            return False
        if self.since is not None and stamp <= self.since:
            return False
        return all(stamp < clock.since(one, now) for one in self._given.get("until", ()))

    def _named(self, one: ImageView) -> bool:
        references = self._given.get("reference")
        if references is None:
            return True
        import fnmatch

        names = (one.repository or "", f"{one.repository}:{one.tag}")
        return any(fnmatch.fnmatchcase(name, wanted) for wanted in references for name in names)
