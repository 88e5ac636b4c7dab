"""One verb for every container of a pod: go on after a failure, and say so at the end."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRow
    from atoll.engine.store import ContainerRow


def members(engine: Engine, pod: PodRow, *, infra: bool | None = None) -> list[ContainerRow]:
    """Its containers in the order of their making, the one that holds its namespaces first; with `infra` only that
    one, or only the others."""
    found = [(not Record.from_text(one.record).infra, one) for one in engine.store.in_pod(pod.id)]
    found.sort(key=lambda pair: pair[0])
    return [one for other, one in found if infra is None or other is not infra]


def states(engine: Engine, pod: PodRow) -> list[tuple[ContainerRow, str]]:
    """Its containers and what they are now."""
    return [(one, state_of(engine, one.id).status) for one in members(engine, pod)]


def each(pod: PodRow, containers: Sequence[ContainerRow], verb: str, act: Callable[[str], object]) -> None:
    """Call `act` with each id. Raises the first error with the others as its notes, after all were tried; one that
    was removed meanwhile is fine."""
    failed: list[str] = []
    first: errors.AtollError | None = None
    for one in containers:
        try:
            act(one.id)
        except errors.NotFound:
            continue
        except errors.AtollError as error:
            failed.append(f"{one.name}: {error.message if first is not None else error}")
            first = first or error
    if first is not None:
        raise type(first)(f"cannot {verb} all of pod {pod.name}: " + "; ".join(failed)) from first
