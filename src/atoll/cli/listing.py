"""`--format` of the commands that list: JSON lines, tables and templates over rows of named fields."""

from __future__ import annotations

from atoll.base import jsontext
from atoll.cli import display
from atoll.cli.template import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def formatted(style: str, rows: list[dict[str, Any]]) -> str:
    """`json` gives one object a line, `table TEMPLATE` columns, anything else is a template for each row."""
    if style == "json":
        return "".join([jsontext.dumps(row) + "\n" for row in rows])
    if not style.startswith("table "):
        return "".join([display.printable(render(style, row), keep="\n\t") + "\n" for row in rows])
    template = style.removeprefix("table ").replace("\\t", "\t")
    names = {field: _heading(field) for row in rows[:1] for field in row}
    header = render(template, _Headings(names)) if rows else template
    cells = [render(template, row).split("\t") for row in rows]
    return display.table(header.split("\t"), cells)


class _Headings(dict[str, str]):
    def __missing__(self, field: str) -> str:
        return _heading(field)

    def __contains__(self, field: object) -> bool:
        return True


_SPECIAL = {
    "ID": "CONTAINER ID",
    "RunningFor": "CREATED",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "LocalVolumes": "LOCAL VOLUMES",
}


def _heading(field: str) -> str:
    return _SPECIAL.get(field, field.upper())
