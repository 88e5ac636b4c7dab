"""Between JSON documents and `Value` records, with errors that name the JSON path.

Holds: small codecs (`text`, `integer`, `list_of`, …) that a record's `WIRE` table combines, `parse` and `dump`.
Does not hold: any document (see `runtime.py`, `image.py`), nor rules between fields.
A field's JSON name is its own in camelCase, unless the record's `KEYS` says otherwise. `WIRE` may leave out nothing.
"""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.base.value import Value, is_required

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    Codec = Callable[[Any, str], Any]
    V = TypeVar("V", bound=Value)


def wrong(path: str, expected: str, got: object) -> errors.InvalidArgument:
    """The error for a value of the wrong shape at a JSON path."""
    shown = repr(got)
    return errors.InvalidArgument(
        f"{path}: expected {expected}, got {shown if len(shown) < 80 else shown[:77] + '...'}"
    )


def text(value: Any, path: str) -> str:
    """A string without NUL, which no system call could carry."""
    if not isinstance(value, str):
        raise wrong(path, "a string", value)
    if "\0" in value:
        raise wrong(path, "a string without NUL", value)
    return value


def flag(value: Any, path: str) -> bool:
    """true or false."""
    if not isinstance(value, bool):
        raise wrong(path, "true or false", value)
    return value


def number_between(low: int, high: int) -> Codec:
    """An integer within bounds, both included."""

    def number(value: Any, path: str) -> int:
        if not isinstance(value, int) or isinstance(value, bool):
            raise wrong(path, "an integer", value)
        if not low <= value <= high:
            raise wrong(path, f"an integer from {low} to {high}", value)
        return value

    return number


int32 = number_between(-(1 << 31), (1 << 31) - 1)
int64 = number_between(-(1 << 63), (1 << 63) - 1)
uint16 = number_between(0, (1 << 16) - 1)
uint32 = number_between(0, (1 << 32) - 1)
uint64 = number_between(0, (1 << 64) - 1)
# 2^32 - 1 is (uid_t) -1, "no change" to every system call that takes an id (CVE-2024-40635 made it root).
user_id = number_between(0, (1 << 32) - 2)


def one_of(*choices: str) -> Codec:
    """One of a fixed set of strings."""

    def choice(value: Any, path: str) -> str:
        if value not in choices or not isinstance(value, str):
            raise wrong(path, "one of " + ", ".join(choices), value)
        return value

    return choice


def list_of(item: Codec) -> Codec:
    """An array, as a tuple; null reads as the empty one (Go writes it for an absent slice)."""

    def items(value: Any, path: str) -> tuple[Any, ...]:
        if value is None:
            return ()
        if not isinstance(value, list | tuple):
            raise wrong(path, "an array", value)
        if item is text:  # most arrays are, and most are right: then no path of each element is put together
            for one in value:
                if type(one) is not str or "\0" in one:
                    break
            else:
                return tuple(value)
        return tuple([item(one, f"{path}[{index}]") for index, one in enumerate(value)])

    return items


def map_of(item: Codec) -> Codec:
    """An object with free keys, as a tuple of pairs in their order (records hold nothing mutable)."""

    def pairs(value: Any, path: str) -> tuple[tuple[str, Any], ...]:
        if value is None:
            return ()
        if not isinstance(value, dict):
            raise wrong(path, "an object", value)
        return tuple([(text(key, path), item(one, f"{path}.{key}")) for key, one in value.items()])

    pairs.is_map = True  # type: ignore[attr-defined]
    return pairs


def record(cls: type[V]) -> Codec:
    """An object that is a record of its own."""

    def parsed(value: Any, path: str) -> V:
        return parse(cls, value, path)

    return parsed


def later(module: str, name: str) -> Codec:
    """Like `record`, of a class whose module is loaded when there is such an object."""

    def parsed(value: Any, path: str) -> Any:
        __import__(module)
        return parse(getattr(sys.modules[module], name), value, path)

    return parsed


_camel: dict[str, str] = {}


def key_of(cls: type[Value], field: str) -> str:
    """The JSON name of a record's field."""
    special: str | None = getattr(cls, "KEYS", {}).get(field)
    if special is not None:
        return special
    known = _camel.get(field)
    if known is None:
        head, *rest = field.split("_")
        known = _camel[field] = head + "".join([part.capitalize() for part in rest])
    return known


_tables: dict[type[Value], tuple[tuple[str, str, Any], ...]] = {}


def _table(cls: type[Value]) -> tuple[tuple[str, str, Any], ...]:
    """Field, JSON name and codec of each, put together once a class."""
    known = _tables.get(cls)
    if known is None:
        wire = cls.WIRE  # type: ignore[attr-defined]
        known = _tables[cls] = tuple([(field, key_of(cls, field), codec) for field, codec in wire.items()])
    return known


def parse(cls: type[V], value: Any, path: str) -> V:
    """A record from its JSON object; unknown keys are ignored, as the OCI documents ask for.

    Raises InvalidArgument naming the JSON path of what is missing or wrong.
    """
    if not isinstance(value, dict):
        raise wrong(path or "the document", "an object", value)
    given: dict[str, Any] = {}
    declared = cls._fields  # type: ignore[attr-defined]
    for field, key, codec in _tables.get(cls) or _table(cls):
        raw = value.get(key)
        if raw is not None:
            given[field] = codec(raw, f"{path}.{key}" if path else key)
    try:
        return cls(**given)
    except TypeError:
        missing = [key_of(cls, f) for f in declared if f not in given and is_required(cls, f)]
        raise errors.InvalidArgument(f"{path or 'the document'}: missing {', '.join(missing)}") from None


def dump(value: Value) -> dict[str, Any]:
    """The JSON object of a record, without what is absent (None, empty arrays and objects, false)."""
    cls = type(value)
    out: dict[str, Any] = {}
    for field, key, codec in _tables.get(cls) or _table(cls):
        content = getattr(value, field)
        if content is None or content == () or (content is False and not is_required(cls, field)):
            continue
        if isinstance(content, Value):
            content = dump(content)
        elif getattr(codec, "is_map", False):
            content = {k: dump(v) if isinstance(v, Value) else v for k, v in content}
        elif isinstance(content, tuple):
            content = [dump(v) if isinstance(v, Value) else list(v) if isinstance(v, tuple) else v for v in content]
        out[key] = content
    return out
