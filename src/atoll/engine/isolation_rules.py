"""`[[isolation.rules]]`: levels of isolation that images are raised to, whatever was asked for.

Holds: `Rule`, `parse`, `settle`. Does not hold: the levels (`isolation`). Loaded only where there are rules.

A rule names a level and what it is about; all that it says must hold of an image. Of the rules that do, and of what
the user asked for (or the default), the strongest level counts: a rule raises and never lowers. The host as an image
is what the user has anyway, and no rule speaks of it.
"""

from __future__ import annotations

import fnmatch

from atoll.base import suggest
from atoll.base.value import Value
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.engine.store import ImageRow
    from atoll.spec.image import ImageConfig

STRENGTH = {"gvisor": 1, "runsc": 1, "kata": 2, "vm": 2}
"""Own system call surface, own kernel; every other runtime shares the kernel (0)."""
_KEYS = ("image", "label", "registry", "unsigned", "level")


class Rule(Value):
    """`image` is a pattern over full names (`docker.io/library/*`), `registry` a host, `label` KEY or KEY=VALUE of
    the image, `unsigned` whether no signature of it was verified when it was pulled."""

    level: str
    image: str | None = None
    label: str | None = None
    registry: str | None = None
    unsigned: bool = False


def parse(value: Any) -> tuple[Rule, ...]:
    """The rules of a settings file. Raises ValueError in words that follow "expected"."""
    if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
        raise ValueError("tables, each below [[isolation.rules]]")
    return tuple([_rule(one) for one in value])


def _rule(table: dict[str, Any]) -> Rule:
    for key, value in table.items():
        if key not in _KEYS:
            near = suggest.nearest(key, list(_KEYS))
            raise ValueError(f"a rule without {key!r}" + (f" (did you mean {near!r}?)" if near else ""))
        if not isinstance(value, bool if key == "unsigned" else str) or value == "":
            raise ValueError(f"a rule with {key} {'true or false' if key == 'unsigned' else 'as a text'}")
    if "level" not in table:
        raise ValueError("a rule with a level")
    if len(table) == 1:
        raise ValueError("a rule about something: image, label, registry or unsigned")
    return Rule(**table)


def strength(level: str) -> int:
    """How strong the wall of a level is: 0 shares the kernel."""
    return STRENGTH.get(level, 0)


def settle(
    engine: Engine, request: RunRequest, image: ImageRow, config: ImageConfig
) -> tuple[RunRequest, str | None]:
    """The request at the level that the rules leave it, and a sentence where they raised it. Raises nothing: that the
    level cannot be had is told where it is made."""
    asked = request.isolation or engine.config.isolation
    level, by = asked, 0
    for number, rule in enumerate(engine.config.isolation_rules, 1):
        if strength(rule.level) > strength(level) and _holds(engine, rule, image, config):
            level, by = rule.level, number
    if level == asked:
        return request, None
    return request.replace(isolation=level), f"isolation {level} instead of {asked}, by rule {by} of the settings"


def _holds(engine: Engine, rule: Rule, image: ImageRow, config: ImageConfig) -> bool:
    names = [references.parse(tag.reference) for tag in engine.store.tags(image.id)]
    if rule.image is not None and not any(fnmatch.fnmatchcase(name.full, rule.image) for name in names):
        return False
    if rule.registry is not None and rule.registry not in [name.registry for name in names]:
        return False
    if rule.label is not None:
        key, equals, value = rule.label.partition("=")
        labels = dict(config.config.labels)
        if key not in labels or (equals and labels[key] != value):
            return False
    return not rule.unsigned or not _signed(engine, image)


def _signed(engine: Engine, image: ImageRow) -> bool:
    rows = engine.store.read("SELECT evidence FROM admissions WHERE image = ?", image.id)
    return any(str(evidence) != "[]" for (evidence,) in rows)
