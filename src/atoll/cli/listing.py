"""`--format` and `--sort` of the commands that list: JSON lines, tables and templates over rows of named fields.

A field may be a function, for what Docker writes as a method (`{{.Label "key"}}`); JSON leaves those out.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.cli import display
from atoll.cli.template import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")


def formatted(style: str, rows: Sequence[Mapping[str, Any]], headings: Mapping[str, str]) -> str:
    """`json` gives one object a line, `table TEMPLATE` columns, anything else is a template for each row. `headings`
    are those of fields whose column is not simply their name."""
    if style == "json":
        return "".join([json_line(row) + "\n" for row in rows])
    template = style.replace("\\t", "\t").replace("\\n", "\n")
    if not style.startswith("table"):
        return "".join([display.printable(render(template, row), keep="\n\t") + "\n" for row in rows])
    template = template.removeprefix("table").strip(" ")
    header = render(template, _Headings(headings))
    cells = [render(template, row).split("\t") for row in rows]
    return display.table(header.split("\t"), cells)


def json_line(row: Mapping[str, Any]) -> str:
    """The row as one JSON object, fields in order."""
    return jsontext.dumps({key: row[key] for key in sorted(row) if not callable(row[key])})


def raw(rows: Sequence[Mapping[str, Any]], names: tuple[tuple[str, str], ...]) -> str:
    """Docker's `--format raw`: a block of `name: value` lines for each row, a blank line after it."""
    blocks = []
    for row in rows:
        lines = [f"{name}: {display.printable(str(row[field]))}".rstrip() for name, field in names]
        blocks.append("\n".join(lines) + "\n\n")
    return "".join(blocks)


def in_order(values: list[T], by: str | None, keys: Mapping[str, Callable[[T], Any]]) -> list[T]:
    """What `--sort` asks for, by one of `keys`; None leaves them as they are. Raises InvalidArgument."""
    if by is None:
        return values
    if by not in keys:
        raise errors.InvalidArgument(f"invalid value {by!r} for --sort", hint="known are " + ", ".join(keys))
    return sorted(values, key=keys[by])


class _Headings(dict[str, "Any"]):
    """Any field is there: its column's heading."""

    def __missing__(self, field: str) -> Any:
        if field == "Label":
            return lambda key: key.rpartition(".")[2].replace("-", " ").replace("_", " ")
        return field.upper()

    def __contains__(self, field: object) -> bool:
        return True
