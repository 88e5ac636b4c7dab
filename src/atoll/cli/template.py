"""`--format`: the part of Go's text/template that Docker's users write.

Holds: text, fields (`.Names`, `.State.Pid`), `json`, string functions, `index`, `len`, comparisons, pipes, variables
of `range`, `if`/`else`, `with`. Does not hold: user-defined templates, assignments outside `range`.
Source: Go's text/template documentation and Docker's "Format command and log output" page.
"""

from __future__ import annotations

from atoll.base import errors, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_MISSING = "<no value>"


def render(template: str, data: Any) -> str:
    """The template applied to one object (dicts, lists, strings, numbers). Raises InvalidArgument."""
    nodes, stop, _ = _parse(_pieces(template), 0, ())
    if stop is not None:
        raise _wrong(f"unexpected {{{{{stop}}}}}")
    return "".join(_render(nodes, data, {"$": data}))


def _wrong(why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"template parsing error: {why}", hint="Go templates, e.g. '{{.Names}}' or '{{json .}}'"
    )


def _pieces(template: str) -> list[tuple[bool, str]]:
    """(is an action, text) in order; `{{-` and `-}}` trim the white space beside them."""
    pieces: list[tuple[bool, str]] = []
    rest, trim = template, False
    while True:
        text, opened, rest = rest.partition("{{")
        if trim:
            text = text.lstrip()
        if opened and rest.startswith("- "):
            text, rest = text.rstrip(), rest[1:]
        if text:
            pieces.append((False, text))
        if not opened:
            return pieces
        action, closed, rest = rest.partition("}}")
        if not closed:
            raise _wrong("an action that is not closed: {{" + action)
        trim = action.endswith(" -")
        action = action.removesuffix(" -") if trim else action
        if not action.strip().startswith("/*"):
            pieces.append((True, action.strip()))


def _parse(pieces: list[tuple[bool, str]], at: int, stops: tuple[str, ...]) -> tuple[list[Any], str | None, int]:
    nodes: list[Any] = []
    while at < len(pieces):
        is_action, text = pieces[at]
        at += 1
        if not is_action:
            nodes.append(text)
            continue
        word, _, rest = text.partition(" ")
        if word in ("end", "else"):
            if word not in stops and "end" not in stops:
                raise _wrong(f"{{{{{word}}}}} without a beginning")
            return nodes, text, at
        if word in ("if", "range", "with"):
            inner, stop, at = _parse(pieces, at, ("end", "else"))
            other: list[Any] = []
            if stop is not None and stop.startswith("else"):
                chained = stop.removeprefix("else").strip()
                if chained:  # {{else if …}}: an if of its own up to the same end
                    pieces.insert(at, (True, chained))
                    other, stop, at = _parse_one(pieces, at)
                else:
                    other, stop, at = _parse(pieces, at, ("end",))
            if stop is None:
                raise _wrong(f"{{{{{word}}}}} without {{{{end}}}}")
            nodes.append((word, rest.strip(), inner, other))
        else:
            nodes.append(("show", text, [], []))
    return nodes, None, at


def _parse_one(pieces: list[tuple[bool, str]], at: int) -> tuple[list[Any], str | None, int]:
    nodes, stop, at = _parse([*pieces[: at + 1], *pieces[at + 1 :], (True, "end")], at, ("end",))
    return nodes, stop, min(at, len(pieces))


def _render(nodes: list[Any], dot: Any, names: dict[str, Any]) -> list[str]:
    out: list[str] = []
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
            continue
        word, text, inner, other = node
        if word == "show":
            out.append(_text(_pipeline(text, dot, names)))
        elif word == "range":
            out += _render_range(text, inner, other, dot, names)
        else:
            value = _pipeline(text, dot, names)
            chosen = inner if _true(value) else other
            out += _render(chosen, value if word == "with" and chosen is inner else dot, names)
    return out


def _render_range(text: str, inner: list[Any], other: list[Any], dot: Any, names: dict[str, Any]) -> list[str]:
    head, assigned, tail = text.partition(":=")
    variables = [one.strip() for one in head.split(",")] if assigned else []
    value = _pipeline(tail.strip() if assigned else text, dot, names)
    items = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or ()))
    if not items:
        return _render(other, dot, names)
    out: list[str] = []
    for key, item in items:
        inside = dict(names)
        if len(variables) == 2:
            inside[variables[0]], inside[variables[1]] = key, item
        elif variables:
            inside[variables[0]] = item
        out += _render(inner, item, inside)
    return out


def _true(value: Any) -> bool:
    return bool(value)


