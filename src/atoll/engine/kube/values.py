"""What a pod's document comes to, as values: `Planned`, in terms of requests that the engine has anyway."""

from __future__ import annotations

from atoll.base.value import Value
from atoll.engine.pods.record import PodRequest
from atoll.engine.requests import RunRequest


class Content(Value):
    """A file of a volume that belongs to a pod."""

    path: str
    data: bytes
    mode: int


class OwnVolume(Value):
    """A volume that goes with its pod: of an emptyDir, or with the files of a ConfigMap."""

    name: str
    files: tuple[Content, ...] = ()


class Place(Value):
    """A hostPath: `type` as Kubernetes has it, `where` its path in the document."""

    path: str
    type: str
    where: str


class Step(Value):
    """One container; an `init` one is waited for before the next. `non_root`: it may not run as uid 0."""

    request: RunRequest
    init: bool = False
    non_root: bool = False


class Planned(Value):
    """All of a pod. `claims` are the named volumes it uses."""

    pod: PodRequest
    steps: tuple[Step, ...]
    own: tuple[OwnVolume, ...] = ()
    claims: tuple[str, ...] = ()
    places: tuple[Place, ...] = ()
    warnings: tuple[str, ...] = ()


class Known(Value):
    """What documents may refer to: ConfigMaps by name with their files, Secrets by name with their keys (the contents
    are in the vault, as `secret_name` says)."""

    maps: tuple[tuple[str, tuple[tuple[str, bytes], ...]], ...] = ()
    secrets: tuple[tuple[str, tuple[str, ...]], ...] = ()

    def map(self, name: str) -> dict[str, bytes] | None:
        """The data of a ConfigMap; None if there is none of that name."""
        found = dict(self.maps).get(name)
        return None if found is None else dict(found)

    def secret(self, name: str) -> tuple[str, ...] | None:
        """The keys of a Secret; None if there is none of that name."""
        return dict(self.secrets).get(name)


def secret_name(secret: str, key: str) -> str:
    """The name in the vault of one key of a Secret. One that was made by `secret create` has itself as its key."""
    return secret if secret == key else f"{secret}.{key}"
