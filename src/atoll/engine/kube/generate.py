"""kube generate: pods, containers and volumes as documents that `kube play` makes the same of.

Holds: `generate`. Does not hold: YAML (`spec/yaml_text.py`). What has no place in such a document (a health check's
start interval, an egress policy, the size of a log …) is said in a warning each.
"""

from __future__ import annotations

from atoll.base import clock, errors
from atoll.base.value import Value
from atoll.engine.containers.record import Record
from atoll.engine.kube.parts import config_map, container_of, volume_of
from atoll.engine.pods import rows
from atoll.engine.pods.each import members
from atoll.engine.pods.machine import ANNOTATION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRow
    from atoll.engine.store import ContainerRow

RESTARTS = {"always": "Always", "unless-stopped": "Always", "on-failure": "OnFailure", "no": "Never"}


class Generated(Value):
    """The documents, and what of their originals is not in them."""

    documents: tuple[dict[str, Any], ...]
    warnings: tuple[str, ...] = ()


def generate(engine: Engine, names: Sequence[str], *, deployment: bool = False, replicas: int = 1) -> Generated:
    """Documents of these: a pod by its name, containers together in a pod, a volume as a claim; or with `deployment`
    the pods as Deployments. Raises NotFound, InvalidArgument for containers that are in a pod."""
    warnings: list[str] = []
    claims: dict[str, dict[str, Any]] = {}
    pods: list[dict[str, Any]] = []
    loose: list[ContainerRow] = []
    for name in names:
        try:
            row = engine.store.container(name)
        except errors.NotFound:
            _pod_or_volume(engine, name, pods, claims, warnings)
            continue
        if row.pod is not None:
            raise errors.InvalidArgument(
                f"container {row.name} is in a pod, which is generated as a whole",
                hint=f"atoll kube generate {_pod_name(engine, row.pod)}",
            )
        loose.append(row)
    if loose:
        pods.append(_pod_of_containers(engine, loose, claims, warnings))
    if deployment:
        pods = [_deployment(pod, replicas) for pod in pods]
    return Generated(documents=(*claims.values(), *pods), warnings=tuple(warnings))


def _pod_name(engine: Engine, pod: str) -> str:
    row = rows.by_id(engine.store, pod)
    return row.name if row is not None else pod[:12]


def _pod_or_volume(
    engine: Engine,
    name: str,
    pods: list[dict[str, Any]],
    claims: dict[str, dict[str, Any]],
    warnings: list[str],
) -> None:
    try:
        pods.append(_pod(engine, rows.find(engine, name), claims, warnings))
        return
    except errors.NotFound:
        pass
    from atoll.engine.volumes import store

    try:
        store.find(engine, name)
    except errors.NotFound:
        raise errors.NotFound(f"no container, pod or volume {name}") from None
    claims[name] = _claim(engine, name)


def _claim(engine: Engine, name: str) -> dict[str, Any]:
    from atoll.engine.volumes import store

    try:
        labels = dict(store.find(engine, name).labels)
    except errors.NotFound:
        labels = {}
    meta: dict[str, Any] = {"name": legal(name), **({"labels": labels} if labels else {})}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": meta,
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
    }


def legal(name: str) -> str:
    """A name as Kubernetes allows it."""
    fit = "".join([c if c.isalnum() or c in "-." else "-" for c in name.lower()]).strip("-.")
    return fit[:253] or "atoll"


