"""pod inspect, in the shape of Podman's."""

from __future__ import annotations

from atoll.base import clock
from atoll.engine.containers.record import Record
from atoll.engine.pods import rows
from atoll.engine.pods.list import view_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRow
    from atoll.engine.store import ContainerRow

_PERIOD = 100_000


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """All that is known of a pod. Raises NotFound."""
    row = rows.find(engine, name)
    view, record = view_of(engine, row), row.record
    infra = rows.infra_of(engine, row)
    return {
        "Id": row.id,
        "Name": row.name,
        "Created": clock.rfc3339(row.created_at),
        "ExitPolicy": record.exit_policy,
        "State": view.status,
        "Hostname": record.hostname,
        "Labels": dict(record.labels),
        "Annotations": dict(record.annotations),
        "CreateCgroup": True,
        "CgroupParent": record.cgroup.rpartition("/")[0],
        "CgroupPath": record.cgroup,
        "CreateInfra": record.infra,
        "InfraContainerID": view.infra_id,
        "InfraConfig": _infra(engine, row, infra) if infra is not None else None,
        "SharedNamespaces": list(record.share),
        "NumContainers": len(view.containers),
        "Containers": [{"Id": one.id, "Name": one.name, "State": one.state} for one in view.containers],
        "RestartPolicy": record.restart,
        "mounts": list(record.volumes),
        "devices": list(record.devices),
        "security_opt": list(record.security_opt),
        **_limits(row),
    }


def _infra(engine: Engine, row: PodRow, infra: ContainerRow) -> dict[str, Any]:
    from atoll.engine.containers.inspect import inspect as inspect_container

    record = Record.from_text(infra.record)
    networking, sharing = record.networking, record.sharing
    document = inspect_container(engine, infra.id)
    ports = document["NetworkSettings"].get("Ports") or {}
    return {
        "PortBindings": ports,
        "HostNetwork": record.network == "host",
        "StaticIP": networking.networks[0].address if networking and networking.networks else "",
        "StaticMAC": networking.networks[0].mac if networking and networking.networks else "",
        "DNSServer": list(networking.dns) if networking else [],
        "DNSSearch": list(networking.dns_search) if networking else [],
        "DNSOption": list(networking.dns_options) if networking else [],
        "HostAdd": list(networking.hosts) if networking else [],
        "Networks": list(document["NetworkSettings"].get("Networks") or {}),
        "pid_ns": "host" if "pid" in row.record.hosts else "private",
        "ipc_ns": "host" if "ipc" in row.record.hosts else "shareable",
        "uts_ns": "host" if "uts" in row.record.hosts else "private",
        "userns": (sharing.userns if sharing is not None else "") or "private",
    }


def _limits(row: PodRow) -> dict[str, Any]:
    record, limits = row.record, row.record.limits
    return {
        "memory_limit": record.memory or 0,
        "memory_swap": record.memory_swap or 0,
        "cpu_period": _PERIOD if record.cpus else 0,
        "cpu_quota": record.cpus * _PERIOD // 10**9 if record.cpus else 0,
        "cpu_shares": (limits.cpu_shares or 0) if limits is not None else 0,
        "cpuset_cpus": (limits.cpuset_cpus or "") if limits is not None else "",
        "cpuset_mems": (limits.cpuset_mems or "") if limits is not None else "",
        "pids_limit": record.pids_limit or 0,
    }
