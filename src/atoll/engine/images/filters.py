"""Which images `images --filter` and the prunes mean: Docker's words.

Holds: `Filters`. Conditions of one kind are alternatives, but for labels, which must all hold; kinds must all hold.
"""

from __future__ import annotations

from atoll.base import clock, errors
from atoll.engine.images.resolve import need

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.engine import Engine
    from atoll.engine.requests import ImageView
    from atoll.engine.store import ImageRow

KNOWN = ("before", "since", "until", "label", "label!", "reference", "dangling")
_TRUE, _FALSE = ("true", "1", "t"), ("false", "0", "f")


class Filters:
    """Parsed conditions. Raises InvalidArgument for an unknown one, NotFound for an image in `before` and `since`
    (which an engine is needed for)."""

    def __init__(self, engine: Engine | None, conditions: Sequence[str], known: Sequence[str] = KNOWN) -> None:
        self.dangling: bool | None = None
        self.before: int | None = None
        self.since: int | None = None
        self._until: list[str] = []
        self._labels: list[tuple[str, str | None]] = []
        self._without: list[tuple[str, str | None]] = []
        self.references: list[str] = []
        for condition in conditions:
            kind, equals, value = condition.partition("=")
            kind = kind.strip().lower()
            if kind not in known:
                raise errors.InvalidArgument(f"invalid filter '{kind}'", hint="known are " + ", ".join(known))
            if not equals:
                raise errors.InvalidArgument(f"bad format of filter (expected name=value): {condition!r}")
            self._add(engine, kind, value)

    def _add(self, engine: Engine | None, kind: str, value: str) -> None:
        if kind == "dangling":
            if value.lower() not in (*_TRUE, *_FALSE):
                raise errors.InvalidArgument(f"invalid filter 'dangling={value}'", hint="true or false")
            self.dangling = value.lower() in _TRUE
        elif kind in ("before", "since") and engine is not None:
            from atoll.spec.image import parse_config

            stamp = parse_config(need(engine, value).config.encode(), value).created
            setattr(self, kind, clock.parse(stamp) if stamp else 0)
        elif kind == "until":
            self._until.append(value)
            clock.since(value, 0)  # a wrong one is told at once
        elif kind in ("label", "label!"):
            key, equals, wanted = value.partition("=")
            (self._labels if kind == "label" else self._without).append((key, wanted if equals else None))
        else:
            self.references.append(value)

    def view(self, one: ImageView, *, now: int) -> bool:
        """Whether a row of `images` is meant."""
        if self.dangling is not None and (one.tag is None) != self.dangling:
            return False
        return self._times(one.created_at, now) and self._named(one) and self._labelled(one.labels)

    def image(self, row: ImageRow, *, now: int) -> bool:
        """Whether an image is meant, by its time and labels."""
        from atoll.spec.image import parse_config

        config = parse_config(row.config.encode(), row.id)
        return self._times(config.created, now) and self._labelled(config.config.labels)

    def _times(self, created: str | None, now: int) -> bool:
        stamp = clock.parse(created) if created else 0
        if self.before is not None and stamp >= self.before:
            return False
        if self.since is not None and stamp <= self.since:
            return False
        return all(stamp < clock.since(one, now) for one in self._until)

    def _named(self, one: ImageView) -> bool:
        if not self.references:
            return True
        import fnmatch

        names = (one.repository or "", f"{one.repository}:{one.tag}")
        return any(fnmatch.fnmatchcase(name, wanted) for wanted in self.references for name in names)

    def _labelled(self, labels: Sequence[tuple[str, str]]) -> bool:
        known = dict(labels)

        def has(key: str, wanted: str | None) -> bool:
            return key in known and (wanted is None or known[key] == wanted)

        return all(has(*one) for one in self._labels) and not any(has(*one) for one in self._without)
