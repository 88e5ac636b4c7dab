"""`--format` of the commands that show one document."""

from __future__ import annotations

from atoll.base import jsontext
from atoll.cli.template import render

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def show(document: dict[str, Any], style: str) -> str:
    """`json`, or a Go template over the document's fields."""
    return (jsontext.dumps(document) if style == "json" else render(style, document)) + "\n"


def outline(document: dict[str, Any], depth: int = 0) -> list[str]:
    """The document as indented lines `Key: value`, for people."""
    lines: list[str] = []
    for key, value in document.items():
        lead = " " * depth
        if isinstance(value, dict):
            lines += [f"{lead}{key}:", *outline(value, depth + 1)]
        elif isinstance(value, list):
            if value and isinstance(value[0], str):
                lines.append(f"{lead}{key}: {' '.join(value)}" if len(value) < 12 else f"{lead}{key}: {len(value)}")
            elif value:
                lines.append(f"{lead}{key}: {len(value)}")
        elif isinstance(value, bool):
            lines.append(f"{lead}{key}: {'true' if value else 'false'}")
        else:
            lines.append(f"{lead}{key}: {value}")
    return lines
