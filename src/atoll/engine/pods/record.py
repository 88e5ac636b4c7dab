"""What is asked for when a pod is made, and what is remembered of it.

Holds: `PodRequest`, `PodRecord` and its JSON (a column of the store), `PodRow`. Does not hold: whether it runs
(`list.py`). What its network and namespaces are is in the record of its infra container.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.engine.containers.limits import Limits
from atoll.engine.containers.sharing import Sharing
from atoll.engine.networks.records import NetworkOptions
from atoll.spec import codec
from atoll.spec.codec import flag, int64, list_of, map_of, text

_texts = list_of(text)

KINDS = ("ipc", "net", "pid", "uts")
DEFAULT_SHARE = ("ipc", "net", "uts")
CONTINUE, STOP = "continue", "stop"


class PodRequest(Value):
    """`pod create`, as typed. `share` None for the default; `sharing` has --userns, --uidmap, --gidmap and
    --cgroup-parent, and `host` for a namespace of the host's; `volumes`, `security_opt` and `devices` are for every
    container in it; sizes in bytes, `cpus` in billionths; `replace_old`: one of that
    name is removed before; `own_volumes` go with it; `isolation` "" for the default."""

    name: str | None = None
    hostname: str | None = None
    labels: tuple[str, ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    share: tuple[str, ...] | None = None
    infra: bool = True
    infra_name: str | None = None
    exit_policy: str = CONTINUE
    network: str | None = None
    networking: NetworkOptions | None = None
    sharing: Sharing = Sharing()
    memory: int | None = None
    cpus: int | None = None
    pids_limit: int | None = None
    limits: Limits | None = None
    sysctls: tuple[tuple[str, str], ...] = ()
    volumes: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    restart: str = "no"
    restart_max: int = 0
    replace_old: bool = False
    own_volumes: tuple[str, ...] = ()
    isolation: str = ""


class PodRecord(Value):
    """`share` are the kinds of namespaces that its containers have in common; `hosts` those that are this host's;
    `cgroup` is its path as runtime-spec's cgroupsPath; `restart` is for containers that name no policy;
    `own_volumes` go with it; `isolation` is `vm` for one machine of its own, "" for namespaces of this kernel."""

    share: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    infra: bool = True
    hostname: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    annotations: tuple[tuple[str, str], ...] = ()
    exit_policy: str = CONTINUE
    network: str = "none"
    cgroup: str = ""
    memory: int | None = None
    memory_swap: int | None = None
    cpus: int | None = None
    pids_limit: int | None = None
    limits: Limits | None = None
    volumes: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    devices: tuple[str, ...] = ()
    restart: str = "no"
    restart_max: int = 0
    own_volumes: tuple[str, ...] = ()
    isolation: str = ""
    WIRE = {
        "share": _texts,
        "hosts": _texts,
        "infra": flag,
        "hostname": text,
        "labels": map_of(text),
        "annotations": map_of(text),
        "exit_policy": text,
        "network": text,
        "cgroup": text,
        "memory": int64,
        "memory_swap": int64,
        "cpus": int64,
        "pids_limit": int64,
        "limits": codec.record(Limits),
        "volumes": _texts,
        "security_opt": _texts,
        "devices": _texts,
        "restart": text,
        "restart_max": int64,
        "own_volumes": _texts,
        "isolation": text,
    }

    @property
    def limited(self) -> bool:
        """Whether it has limits as a whole."""
        return bool(self.memory or self.cpus or self.pids_limit or self.limits)

    def to_text(self) -> str:
        """As the store keeps it. What `dump` leaves out for being false is written where true is the default."""
        return jsontext.dumps({**codec.dump(self), "infra": self.infra})

    @staticmethod
    def from_text(wire: str) -> PodRecord:
        """Parse what the store keeps. Raises Corrupt."""
        try:
            return codec.parse(PodRecord, jsontext.loads(wire), "pod")
        except (ValueError, errors.InvalidArgument) as error:
            raise errors.Corrupt(f"the store holds a damaged pod: {error}") from None


class PodRow(Value):
    """A pod; `created_at` in nanoseconds since the epoch."""

    id: str
    name: str
    created_at: int
    record: PodRecord
