"""Pods as objects, and Kubernetes' documents.

Holds: `Pod`, `Pods` (what `client.pods` is). Does not hold: the verbs (`engine/pods/`, `engine/kube/`).
"""

from __future__ import annotations

from atoll.base import units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from atoll.engine.pods.list import PodView
    from atoll.engine.pods.record import PodRow
    from atoll.sdk.client import Client
    from atoll.sdk.containers import Container


class Pod:
    """A pod, by its id. What it is now is asked each time."""

    def __init__(self, client: Client, pod_id: str) -> None:
        self._client, self.id = client, pod_id

    def __repr__(self) -> str:
        return f"Pod({self.id[:12]!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pod) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)

    def _row(self) -> PodRow:
        from atoll.engine.pods import rows

        return rows.find(self._client._engine, self.id)

    def _view(self) -> PodView:
        from atoll.engine.pods.list import view_of

        return view_of(self._client._engine, self._row())

    @property
    def name(self) -> str:
        """Its name."""
        return self._row().name

    @property
    def status(self) -> str:
        """Created, Running, Degraded, Paused, Stopped or Exited."""
        return self._view().status

    @property
    def containers(self) -> list[Container]:
        """Those in it, without the one that holds its namespaces."""
        from atoll.sdk.containers import Container

        return [Container(self._client, one.id) for one in self._view().containers if not one.infra]

    @property
    def details(self) -> dict[str, Any]:
        """All that is known of it, in the shape of Podman's `pod inspect`."""
        from atoll.engine.pods.inspect import inspect

        return inspect(self._client._engine, self.id)

    def create(self, image: str, command: Sequence[str] = (), **how: Any) -> Container:
        """Make a container in it, without starting it; arguments as of `client.containers.create`."""
        return self._client.containers.create(image, command, pod=self.id, **how)

    def run(self, image: str, command: Sequence[str] = (), **how: Any) -> Container:
        """Make a container in it and start it in the background."""
        return self._client.containers.run(image, command, pod=self.id, **how)

    def start(self) -> None:
        """Start all of it."""
        from atoll.engine.pods.start import start

        start(self._client._engine, self.id)

    def stop(self, timeout: int | None = None) -> None:
        """Stop all of it; `timeout` in seconds, -1 for ever."""
        from atoll.engine.pods.stop import stop

        stop(self._client._engine, self.id, timeout=timeout)

    def restart(self, timeout: int | None = None) -> None:
        """Stop and start all of it."""
        from atoll.engine.pods.start import restart

        restart(self._client._engine, self.id, timeout=timeout)

    def kill(self, signal: int = 9) -> None:
        """A signal to the first process of each container that runs."""
        from atoll.engine.pods.stop import kill

        kill(self._client._engine, self.id, signal)

    def pause(self) -> None:
        """Let all of it stand still."""
        from atoll.engine.pods.pause import pause

        pause(self._client._engine, self.id)

    def unpause(self) -> None:
        """Let all of it go on."""
        from atoll.engine.pods.pause import unpause

        unpause(self._client._engine, self.id)

    def remove(self, *, force: bool = False) -> None:
        """Remove it with its containers. Raises Conflict for one that runs, without `force`."""
        from atoll.engine.pods.remove import remove

        remove(self._client._engine, self.id, force=force)

    def logs(self, *, follow: bool = False, tail: int | None = None) -> Iterator[tuple[str, str, bytes]]:
        """(container's name, stdout or stderr, output) of all its containers, in the order of time."""
        from atoll.engine.pods.look import logs

        for row, entry in logs(self._client._engine, self.id, follow=follow, tail=tail):
            yield row.name, entry.stream, entry.data


class Pods:
    """`client.pods`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, name: str) -> Pod:
        """By name, id or the beginning of one. Raises NotFound."""
        from atoll.engine.pods import rows

        return Pod(self._client, rows.find(self._client._engine, name).id)

    def create(
        self,
        name: str | None = None,
        *,
        labels: Mapping[str, str] | None = None,
        memory: str | int | None = None,
        cpus: float | None = None,
        network: str | None = None,
        publish: Sequence[str] = (),
        share: Sequence[str] | None = None,
        **more: Any,
    ) -> Pod:
        """Make one. `memory` is bytes or "512m", for all of it; `publish` as of `-p`; `more` are other fields of
        `engine.pods.record.PodRequest`."""
        from atoll.engine.networks.records import NetworkOptions
        from atoll.engine.pods.create import create
        from atoll.engine.pods.record import PodRequest

        request = PodRequest(
            name=name,
            labels=tuple([f"{key}={value}" for key, value in (labels or {}).items()]),
            memory=units.parse_size(memory, "memory limit") if isinstance(memory, str) else memory,
            cpus=None if cpus is None else int(cpus * 10**9),
            network=network,
            networking=NetworkOptions(publish=tuple(publish)) if publish else None,
            share=None if share is None else tuple(share),
            **more,
        )
        return Pod(self._client, create(self._client._engine, request))

    def play(self, documents: str | bytes, **options: Any) -> list[Pod]:
        """Make the pods of Kubernetes' documents; `options` are fields of `engine.kube.play.Options`. Raises
        InvalidArgument with the path of what is wrong, FailedPrecondition where a container does not start."""
        from atoll.base import errors
        from atoll.engine.kube.play import Options, play

        data = documents.encode() if isinstance(documents, str) else documents
        report = play(self._client._engine, "documents", data, Options(**options), on_missing=self._client._pull)
        failed = [line for pod in report.pods for line in pod.failed]
        if failed:
            raise errors.FailedPrecondition("; ".join(failed))
        return [Pod(self._client, pod.id) for pod in report.pods]

    def generate(self, *names: str) -> str:
        """Kubernetes' documents of these pods and containers, which `play` makes the same of."""
        from atoll.engine.kube.generate import generate
        from atoll.spec import yaml_text

        return yaml_text.dump_all(list(generate(self._client._engine, names).documents))

    def list(self, filters: Sequence[str] = ()) -> list[Pod]:
        """Newest first, those for which all `filters` hold (`name=web`, `status=running`, …)."""
        from atoll.engine.pods.list import list_pods

        return [Pod(self._client, view.id) for view in list_pods(self._client._engine, tuple(filters))]
