"""By which names a network knows a pod: its own, and those of its containers, which share its address."""

from __future__ import annotations

from atoll.engine.containers.record import Record
from atoll.engine.pods import rows

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.store import ContainerRow, Store


def add_names(store: Store, containers: Sequence[ContainerRow], names: dict[str, tuple[str, ...]]) -> None:
    """Give each container that holds a pod's network the names of those that share it; `names` are by id."""
    pods = {row.id: row for row in rows.every(store)}
    holders: dict[str, str] = {}
    sharing: dict[str, list[str]] = {}
    for one in containers:
        if one.pod is None or one.pod not in pods or "net" not in pods[one.pod].record.share:
            continue
        if Record.from_text(one.record).infra:
            holders[one.pod] = one.id
        else:
            sharing.setdefault(one.pod, []).append(one.name)
    for pod, holder in holders.items():
        row = pods[pod]
        names[holder] = (*names[holder], row.name, row.record.hostname, *sharing.get(pod, ()))
