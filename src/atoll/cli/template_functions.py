"""The functions of `--format` templates: Go's own and Docker's, and how a value is shown.

Holds: `FUNCTIONS`, `show`, `isis_true`, `wrong`. Does not hold: the language (`template.py`).
"""

from __future__ import annotations

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MISSING = "<no value>"


def wrong(why: str) -> errors.InvalidArgument:
    """The error for a template that cannot be."""
    return errors.InvalidArgument(
        f"template parsing error: {why}", hint="Go templates, e.g. '{{.Names}}' or '{{json .}}'"
    )


def is_true(value: Any) -> bool:
    """As `if` takes it: nothing, zero and what is empty are false."""
    return bool(value)


def show(value: Any) -> str:
    """A value as Go's `fmt` prints it."""
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + " ".join([show(one) for one in value]) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join([f"{key}:{show(one)}" for key, one in sorted(value.items())]) + "]"
    return str(value)


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return "" if value is None else value


def _slice(value: Any, *bounds: int) -> Any:
    if any(not 0 <= bound <= len(value) for bound in bounds):
        raise wrong(f"slice out of range: {bounds}")
    return value[slice(*bounds)] if len(bounds) > 1 else value[bounds[0] :] if bounds else value


def _printf(style: str, *values: Any) -> str:
    """Go's verbs for text, numbers and truth: %s %v %d %q %t %x %f, with flags, width and precision."""
    out, at, used = "", 0, 0
    while at < len(style):
        text, percent, _ = style[at:].partition("%")
        out += text
        at += len(text)
        if not percent:
            break
        end = at + 1
        while end < len(style) and style[end] in "+-# 0123456789.":
            end += 1
        verb = style[end : end + 1]
        spec = style[at:end]
        at = end + 1
        if verb == "%":
            out += "%"
            continue
        if used >= len(values):
            out += f"%!{verb}(MISSING)"
            continue
        value, used = values[used], used + 1
        if verb in "dxXofeg" and isinstance(value, int | float) and not isinstance(value, bool):
            out += (spec + verb) % value
        elif verb == "q":
            out += (spec + "s") % jsontext.dumps(show(value))
        elif verb in "svt":
            out += (spec + "s") % show(value)
        else:
            out += f"%!{verb}({show(value)})"
    return out


def _escape(text: Any) -> str:
    shown = show(text)
    for plain, escaped in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;"), ('"', "&#34;"), ("'", "&#39;")):
        shown = shown.replace(plain, escaped)
    return shown


def _less(a: Any, b: Any) -> bool:
    if isinstance(a, str) != isinstance(b, str):
        raise wrong("incompatible types for comparison")
    return bool(a < b)


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda v: jsontext.dumps(_plain(v)),
    "upper": lambda v: str(v).upper(),
    "lower": lambda v: str(v).lower(),
    "title": lambda v: str(v).title(),
    "join": lambda v, sep: sep.join([show(one) for one in v or ()]),
    "split": lambda v, sep: str(v).split(sep),
    "pad": lambda v, before, after: " " * before + str(v) + " " * after if v else v,
    "truncate": lambda v, n: str(v)[:n],
    "println": lambda *v: " ".join([show(one) for one in v]) + "\n",
    "print": lambda *v: "".join([show(one) for one in v]),
    "printf": _printf,
    "html": _escape,
    "len": lambda v: 0 if v is None else len(v),
    "index": _index,
    "slice": _slice,
    "not": lambda v: not is_true(v),
    "and": lambda *v: next((one for one in v if not is_true(one)), v[-1]),
    "or": lambda *v: next((one for one in v if is_true(one)), v[-1]),
    "eq": lambda a, *b: any(a == one for one in b),
    "ne": lambda a, b: a != b,
    "lt": _less,
    "le": lambda a, b: not _less(b, a),
    "gt": lambda a, b: _less(b, a),
    "ge": lambda a, b: not _less(a, b),
}


def _plain(value: Any) -> Any:
    """Without the functions that stand for methods."""
    if isinstance(value, dict):
        return {key: one for key, one in value.items() if not callable(one)}
    return value
