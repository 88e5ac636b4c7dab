"""`--format`: the part of Go's text/template that Docker's users write.

Holds: text, fields (`.Names`, `.State.Pid`, `(index .Mounts 0).Source`), methods (`.Label "key"`), Docker's functions
and Go's, comparisons, pipes, variables, `if`/`else`, `with`, `range` with `break` and `continue`. Does not hold:
user-defined templates, the functions (`template_functions.py`).
Source: Go's text/template documentation and Docker's "Format command and log output" page.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.cli.template_functions import FUNCTIONS, is_true, show, wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any


def render(template: str, data: Any) -> str:
    """The template applied to one object (dicts, lists, strings, numbers; a function stands for a method). Raises
    InvalidArgument."""
    nodes, stop, _ = _parse(_pieces(template), 0, ())
    if stop is not None:
        raise wrong(f"unexpected {{{{{stop}}}}}")
    out: list[str] = []
    try:
        _render(nodes, data, {"$": [data]}, out)
    except _Loop:
        raise wrong("{{break}} or {{continue}} outside {{range}}") from None
    return "".join(out)


class _Loop(Exception):
    """{{break}} and {{continue}} on their way to the {{range}} that they are in."""

    def __init__(self, *, goes_on: bool) -> None:
        super().__init__()
        self.goes_on = goes_on


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
        action, closed, rest = _until_closed(rest)
        if not closed:
            raise wrong("an action that is not closed: {{" + action)
        trim = action.endswith(" -")
        action = action.removesuffix(" -") if trim else action
        if not action.strip().startswith("/*"):
            pieces.append((True, action.strip()))


def _until_closed(text: str) -> tuple[str, bool, str]:
    """An action up to its `}}`; one inside a string or a comment does not close it."""
    at = 0
    while at < len(text):
        if text.startswith("}}", at):
            return text[:at], True, text[at + 2 :]
        if text.startswith("/*", at):
            end = text.find("*/", at)
            at = len(text) if end < 0 else end + 2
        elif text[at] in "\"`'":
            quote, at = text[at], at + 1
            while at < len(text) and text[at] != quote:
                at += 2 if text[at] == "\\" and quote != "`" else 1
            at += 1
        else:
            at += 1
    return text, False, ""


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
                raise wrong(f"{{{{{word}}}}} without a beginning")
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
                raise wrong(f"{{{{{word}}}}} without {{{{end}}}}")
            nodes.append((word, rest.strip(), inner, other))
        else:
            nodes.append(("show", text, [], []))
    return nodes, None, at


def _parse_one(pieces: list[tuple[bool, str]], at: int) -> tuple[list[Any], str | None, int]:
    nodes, stop, at = _parse([*pieces[: at + 1], *pieces[at + 1 :], (True, "end")], at, ("end",))
    return nodes, stop, min(at, len(pieces))


def _render(nodes: list[Any], dot: Any, names: dict[str, list[Any]], out: list[str]) -> None:
    """`names` maps variables to cells: an inner block sees the outer ones, and `=` reaches them."""
    for node in nodes:
        if isinstance(node, str):
            out.append(node)
            continue
        word, text, inner, other = node
        if word == "show":
            if text in ("break", "continue"):
                raise _Loop(goes_on=text == "continue")
            value, assigned = _assign(text, dot, names)
            if not assigned:
                out.append(show(value))
        elif word == "range":
            _render_range(text, inner, other, dot, names, out)
        else:
            inside = dict(names)
            value, _ = _assign(text, dot, inside)
            chosen = inner if is_true(value) else other
            _render(chosen, value if word == "with" and chosen is inner else dot, inside, out)


def _assign(text: str, dot: Any, names: dict[str, list[Any]]) -> tuple[Any, bool]:
    """The value of a pipeline, and whether it went to a variable: `$x := …`, `$x = …`."""
    if text.startswith("$"):
        for sign in (":=", "="):
            name, found, rest = text.partition(sign)
            name = name.strip()
            if found and name[1:].isidentifier() and not rest.startswith("="):
                value = _pipeline(rest.strip(), dot, names)
                if sign == ":=":
                    names[name] = [value]
                elif name not in names:
                    raise wrong(f"undefined variable {name}")
                else:
                    names[name][0] = value
                return value, True
    return _pipeline(text, dot, names), False


def _render_range(
    text: str, inner: list[Any], other: list[Any], dot: Any, names: dict[str, list[Any]], out: list[str]
) -> None:
    head, assigned, tail = text.partition(":=")
    variables = [one.strip() for one in head.split(",")] if assigned else []
    value = _pipeline(tail.strip() if assigned else text, dot, names)
    if isinstance(value, int) and not isinstance(value, bool):
        value = list(range(value))
    if isinstance(value, str) or not (value is None or isinstance(value, dict | list | tuple)):
        raise wrong(f"range can't iterate over {show(value)}")
    items = sorted(value.items()) if isinstance(value, dict) else list(enumerate(value or ()))
    if not items:
        _render(other, dot, dict(names), out)
        return
    for key, item in items:
        inside = dict(names)
        if len(variables) == 2:
            inside[variables[0]], inside[variables[1]] = [key], [item]
        elif variables:
            inside[variables[0]] = [item]
        try:
            _render(inner, item, inside, out)
        except _Loop as loop:
            if not loop.goes_on:
                return


def _words(text: str) -> list[str]:
    """Tokens: quoted strings whole, parentheses and pipes alone."""
    words: list[str] = []
    at = 0
    while at < len(text):
        c = text[at]
        if c in " \t\n":
            at += 1
        elif c == "." and at and text[at - 1] == ")":  # (index .Mounts 0).Source
            end = at
            while end < len(text) and text[end] not in " \t\n()|\"`'":
                end += 1
            words.append(")" + text[at:end])
            at = end
        elif c in "()|":
            words.append(c)
            at += 1
        elif c in "\"`'":
            end = at + 1
            while end < len(text) and text[end] != c:
                end += 2 if text[end] == "\\" and c == '"' else 1
            if end >= len(text):
                raise wrong(f"a string that is not closed: {text[at:]}")
            words.append(text[at : end + 1])
            at = end + 1
        else:
            end = at
            while end < len(text) and text[end] not in " \t\n()|\"`'":
                end += 1
            words.append(text[at:end])
            at = end
    return words


def _pipeline(text: str, dot: Any, names: dict[str, list[Any]]) -> Any:
    words = _words(text)
    if not words:
        raise wrong("an empty action")
    value, at = _evaluate(words, 0, dot, names)
    if at != len(words):
        raise wrong(f"unexpected {words[at]!r}")
    return value


def _evaluate(words: list[str], at: int, dot: Any, names: dict[str, list[Any]]) -> tuple[Any, int]:
    """A pipeline up to its end or a closing parenthesis."""
    piped: list[Any] = []
    while True:
        operands: list[Any] = []
        function: Callable[..., Any] | None = None
        first = True
        while at < len(words) and words[at] not in ("|", ")"):
            word = words[at]
            at += 1
            if first and word in FUNCTIONS:
                function = FUNCTIONS[word]
            elif word == "(":
                value, at = _evaluate(words, at, dot, names)
                if at >= len(words):
                    raise wrong("a parenthesis that is not closed")
                at += 1
                if at < len(words) and words[at].startswith(")."):
                    value = _field(value, words[at][2:])
                    at += 1
                operands.append(value)
            else:
                operands.append(_operand(word, dot, names))
            if first and function is None and callable(operands[-1]):  # a method
                function = operands.pop()
            first = False
        value = _apply(function, operands + piped)
        if at >= len(words) or words[at] == ")":
            return value, at
        piped, at = [value], at + 1


def _apply(function: Callable[..., Any] | None, operands: list[Any]) -> Any:
    if function is None:
        if len(operands) != 1:
            raise wrong("an action that is neither a field nor a function")
        return operands[0]
    try:
        return function(*operands)
    except errors.AtollError:
        raise
    except (TypeError, ValueError, KeyError, IndexError, AttributeError) as error:
        raise wrong(f"wrong arguments of a function: {error}") from None


def _operand(word: str, dot: Any, names: dict[str, list[Any]]) -> Any:
    if word[0] in "`'":
        return word[1:-1]
    if word[0] == '"':
        return word[1:-1].encode("latin-1", "backslashreplace").decode("unicode_escape")
    if word[0] == "$":
        name, _, path = word.partition(".")
        if name not in names:
            raise wrong(f"undefined variable {name}")
        return _field(names[name][0], path)
    if word[0] == ".":
        return _field(dot, word[1:])
    if word in ("true", "false"):
        return word == "true"
    if word == "nil":
        return None
    if word.lstrip("-").isdecimal():
        return int(word)
    if word.lstrip("-").replace(".", "", 1).isdecimal():
        return float(word)
    raise wrong(f"function {word!r} is not defined")


def _field(value: Any, path: str) -> Any:
    for name in path.split(".") if path else []:
        if isinstance(value, dict):
            if name not in value:
                raise wrong(f'map has no entry for key "{name}"; there are {", ".join(map(str, value))}')
            value = value[name]
        else:
            raise wrong(f"{name!r} of something without fields")
    return value
