"""pod ps: the pods with what they are now.

Holds: `PodView`, `list_pods`, `status_of`, `view_of`. Source of the states and filters: podman-pod-ps(1).
"""

from __future__ import annotations

import time

from atoll.base import clock, errors
from atoll.base.value import Value
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import CREATED, EXITED, PAUSED, RUNNING
from atoll.engine.filters import has_labels, split
from atoll.engine.pods import rows
from atoll.engine.pods.each import states
from atoll.engine.pods.remove import mend

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRow

    Test = Callable[["PodView"], bool]

KINDS = ("ctr-ids", "ctr-names", "ctr-number", "ctr-status", "id", "label", "label!", "name", "network", "status",
         "until")  # fmt: skip
STATES = ("created", "running", "paused", "stopped", "exited", "degraded", "dead")


class Member(Value):
    """A container of a pod."""

    id: str
    name: str
    state: str
    infra: bool = False


class PodView(Value):
    """A row of `pod ps`; `status` as Podman writes it (`Running`), `created_at` in nanoseconds since the epoch."""

    id: str
    name: str
    status: str
    created_at: int
    infra_id: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    network: str = "none"
    cgroup: str = ""
    share: tuple[str, ...] = ()
    containers: tuple[Member, ...] = ()


def list_pods(engine: Engine, filters: tuple[str, ...] = ()) -> list[PodView]:
    """Newest first, those for which all the filters hold; values of one kind are alternatives, but labels. What a
    killed command left half made is removed on the way. Raises InvalidArgument for a filter that is none."""
    tests = _tests(filters)
    found = []
    for row in rows.every(engine.store):
        if mend(engine, row):
            continue
        view = view_of(engine, row)
        if all(test(view) for test in tests):
            found.append(view)
    return found


def view_of(engine: Engine, row: PodRow) -> PodView:
    """One row of the list."""
    found = []
    for one, state in states(engine, row):
        found.append(Member(id=one.id, name=one.name, state=state, infra=Record.from_text(one.record).infra))
    infra = next((one.id for one in found if one.infra), "")
    return PodView(
        id=row.id,
        name=row.name,
        status=status_of([one.state for one in found]),
        created_at=row.created_at,
        infra_id=infra,
        labels=row.record.labels,
        network=row.record.network,
        cgroup=row.record.cgroup,
        share=row.record.share,
        containers=tuple(found),
    )


def status_of(states: list[str]) -> str:
    """A pod's state from its containers': as Podman has it, one of them running makes it Degraded at least."""
    count = {state: states.count(state) for state in (RUNNING, PAUSED, EXITED, CREATED)}
    if not states:
        return "Created"
    if count[RUNNING] == len(states):
        return "Running"
    if count[RUNNING]:
        return "Degraded"
    if count[PAUSED]:
        return "Paused" if count[PAUSED] == len(states) else "Degraded"
    if count[EXITED] == len(states):
        return "Exited"
    return "Stopped" if count[EXITED] else "Created"


def _tests(filters: tuple[str, ...]) -> list[Test]:
    given = split(filters)
    for kind in given:
        if kind not in KINDS:
            raise errors.InvalidArgument(f"{kind} is an invalid filter", hint="known are " + ", ".join(KINDS))
    return [_test(kind, values) for kind, values in given.items()]


def _test(kind: str, values: list[str]) -> Test:
    if kind in ("label", "label!"):
        return lambda view: has_labels(view.labels, {kind: values})
    if kind == "until":
        moments = [clock.since(value, time.time_ns()) for value in values]
        return lambda view: view.created_at < min(moments)
    if kind == "status":
        for value in values:
            if value.lower() not in STATES:
                raise errors.InvalidArgument(f"{value} is not a valid pod status", hint=", ".join(STATES))
        return lambda view: view.status.lower() in [value.lower() for value in values]
    if kind in ("name", "ctr-names"):
        patterns = [_pattern(kind, value) for value in values]
        if kind == "name":
            return lambda view: any(pattern(view.name) for pattern in patterns)
        return lambda view: any(pattern(one.name) for pattern in patterns for one in view.containers)
    simple: dict[str, Callable[[PodView, str], bool]] = {
        "id": lambda view, value: view.id.startswith(value),
        "network": lambda view, value: view.network == value,
        "ctr-ids": lambda view, value: any(one.id.startswith(value) for one in view.containers),
        "ctr-status": lambda view, value: any(one.state == value for one in view.containers),
        "ctr-number": lambda view, value: str(len(view.containers)) == value,
    }
    return lambda view: any(simple[kind](view, value) for value in values)


def _pattern(kind: str, value: str) -> Callable[[str], bool]:
    import re

    try:
        pattern = re.compile(value)
    except re.error as error:
        raise errors.InvalidArgument(f"invalid filter '{kind}={value}': {error}") from None
    return lambda name: pattern.search(name) is not None
