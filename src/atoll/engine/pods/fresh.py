"""`run --pod new:NAME`: a pod made for a container, which gets what the container asks of networks."""

from __future__ import annotations

from atoll.engine.pods.create import create
from atoll.engine.pods.record import PodRequest
from atoll.engine.pods.remove import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest

NEW = "new:"


def with_new_pod(engine: Engine, request: RunRequest) -> tuple[RunRequest, Callable[[], object]]:
    """The request in a pod of its own, made now, and how to remove that again. Raises what `create` does."""
    name = request.pod.removeprefix(NEW)
    wanted = PodRequest(
        name=name or None, network=request.network, networking=request.networking, hostname=request.hostname
    )
    pod = create(engine, wanted)
    changed = request.replace(pod=pod, network=None, networking=None, hostname=None)
    return changed, lambda: remove(engine, pod, force=True)
