"""`atoll image tree`: the layers of images, and which images share them."""

from __future__ import annotations

import sys

from atoll.base import ids, units
from atoll.cli.display import printable
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.engine.images.tree import Node

COMMAND = Command(
    name="image tree",
    usage="image tree [OPTIONS] [IMAGE]",
    help="Show the layers of an image, or of all, and which images stand on which",
    flags=(Flag(name="no-trunc", help="Do not cut the IDs"),),
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    sys.stdout.write(show(open_engine(), given.args[0] if given.args else None, whole=given.on("no-trunc")))
    return 0


def show(engine: Engine, name: str | None, *, whole: bool) -> str:
    """The tree as text."""
    from atoll.engine.images.tree import tree

    lines: list[str] = []
    for top in tree(engine, name):
        _draw(top, "", "", lines, whole=whole)
    return "".join([line + "\n" for line in lines])


def _draw(node: Node, first: str, rest: str, lines: list[str], *, whole: bool) -> None:
    """A chain of layers goes straight down; where images part, it branches."""
    while True:
        shown = node.chain_id if whole else ids.short_id(node.chain_id)
        ends = f"  top of: {printable(', '.join(node.images))}" if node.images else ""
        lines.append(f"{first}{shown} {units.show_size(node.size)}{ends}")
        first = rest
        if len(node.children) != 1:
            break
        node = node.children[0]
    for index, child in enumerate(node.children):
        last = index == len(node.children) - 1
        _draw(child, rest + ("└── " if last else "├── "), rest + ("    " if last else "│   "), lines, whole=whole)