def _text(value: Any) -> str:
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple):
        return "[" + " ".join([_text(one) for one in value]) + "]"
    if isinstance(value, dict):
        return "map[" + " ".join([f"{key}:{_text(one)}" for key, one in sorted(value.items())]) + "]"
    return str(value)


def _words(text: str) -> list[str]:
    """Tokens: quoted strings whole, parentheses and pipes alone."""
    words: list[str] = []
    at = 0
    while at < len(text):
        c = text[at]
        if c in " \t\n":
            at += 1
        elif c in "()|":
            words.append(c)
            at += 1
        elif c in "\"`'":
            end = at + 1
            while end < len(text) and text[end] != c:
                end += 2 if text[end] == "\\" and c == '"' else 1
            if end >= len(text):
                raise _wrong(f"a string that is not closed: {text[at:]}")
            words.append(text[at : end + 1])
            at = end + 1
        else:
            end = at
            while end < len(text) and text[end] not in " \t\n()|\"`'":
                end += 1
            words.append(text[at:end])
            at = end
    return words


def _pipeline(text: str, dot: Any, names: dict[str, Any]) -> Any:
    words = _words(text)
    if not words:
        raise _wrong("an empty action")
    value, at = _evaluate(words, 0, dot, names)
    if at != len(words):
        raise _wrong(f"unexpected {words[at]!r}")
    return value


def _evaluate(words: list[str], at: int, dot: Any, names: dict[str, Any]) -> tuple[Any, int]:
    """A pipeline up to its end or a closing parenthesis."""
    piped: list[Any] = []
    while True:
        operands: list[Any] = []
        function: Callable[..., Any] | None = None
        first = True
        while at < len(words) and words[at] not in ("|", ")"):
            word = words[at]
            if first and word in _FUNCTIONS:
                function = _FUNCTIONS[word]
                at += 1
            elif word == "(":
                value, at = _evaluate(words, at + 1, dot, names)
                if at >= len(words):
                    raise _wrong("a parenthesis that is not closed")
                at += 1
                operands.append(value)
            else:
                operands.append(_operand(word, dot, names))
                at += 1
            first = False
        value = _apply(function, operands + piped)
        if at >= len(words) or words[at] == ")":
            return value, at
        piped, at = [value], at + 1


def _apply(function: Callable[..., Any] | None, operands: list[Any]) -> Any:
    if function is None:
        if len(operands) != 1:
            raise _wrong("an action that is neither a field nor a function")
        return operands[0]
    try:
        return function(*operands)
    except errors.AtollError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise _wrong(f"wrong arguments of a function: {error}") from None


def _operand(word: str, dot: Any, names: dict[str, Any]) -> Any:
    if word[0] in "`'":
        return word[1:-1]
    if word[0] == '"':
        return word[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    if word[0] == "$":
        name, _, path = word.partition(".")
        if name not in names:
            raise _wrong(f"undefined variable {name}")
        return _field(names[name], path)
    if word[0] == ".":
        return _field(dot, word[1:])
    if word in ("true", "false"):
        return word == "true"
    if word == "nil":
        return None
    if word.lstrip("-").isdecimal():
        return int(word)
    raise _wrong(f"function {word!r} is not defined")


def _field(value: Any, path: str) -> Any:
    for name in path.split(".") if path else []:
        if isinstance(value, dict):
            if name not in value:
                raise _wrong(f"no field {name!r}; there are {', '.join(map(str, value))}")
            value = value[name]
        else:
            raise _wrong(f"{name!r} of something without fields")
    return value


def _index(value: Any, *keys: Any) -> Any:
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else value[key]
    return "" if value is None else value


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "json": lambda v: jsontext.dumps(v),
    "upper": lambda v: str(v).upper(),
    "lower": lambda v: str(v).lower(),
    "title": lambda v: str(v).title(),
    "join": lambda v, sep: sep.join([_text(one) for one in v]),
    "split": lambda v, sep: str(v).split(sep),
    "truncate": lambda v, n: str(v)[:n],
    "println": lambda *v: " ".join([_text(one) for one in v]) + "\n",
    "print": lambda *v: "".join([_text(one) for one in v]),
    "len": len,
    "index": _index,
    "not": lambda v: not v,
    "and": lambda *v: next((one for one in v if not one), v[-1]),
    "or": lambda *v: next((one for one in v if one), v[-1]),
    "eq": lambda a, *b: any(a == one for one in b),
    "ne": lambda a, b: a != b,
    "lt": lambda a, b: a < b,
    "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b,
}
