"""`atoll images`: the images, in Docker's columns."""

from __future__ import annotations

import sys
import time

from atoll.base import clock, ids, units
from atoll.cli import display
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.requests import ImageView

COMMAND = Command(
    name="images",
    usage="images [OPTIONS] [REPOSITORY[:TAG]]",
    help="List images",
    aliases=("image ls",),
    flags=(
        Flag(name="all", short="a", help="As in Docker; there are no hidden images here"),
        Flag(name="digests", help="Show digests"),
        Flag(name="filter", short="f", kind=LIST, help="before, since, until, label, reference, dangling"),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="no-trunc", help="Do not cut anything"),
        Flag(name="quiet", short="q", help="Only the IDs"),
        Flag(name="tree", help="The layers, and which images stand on which"),
    ),
    most=1,
)
HEADINGS = {
    "ID": "IMAGE ID",
    "CreatedSince": "CREATED",
    "CreatedAt": "CREATED AT",
    "SharedSize": "SHARED SIZE",
    "UniqueSize": "UNIQUE SIZE",
    "VirtualSize": "VIRTUAL SIZE",
}
_NONE = "<none>"


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.filters import Filters

    if given.on("tree"):
        from atoll.cli.image.tree import show

        sys.stdout.write(show(open_engine(), given.args[0] if given.args else None, whole=given.on("no-trunc")))
        return 0
    engine = open_engine()
    wanted = Filters(engine, given.texts("filter"))
    now = time.time_ns()
    views = [view for view in engine.images() if wanted.view(view, now=now)]
    if given.args:
        views = [view for view in views if _named(view, given.args[0])]
    sys.stdout.write(_shown(views, given))
    return 0


def _named(view: ImageView, wanted: str) -> bool:
    """A repository, with or without a tag, either with `*` in it, as Docker takes them."""
    import fnmatch

    name = view.repository or _NONE
    return any(fnmatch.fnmatchcase(one, wanted) for one in (name, f"{name}:{view.tag}"))


def _shown(views: list[ImageView], given: Given) -> str:
    whole, now = given.on("no-trunc"), time.time_ns()
    if given.on("quiet"):
        seen = dict.fromkeys(view.id if whole else ids.short_id(view.id) for view in views)
        return "".join([one + "\n" for one in seen])
    rows = [_fields(view, now, whole=whole) for view in views]
    columns = ["Repository", "Tag", "ID", "CreatedSince", "Size"]
    if given.on("digests"):
        columns.insert(2, "Digest")
    return display.listed(given.text("format"), rows, columns, HEADINGS)


def _fields(view: ImageView, now: int, *, whole: bool) -> dict[str, Any]:
    return {
        "Repository": view.repository or _NONE,
        "Tag": view.tag or _NONE,
        "ID": view.id if whole else ids.short_id(view.id),
        "Digest": view.digest or _NONE,
        "CreatedSince": display.ago(view.created_at, now) or "N/A",
        "CreatedAt": clock.local(clock.parse(view.created_at)) if view.created_at else "N/A",
        "Size": units.show_size(view.size),
        "Containers": str(view.containers),
        "SharedSize": "N/A",
        "UniqueSize": "N/A",
        "VirtualSize": units.show_size(view.size),
    }
