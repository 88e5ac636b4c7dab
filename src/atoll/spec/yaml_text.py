"""YAML as plain values, within bounds, and as text again.

Holds: `load_all`, `dump_all`. Does not hold: what documents mean (`kube.py`). The parser is PyYAML's (libyaml where
it is there), of which only the events are used: no tags, no objects. YAML 1.1, as Kubernetes' own tools read it.

A document of a few lines can stand for more than any memory holds (aliases of aliases), or nest until the stack ends:
each use of an alias counts with all that it stands for, and depth, size and count have an end. Keys are texts, each
once: what follows a duplicate key is what an attacker hides from a reviewer.
Source: yaml.org/spec/1.1; github.com/kubernetes/kubernetes, CVE-2019-11253 (the same bomb at its API server).
"""

from __future__ import annotations

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

MOST_BYTES = 8 << 20
MOST_NODES = 200_000
MOST_DEPTH = 100

_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_TRUE = frozenset(("true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON"))
_FALSE = frozenset(("false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF"))
_INFINITE = frozenset((".inf", "-.inf", "+.inf", ".Inf", ".INF", "-.Inf", "-.INF", ".nan", ".NaN", ".NAN"))
_MERGE = "<<"
_STANDARD = "tag:yaml.org,2002:"
_TAGS = frozenset(("str", "int", "bool", "float", "null", "map", "seq", "binary", "timestamp"))