def _document(name: str, labels: dict[str, str], annotations: dict[str, str], spec: dict[str, Any]) -> dict[str, Any]:
    meta: dict[str, Any] = {"name": legal(name), "labels": {"app": legal(name), **labels}}
    if annotations:
        meta["annotations"] = annotations
    return {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": spec}


# --- a pod ----------------------------------------------------------------------------------------------------------


def _pod(engine: Engine, row: PodRow, claims: dict[str, dict[str, Any]], warnings: list[str]) -> dict[str, Any]:
    containers = members(engine, row, infra=False)
    infra = rows.infra_of(engine, row)
    record = row.record
    spec: dict[str, Any] = {}
    _add_containers(engine, spec, containers, row.name, record.own_volumes, claims, warnings)
    if infra is not None:
        _add_network(engine, spec, infra, containers)
    if record.hostname and record.hostname != row.name:
        spec["hostname"] = record.hostname
    if "pid" in record.share:
        spec["shareProcessNamespace"] = True
    for kind, key in (("pid", "hostPID"), ("ipc", "hostIPC")):
        if kind in record.hosts:
            spec[key] = True
    if "uts" in record.hosts:
        warnings.append(f"pod {row.name}: the host's UTS namespace has no field")
    limits = {}
    if record.memory:
        limits["memory"] = str(record.memory)
    if record.cpus:
        limits["cpu"] = cpu(record.cpus)
    if limits:
        spec["resources"] = {"limits": limits}
    if record.pids_limit:
        warnings.append(f"pod {row.name}: --pids-limit has no field")
    if not record.infra or set(record.share) - {"pid"} != {"ipc", "net", "uts"} - set(record.hosts):
        warnings.append(f"pod {row.name}: what it shares ({', '.join(record.share) or 'nothing'}) has no field")
    annotations = {**dict(record.annotations), **({ANNOTATION: record.isolation} if record.isolation else {})}
    return _document(row.name, dict(record.labels), annotations, spec)


def cpu(billionths: int) -> str:
    """A number of CPUs as a quantity."""
    return f"{billionths // 10**6}m" if billionths % 10**6 == 0 else f"{billionths}n"


def _pod_of_containers(
    engine: Engine, containers: list[ContainerRow], claims: dict[str, dict[str, Any]], warnings: list[str]
) -> dict[str, Any]:
    """Containers of no pod become one; its name is the first one's with `-pod` behind, as Podman's."""
    spec: dict[str, Any] = {}
    name = f"{containers[0].name}-pod"
    _add_containers(engine, spec, containers, name, (), claims, warnings)
    _add_network(engine, spec, containers[0], containers)
    first = Record.from_text(containers[0].record)
    if first.hostname and first.hostname != containers[0].id[:12]:
        spec["hostname"] = first.hostname
    labels = dict(first.labels) if len(containers) == 1 else {}
    return _document(name, labels, {}, spec)


def _add_containers(
    engine: Engine,
    spec: dict[str, Any],
    containers: list[ContainerRow],
    pod: str,
    own: tuple[str, ...],
    claims: dict[str, dict[str, Any]],
    warnings: list[str],
) -> None:
    volumes: dict[str, dict[str, Any]] = {}
    spec["containers"] = []
    policies, stops = [], set()
    for row in containers:
        record = Record.from_text(row.record)
        if row.image is None:
            raise errors.InvalidArgument(f"container {row.name} is of the host image, which no document can name")
        mounted = []
        for mount in record.mounts:
            name, source, claim = volume_of(mount, pod, own, warnings, row.name)
            if "emptyDir" in source and mount.name is not None:
                source = _of_map(engine, mount.name, claims) or source
            volumes[name] = source
            if claim is not None:
                claims.setdefault(claim, _claim(engine, claim))
            mounted.append((name, mount))
        spec["containers"].append(container_of(engine, row, record, pod, mounted, volumes, warnings))
        policies.append(RESTARTS[record.restart])
        stops.add(record.stop_timeout)
    if volumes:
        spec["volumes"] = [{"name": name, **source} for name, source in volumes.items()]
    spec["restartPolicy"] = policies[0] if policies else "Always"
    if len(set(policies)) > 1:
        warnings.append(f"{pod}: its containers have several restart policies, of which the first is taken")
    if stops and stops != {engine.config.stop_timeout}:
        spec["terminationGracePeriodSeconds"] = max(stops)


def _of_map(engine: Engine, volume: str, claims: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
    """The source of a pod's own volume whose files came of a ConfigMap, which is generated, too; None for others."""
    from atoll.engine.kube.sources import MAP_LABEL
    from atoll.engine.volumes import store

    try:
        found = store.find(engine, volume)
    except errors.NotFound:
        return None
    if MAP_LABEL not in dict(found.labels):
        return None
    name = legal(volume)
    document, items = config_map(found.mountpoint, name)
    claims.setdefault(name, document)
    return {"configMap": {"name": name, "items": items}}


def _add_network(engine: Engine, spec: dict[str, Any], row: ContainerRow, containers: list[ContainerRow]) -> None:
    """The host's network, ports, names: those of the container that has them for all."""
    record = Record.from_text(row.record)
    if record.network == "host":
        spec["hostNetwork"] = True
    networking = record.networking
    if networking is None:
        return
    ports = []
    for port in networking.ports:
        shown: dict[str, Any] = {"containerPort": port.container, "hostPort": port.host}
        if port.address:
            shown["hostIP"] = port.address
        if port.protocol != "tcp":
            shown["protocol"] = port.protocol.upper()
        ports.append(shown)
    if ports and spec["containers"]:
        spec["containers"][0]["ports"] = ports
    if networking.hosts:
        by_address: dict[str, list[str]] = {}
        for line in networking.hosts:
            name, _, address = line.partition(":")
            by_address.setdefault(address, []).append(name)
        spec["hostAliases"] = [{"ip": address, "hostnames": names} for address, names in by_address.items()]
    dns: dict[str, Any] = {}
    if networking.dns:
        dns["nameservers"] = list(networking.dns)
    if networking.dns_search:
        dns["searches"] = list(networking.dns_search)
    if networking.dns_options:
        pairs = [one.partition(":") for one in networking.dns_options]
        dns["options"] = [{"name": name, **({"value": value} if value else {})} for name, _, value in pairs]
    if dns:
        spec["dnsConfig"] = dns


def _deployment(pod: dict[str, Any], replicas: int) -> dict[str, Any]:
    meta = pod["metadata"]
    labels = {"app": meta["labels"]["app"]}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": meta["name"], "labels": meta["labels"]},
        "spec": {
            "replicas": replicas,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {key: value for key, value in meta.items() if key != "name"},
                "spec": pod["spec"],
            },
        },
    }


def header(moment: int) -> str:
    """The comment above generated documents; `moment` in nanoseconds since the epoch."""
    from atoll import __version__

    return f"# Made by atoll {__version__}, {clock.rfc3339(moment)[:19]}Z; 'atoll kube play FILE' makes it again.\n"
