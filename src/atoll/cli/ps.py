"""`atoll ps`: the containers, in Docker's columns."""

from __future__ import annotations

import sys
import time

from atoll.base import ids
from atoll.cli import display
from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.engine.requests import ContainerView

COMMAND = Command(
    name="ps",
    usage="ps [OPTIONS]",
    help="List containers",
    aliases=("container ls",),
    flags=(
        Flag(name="all", short="a", help="Also those that do not run"),
        Flag(name="filter", short="f", kind=LIST, help="Only those for which it holds, e.g. status=exited, name=web"),
        Flag(name="format", kind=TEXT, help="json, table, raw, table TEMPLATE, or a Go template"),
        Flag(name="last", short="n", kind=NUMBER, what="int", help="The last n created"),
        Flag(name="latest", short="l", help="The last one created"),
        Flag(name="no-trunc", help="Do not cut anything"),
        Flag(name="pod", short="p", help="Show the pods that they are in"),
        Flag(name="quiet", short="q", help="Only the IDs"),
        Flag(name="size", short="s", help="Show what they take on disk"),
        Flag(name="sort", kind=TEXT, help="By created, id, image, names, size or status"),
    ),
)
HEADINGS = {
    "ID": "CONTAINER ID",
    "RunningFor": "CREATED",
    "CreatedAt": "CREATED AT",
    "LocalVolumes": "LOCAL VOLUMES",
    "Pod": "POD ID",
    "PodName": "PODNAME",
}
_COLUMNS = ("ID", "Image", "Command", "RunningFor", "Status", "Ports", "Names")
_SORTS: dict[str, Callable[[ContainerView], Any]] = {
    "created": lambda view: view.created_at,
    "id": lambda view: view.id,
    "image": lambda view: view.image,
    "names": lambda view: view.name,
    "size": lambda view: view.size or 0,
    "status": lambda view: (view.state, view.name),
}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.list import list_containers

    count = 1 if given.on("latest") else given.number("last")
    size = given.on("size") or ".Size" in (given.text("format") or "") or given.text("sort") == "size"
    engine = open_engine()
    views = list_containers(engine, all=given.on("all"), filters=given.texts("filter"), count=count, size=size)
    pods = _pods(engine) if given.on("pod") or ".Pod" in (given.text("format") or "") else None
    if (by := given.text("sort")) is not None:
        from atoll.cli.listing import in_order

        views = in_order(views, by, _SORTS)
    sys.stdout.write(_shown(views, given, size=size, pods=pods))
    return 0


def _pods(engine: Engine) -> dict[str, str]:
    """The names of all pods by their ids."""
    from atoll.engine.pods import rows

    return {row.id: row.name for row in rows.every(engine.store)}


def _shown(views: list[ContainerView], given: Given, *, size: bool, pods: dict[str, str] | None) -> str:
    whole, now = given.on("no-trunc"), time.time_ns()
    if given.on("quiet") and given.text("format") is None:
        return "".join([(view.id if whole else ids.short_id(view.id)) + "\n" for view in views])
    rows = [_fields(view, now, whole=whole) for view in views]
    if pods is not None:
        for row, view in zip(rows, views, strict=True):
            row.update(Pod=view.pod if whole else ids.short_id(view.pod), PodName=pods.get(view.pod, ""))
    style = given.text("format")
    if style == "raw":
        from atoll.cli.listing import raw

        return raw(rows, _RAW if size else _RAW[:-1])
    columns = (*_COLUMNS, "Size") if size else _COLUMNS
    columns = (*columns, "Pod", "PodName") if given.on("pod") else columns
    return display.listed(style, rows, columns, HEADINGS)


_RAW = (
    ("container_id", "ID"),
    ("image", "Image"),
    ("command", "Command"),
    ("created_at", "CreatedAt"),
    ("state", "State"),
    ("status", "Status"),
    ("names", "Names"),
    ("labels", "Labels"),
    ("ports", "Ports"),
    ("size", "Size"),
)


def _fields(view: ContainerView, now: int, *, whole: bool) -> dict[str, Any]:
    from atoll.base import clock

    first, *rest = view.command or ("",)
    command = " ".join([first, *[f"'{word}'" if " " in word else word for word in rest]])  # as Docker quotes it
    labels = dict(view.labels)
    return {
        "ID": view.id if whole else ids.short_id(view.id),
        "Image": view.image,
        "Command": '"' + (command if whole else display.shortened(command, 20)) + '"',
        "CreatedAt": clock.local(clock.parse(view.created_at)),
        "RunningFor": display.ago(view.created_at, now),
        "Status": status_words(view, now),
        "State": view.state,
        "Ports": view.ports,
        "Names": view.name,
        "Label": lambda key: labels.get(key, ""),
        "Labels": ",".join([f"{key}={value}" for key, value in sorted(view.labels)]),
        "Mounts": ",".join([one if whole else display.shortened(one, 15) for one in view.mounts]),
        "Networks": view.network,
        "LocalVolumes": str(view.volumes),
        "Size": _size(view),
    }


def _size(view: ContainerView) -> str:
    if view.size is None:
        return "0B"
    from atoll.base import units

    shown = units.show_size(view.size)
    return f"{shown} (virtual {units.show_size(view.size_root)})" if view.size_root else shown


def status_words(view: ContainerView, now: int) -> str:
    """`Up 5 minutes`, `Up 3 seconds (healthy)`, `Exited (0) 3 hours ago`, `Created`."""
    if view.state == "created":
        return "Created"
    if view.state in ("running", "paused"):
        more = " (Paused)" if view.state == "paused" else _health(view.health)
        return f"Up {display.span(view.started_at, now)}{more}"
    word = "Restarting" if view.state == "restarting" else "Exited"
    return f"{word} ({view.exit_code or 0}) {display.ago(view.finished_at, now)}".rstrip()


def _health(health: str | None) -> str:
    if health in (None, "none", ""):
        return ""
    return " (health: starting)" if health == "starting" else f" ({health})"
