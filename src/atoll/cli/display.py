"""Tables, columns and text that is safe to show.

Holds: Docker's column layout, lists, relative times, `printable`. Does not hold: templates (`template.py`).
What comes from an image, a container or a registry may hold terminal escapes: everything shown passes `printable`.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

_GAP = 3
_LEAST = 10


def printable(text: str, *, keep: str = "") -> str:
    """The text with every control character, and what reverses direction, shown as an escape instead of acting."""
    if text.isascii() and text.isprintable():
        return text
    return "".join([c if c in keep or _harmless(c) else _escape(c) for c in text])


def _harmless(character: str) -> bool:
    return character.isprintable() and character not in "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


def _escape(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, least: int = _LEAST) -> str:
    """Columns as Docker's tables have them: at least ten wide, three spaces apart, the last one unpadded. A row may
    have fewer cells."""
    cells = [list(header), *[[printable(cell) for cell in row] for row in rows]]
    columns = range(len(header) - 1)
    widths = [max(max(len(row[i]) for row in cells if i < len(row)) + _GAP, least) for i in columns]
    lines = []
    for row in cells:
        padded = [f"{cell:<{width}}" for cell, width in zip(row, widths, strict=False)]
        lines.append("".join([*padded, *row[len(widths) :]]).rstrip())
    return "\n".join(lines) + "\n"


def listed(
    style: str | None, rows: Sequence[Mapping[str, Any]], columns: Sequence[str], headings: Mapping[str, str]
) -> str:
    """A list as `--format` asks for it: without one, or for `table`, these `columns` of the rows; whatever else it
    says over all their fields (`listing.py`). `headings` are of fields whose column is not simply their name."""
    if not style or style == "table":
        header = [headings.get(column, column.upper()) for column in columns]
        return table(header, [[str(row[column]) for column in columns] for row in rows])
    from atoll.cli.listing import formatted

    return formatted(style, rows, headings)


def shortened(text: str, width: int) -> str:
    """The text cut to `width`, with an ellipsis in its last place."""
    return text if len(text) <= width else text[: width - 1] + "…"


def ago(stamp: str | None, now_ns: int) -> str:
    """`5 minutes ago` for an RFC 3339 time, or nothing."""
    if not stamp:
        return ""
    from atoll.base import clock, units

    return units.show_span(max(0, now_ns - clock.parse(stamp)) / 1e9) + " ago"


def span(stamp: str | None, now_ns: int) -> str:
    """`5 minutes` since an RFC 3339 time."""
    if not stamp:
        return "Less than a second"
    from atoll.base import clock, units

    return units.show_span(max(0, now_ns - clock.parse(stamp)) / 1e9)
