"""`atoll pod ps`: the pods, in Podman's columns."""

from __future__ import annotations

import sys
import time

from atoll.base import ids
from atoll.cli import display
from atoll.cli.options import LIST, TEXT, Command, Flag
from atoll.cli.pod.chosen import LATEST

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.pods.list import PodView

COMMAND = Command(
    name="pod ps",
    usage="pod ps [OPTIONS]",
    help="List pods",
    aliases=("pod ls", "pod list"),
    flags=(
        Flag(name="ctr-ids", help="Show the IDs of the containers"),
        Flag(name="ctr-names", help="Show the names of the containers"),
        Flag(name="ctr-status", help="Show the states of the containers"),
        Flag(
            name="filter", short="f", kind=LIST, help="Only those for which it holds, e.g. status=running, name=web"
        ),
        Flag(name="format", kind=TEXT, help="json, table, table TEMPLATE, or a Go template"),
        LATEST,
        Flag(name="namespace", help="Show what the containers share"),
        Flag(name="no-trunc", help="Do not cut anything"),
        Flag(name="noheading", short="n", help="Without headings"),
        Flag(name="quiet", short="q", help="Only the IDs"),
        Flag(name="sort", kind=TEXT, help="By created, id, name, status or number"),
    ),
)
HEADINGS = {
    "Id": "POD ID",
    "Created": "CREATED",
    "InfraId": "INFRA ID",
    "NumberOfContainers": "# OF CONTAINERS",
    "ContainerIds": "IDS",
    "ContainerNames": "NAMES",
    "ContainerStatuses": "STATUS",
    "Namespaces": "NAMESPACES",
}
_SORTS: dict[str, Callable[[PodView], Any]] = {
    "created": lambda view: view.created_at,
    "id": lambda view: view.id,
    "name": lambda view: view.name,
    "status": lambda view: (view.status, view.name),
    "number": lambda view: len(view.containers),
}


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.listing import in_order
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.list import list_pods

    views = in_order(list_pods(open_engine(), given.texts("filter")), given.text("sort"), _SORTS)
    if given.on("latest"):
        views = sorted(views, key=lambda view: -view.created_at)[:1]
    sys.stdout.write(_shown(views, given))
    return 0


def _shown(views: list[PodView], given: Given) -> str:
    whole, style = given.on("no-trunc"), given.text("format")
    if given.on("quiet") and style is None:
        return "".join([(view.id if whole else ids.short_id(view.id)) + "\n" for view in views])
    if style == "json":
        from atoll.base import jsontext

        return jsontext.pretty([_document(view) for view in views]) + "\n"
    rows = [_fields(view, time.time_ns(), whole=whole) for view in views]
    columns = ["Id", "Name", "Status", "Created"]
    if not (given.on("ctr-ids") or given.on("ctr-names") or given.on("ctr-status")):
        columns += ["InfraId", "NumberOfContainers"]
    for flag, column in (("ctr-ids", "ContainerIds"), ("ctr-names", "ContainerNames"),
                         ("ctr-status", "ContainerStatuses"), ("namespace", "Namespaces")):  # fmt: skip
        if given.on(flag):
            columns.append(column)
    text = display.listed(style, rows, columns, HEADINGS)
    return text.partition("\n")[2] if given.on("noheading") and style in (None, "", "table") else text


def _fields(view: PodView, now: int, *, whole: bool) -> dict[str, Any]:
    from atoll.base import clock

    labels = dict(view.labels)
    return {
        "Id": view.id if whole else ids.short_id(view.id),
        "ID": view.id if whole else ids.short_id(view.id),
        "Name": view.name,
        "Status": view.status,
        "Created": display.ago(clock.rfc3339(view.created_at), now),
        "InfraId": view.infra_id if whole else ids.short_id(view.infra_id),
        "InfraID": view.infra_id if whole else ids.short_id(view.infra_id),
        "NumberOfContainers": len(view.containers),
        "ContainerIds": ",".join([one.id if whole else ids.short_id(one.id) for one in view.containers]),
        "ContainerNames": ",".join([one.name for one in view.containers]),
        "ContainerStatuses": ",".join([one.state for one in view.containers]),
        "Cgroup": view.cgroup,
        "Namespace": ",".join(view.share),
        "Namespaces": ",".join(view.share),
        "Networks": view.network,
        "Label": lambda key: labels.get(key, ""),
        "Labels": ",".join([f"{key}={value}" for key, value in sorted(view.labels)]),
    }


def _document(view: PodView) -> dict[str, Any]:
    from atoll.base import clock

    return {
        "Cgroup": view.cgroup,
        "Containers": [{"Id": one.id, "Names": one.name, "Status": one.state} for one in view.containers],
        "Created": clock.rfc3339(view.created_at),
        "Id": view.id,
        "InfraId": view.infra_id,
        "Name": view.name,
        "Namespace": ",".join(view.share),
        "Networks": [view.network],
        "Status": view.status,
        "Labels": dict(view.labels),
    }