def load_all(data: bytes, name: str) -> list[Any]:
    """All documents of a file, empty ones left out: objects, arrays, texts, numbers, true, false, null. Raises
    InvalidArgument with `name` and the line."""
    if len(data) > MOST_BYTES:
        raise errors.InvalidArgument(f"{name}: more than {MOST_BYTES >> 20} MiB", hint="split it")
    import yaml  # type: ignore[import-untyped]  # it has no stubs

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        found = _Builder(yaml, name).documents(yaml.parse(data.decode("utf-8"), Loader=loader))
    except UnicodeDecodeError as error:
        raise errors.InvalidArgument(f"{name}: not UTF-8 at byte {error.start}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"{name}:{mark.line + 1}" if mark is not None else name
        raise errors.InvalidArgument(f"{where}: {getattr(error, 'problem', None) or error}") from None
    except RecursionError:
        raise errors.InvalidArgument(f"{name}: nested too deeply") from None
    return [one for one in found if one is not None]


class _Builder:
    """Values from events, counted. `_sizes` has how many nodes each anchor stands for."""

    def __init__(self, yaml: Any, name: str) -> None:
        self._yaml, self._name, self._count = yaml, name, 0
        self._anchors: dict[str, tuple[Any, int]] = {}

    def documents(self, events: Iterator[Any]) -> list[Any]:
        found = []
        for event in events:
            if isinstance(event, self._yaml.DocumentStartEvent):
                self._anchors = {}
            elif isinstance(event, self._yaml.NodeEvent):
                found.append(self._node(event, events, 0))
        return found

    def _wrong(self, event: Any, what: str) -> errors.InvalidArgument:
        return errors.InvalidArgument(f"{self._name}:{event.start_mark.line + 1}: {what}")

    def _spend(self, event: Any, nodes: int) -> None:
        self._count += nodes
        if self._count > MOST_NODES:
            raise self._wrong(event, f"more than {MOST_NODES} values, aliases counted with what they stand for")

    def _node(self, event: Any, events: Iterator[Any], depth: int) -> Any:
        if depth > MOST_DEPTH:
            raise self._wrong(event, f"nested deeper than {MOST_DEPTH}")
        if isinstance(event, self._yaml.AliasEvent):
            known = self._anchors.get(event.anchor)
            if known is None:  # also one that is within itself
                raise self._wrong(event, f"alias *{event.anchor} stands for nothing yet")
            self._spend(event, known[1])
            return known[0]
        before = self._count
        self._spend(event, 1)
        if event.tag not in (None, "!") and event.tag.removeprefix(_STANDARD) not in _TAGS:
            raise self._wrong(event, f"tag {event.tag} has no meaning here")
        if isinstance(event, self._yaml.ScalarEvent):
            value = self._scalar(event)
        elif isinstance(event, self._yaml.SequenceStartEvent):
            value = self._sequence(events, depth)
        else:
            value = self._mapping(events, depth)
        if event.anchor is not None:
            self._anchors[event.anchor] = (value, self._count - before)
        return value

    def _sequence(self, events: Iterator[Any], depth: int) -> list[Any]:
        found: list[Any] = []
        for event in events:
            if isinstance(event, self._yaml.SequenceEndEvent):
                break
            found.append(self._node(event, events, depth + 1))
        return found

    def _mapping(self, events: Iterator[Any], depth: int) -> dict[str, Any]:
        found: dict[str, Any] = {}
        merged: dict[str, Any] = {}
        for event in events:
            if isinstance(event, self._yaml.MappingEndEvent):
                break
            key = self._key(event)
            if key in found:
                raise self._wrong(event, f"key {key!r} is there twice")
            value = self._node(next(events), events, depth + 1)
            if key == _MERGE and event.implicit[0]:
                merged.update(self._merged(event, value))
            else:
                found[key] = value
        return {**{key: value for key, value in merged.items() if key not in found}, **found} if merged else found

    def _merged(self, event: Any, value: Any) -> dict[str, Any]:
        parts = value if isinstance(value, list) else [value]
        found: dict[str, Any] = {}
        for part in parts:
            if not isinstance(part, dict):
                raise self._wrong(event, "<< merges objects only")
            found = {**part, **found}
        return found

    def _key(self, event: Any) -> str:
        if not isinstance(event, self._yaml.ScalarEvent):
            raise self._wrong(event, "a key that is no text")
        self._spend(event, 1)
        return str(event.value)

    def _scalar(self, event: Any) -> Any:
        text, tag = event.value, event.tag
        if tag is not None and tag.endswith((":str", ":binary")):
            return text
        if not event.implicit[0]:
            return text
        return plain(text)


def plain(text: str) -> Any:
    """What a scalar without quotes means. Dates and numbers in base 60 are texts, as in Kubernetes."""
    if text in _NULLS:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in "0123456789+-." or text in _INFINITE or len(text) > 40:
        return text
    digits = text.lstrip("+-").replace("_", "")
    sign = -1 if text[0] == "-" else 1
    if len(text) - len(text.lstrip("+-")) > 1 or not digits or not digits.isascii() or not text.isascii():
        return text
    for prefix, base in (("0x", 16), ("0o", 8), ("0b", 2)):
        if digits.lower().startswith(prefix):
            try:
                return sign * int(digits[2:], base)
            except ValueError:
                return text
    if digits.isdecimal():
        octal = len(digits) > 1 and digits[0] == "0" and all(c in "01234567" for c in digits)
        return sign * int(digits, 8 if octal else 10) if octal or digits[0] != "0" or digits == "0" else text
    return _number(text, digits, sign)


def _number(text: str, digits: str, sign: int) -> Any:
    if all(c in "0123456789.eE+-" for c in digits) and digits.count(".") <= 1 and any(c.isdecimal() for c in digits):
        try:
            value = float(digits)
        except ValueError:
            return text
        return sign * value if value - value == 0 else text  # neither infinite nor none
    return text


def dump_all(documents: list[dict[str, Any]]) -> str:
    """The text of documents, keys in their order, which `load_all` reads back as they are."""
    import yaml

    return str(yaml.dump_all(documents, Dumper=_dumper(yaml), sort_keys=False, default_flow_style=False, width=1000))


def _dumper(yaml: Any) -> Any:
    """PyYAML's own but for aliases, which nobody wants to read, and texts that the other side would take for a number
    or a truth."""

    class Dumper(yaml.SafeDumper):  # type: ignore[misc]  # of Any
        def ignore_aliases(self, data: Any) -> bool:
            return True

    def text(dumper: Any, data: str) -> Any:
        ambiguous = not isinstance(plain(data), str) or data[:1] in ("0", "<")
        style = "|" if "\n" in data and not data[:1].isspace() else ("'" if ambiguous else None)
        return dumper.represent_scalar("tag:yaml.org,2002:str", data, style=style)

    Dumper.add_representer(str, text)
    return Dumper
