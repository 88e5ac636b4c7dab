"""`atoll ps`: the containers, in Docker's columns."""

from __future__ import annotations

import sys
import time

from atoll.base import errors, ids
from atoll.cli import display
from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.requests import ContainerView

COMMAND = Command(
    name="ps",
    usage="ps [OPTIONS]",
    help="List containers",
    aliases=("container ls",),
    flags=(
        Flag(name="all", short="a", help="Also those that do not run"),
        Flag(name="filter", short="f", kind=LIST, help="Only those for which it holds, e.g. status=exited, name=web"),
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="last", short="n", kind=NUMBER, what="int", help="The last n created"),
        Flag(name="latest", short="l", help="The last one created"),
        Flag(name="no-trunc", help="Do not cut anything"),
        Flag(name="quiet", short="q", help="Only the IDs"),
    ),
)
_FILTERS = ("id", "name", "status", "label", "ancestor", "exited")


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    count = 1 if given.on("latest") else given.number("last")
    views = open_engine().containers(all=given.on("all") or count is not None or _asks_for_ended(given))
    views = [view for view in views if _matches(view, given.texts("filter"))]
    if count is not None and count >= 0:
        views = views[:count]
    sys.stdout.write(_shown(views, given))
    return 0


def _asks_for_ended(given: Given) -> bool:
    return any(f.partition("=")[0] in ("status", "exited") for f in given.texts("filter"))


def _matches(view: ContainerView, filters: tuple[str, ...]) -> bool:
    for kind in {f.partition("=")[0] for f in filters}:
        if kind not in _FILTERS:
            raise errors.InvalidArgument(f"invalid filter '{kind}'", hint="known are " + ", ".join(_FILTERS))
        values = [f.partition("=")[2] for f in filters if f.partition("=")[0] == kind]
        if not any(_holds(view, kind, value) for value in values):
            return False
    return True


def _holds(view: ContainerView, kind: str, value: str) -> bool:
    if kind == "id":
        return view.id.startswith(value)
    if kind == "name":
        return value.removeprefix("/").strip("^$") in view.name
    if kind == "status":
        return view.state == value
    if kind == "exited":
        return view.state == "exited" and str(view.exit_code) == value
    if kind == "ancestor":
        return value in (view.image, view.image.partition(":")[0], view.image_id, ids.short_id(view.image_id))
    key, equals, wanted = value.partition("=")
    return any(k == key and (not equals or v == wanted) for k, v in view.labels)


def _shown(views: list[ContainerView], given: Given) -> str:
    whole, now = given.on("no-trunc"), time.time_ns()
    if given.on("quiet"):
        return "".join([(view.id if whole else ids.short_id(view.id)) + "\n" for view in views])
    rows = [_fields(view, now, whole=whole) for view in views]
    style = given.text("format")
    if style is None or style == "table":
        header = ("CONTAINER ID", "IMAGE", "COMMAND", "CREATED", "STATUS", "PORTS", "NAMES")
        keys = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
        return display.table(header, [[row[key] for key in keys] for row in rows])
    from atoll.cli.listing import formatted

    return formatted(style, rows)


def _fields(view: ContainerView, now: int, *, whole: bool) -> dict[str, Any]:
    from atoll.base import clock

    command = " ".join(view.command)
    return {
        "ID": view.id if whole else ids.short_id(view.id),
        "Image": view.image,
        "Command": '"' + (command if whole else display.shortened(command, 20)) + '"',
        "CreatedAt": clock.local(clock.parse(view.created_at)),
        "RunningFor": display.ago(view.created_at, now),
        "Status": status_words(view, now),
        "State": view.state,
        "Ports": "",
        "Names": view.name,
        "Labels": ",".join([f"{key}={value}" for key, value in view.labels]),
        "Mounts": ",".join(view.mounts),
        "Networks": view.network,
        "LocalVolumes": "0",
        "Size": "0B",
    }


def status_words(view: ContainerView, now: int) -> str:
    """`Up 5 minutes`, `Exited (0) 3 hours ago`, `Created`."""
    if view.state == "created":
        return "Created"
    if view.state in ("running", "paused"):
        return f"Up {display.span(view.started_at, now)}" + (" (Paused)" if view.state == "paused" else "")
    return f"Exited ({view.exit_code}) {display.ago(view.finished_at, now)}".rstrip()
