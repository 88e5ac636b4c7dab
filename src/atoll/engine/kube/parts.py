"""A container's record as a part of a pod's document, and its mounts as volumes.

Holds: `container_of`, `volume_of`. Does not hold: the pod around them (`generate.py`). The opposite of `translate.py`
and `mounts.py`; a test plays what is made here and compares.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.requests import Probe
from atoll.monitor.probes import LIVENESS, READINESS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.containers.record import MountPoint, Record
    from atoll.engine.engine import Engine
    from atoll.engine.requests import Health
    from atoll.engine.store import ContainerRow
    from atoll.spec.image import RunConfig

_SECOND = 10**9
_PROPAGATION = {"rslave": "HostToContainer", "slave": "HostToContainer", "rshared": "Bidirectional",
                "shared": "Bidirectional"}  # fmt: skip


def volume_of(
    mount: MountPoint, pod: str, own: tuple[str, ...], warnings: list[str], container: str
) -> tuple[str, dict[str, Any], str | None]:
    """The name and source of the pod's volume for a mount, and the claim that it is of, if any."""
    from atoll.engine.kube.generate import legal

    if mount.type == "bind":
        name = f"{legal(mount.source.strip('/').replace('/', '-'))[:50].strip('-')}-host"
        return name, {"hostPath": {"path": mount.source}}, None
    if mount.type == "volume" and mount.name is not None:
        if mount.name in own:
            return legal(mount.name.removeprefix(f"{pod}-")), {"emptyDir": {}}, None
        claim = legal(mount.name)
        if claim != mount.name:
            warnings.append(f"{container}: volume {mount.name} is called {claim} in the document")
        return f"{claim[:58]}-pvc", {"persistentVolumeClaim": {"claimName": claim}}, claim
    if mount.type == "tmpfs":
        sizes = [option.removeprefix("size=") for option in mount.options if option.startswith("size=")]
        empty: dict[str, Any] = {"medium": "Memory", **({"sizeLimit": sizes[-1]} if sizes else {})}
        return f"{legal(mount.destination.strip('/').replace('/', '-'))}-tmpfs", {"emptyDir": empty}, None
    raise errors.Unsupported(f"{container}: a mount of type {mount.type} at {mount.destination} has no field")


def config_map(place: str, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The files below a directory as a ConfigMap, and the items that make them of it again. Raises OSError."""
    import base64
    import os

    from atoll.base import files

    data: dict[str, str] = {}
    binary: dict[str, str] = {}
    items = []
    for folder, _, names in sorted(os.walk(place)):
        for one in sorted(names):
            path = f"{folder}/{one}"
            below = path.removeprefix(f"{place}/")
            key, content = below.replace("/", "."), files.read_bytes(path)
            try:
                data[key] = content.decode()
            except UnicodeDecodeError:
                binary[key] = base64.b64encode(content).decode()
            items.append({"key": key, "path": below, "mode": os.stat(path).st_mode & 0o777})
    document: dict[str, Any] = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}}
    document.update({key: value for key, value in (("data", data), ("binaryData", binary)) if value})
    return document, items


def container_of(
    engine: Engine,
    row: ContainerRow,
    record: Record,
    pod: str,
    mounted: list[tuple[str, MountPoint]],
    volumes: dict[str, dict[str, Any]],
    warnings: list[str],
) -> dict[str, Any]:
    """One container; `volumes` gets those of its secrets."""
    from atoll.engine.kube.generate import cpu, legal

    image = _config(engine, row)
    found: dict[str, Any] = {
        "name": legal(row.name.removeprefix(f"{pod}-")).replace(".", "-"),
        "image": record.image,
    }
    found.update(_command(record, image))
    if record.workdir != (image.working_dir or "/"):
        found["workingDir"] = record.workdir
    env = _env(record, image)
    mounts = [_mount(name, one) for name, one in mounted]
    _secrets(engine, record, env, mounts, volumes)
    if env:
        found["env"] = env
    limits: dict[str, str] = {}
    if record.memory:
        limits["memory"] = str(record.memory)
    if record.cpus:
        limits["cpu"] = cpu(record.cpus)
    requests: dict[str, str] = {}
    if record.limits is not None:
        if record.limits.memory_reservation:
            requests["memory"] = str(record.limits.memory_reservation)
        if record.limits.cpu_shares:
            requests["cpu"] = f"{-(-record.limits.cpu_shares * 1000 // 1024)}m"
    resources = {**({"limits": limits} if limits else {}), **({"requests": requests} if requests else {})}
    if resources:
        found["resources"] = resources
    security = _security(record, image)
    if security:
        found["securityContext"] = security
    if mounts:
        found["volumeMounts"] = mounts
    if record.health is not None:
        found.update(_probes(record.health))
    if record.terminal:
        found["tty"] = True
    if record.stdin:
        found["stdin"] = True
    warnings += _left_out(row.name, record, engine)
    return found


def _config(engine: Engine, row: ContainerRow) -> RunConfig:
    from atoll.spec.image import parse_config

    image = engine.store.image(row.image or "")
    if image is None:
        raise errors.NotFound(f"the image of container {row.name} is not here any more")
    return parse_config(image.config.encode(), f"the configuration of {row.name}'s image").config


def _command(record: Record, image: RunConfig) -> dict[str, Any]:
    """What is not the image's own: a dollar is doubled, as `$(NAME)` would be expanded."""
    if (record.entrypoint, record.cmd) == (image.entrypoint, image.cmd):
        return {}
    args = [word.replace("$", "$$") for word in record.cmd]
    if record.entrypoint == image.entrypoint:
        return {"args": args}
    return {
        "command": [word.replace("$", "$$") for word in record.entrypoint] or args[:1],
        **({"args": args if record.entrypoint else args[1:]} if (args if record.entrypoint else args[1:]) else {}),
    }


def _env(record: Record, image: RunConfig) -> list[dict[str, Any]]:
    theirs = set(image.env)
    found = []
    for entry in record.env:
        if entry not in theirs:
            name, _, value = entry.partition("=")
            found.append({"name": name, "value": value.replace("$", "$$")})
    return found


def _mount(name: str, mount: MountPoint) -> dict[str, Any]:
    found: dict[str, Any] = {"name": name, "mountPath": mount.destination}
    if mount.read_only:
        found["readOnly"] = True
    if mount.subpath:
        found["subPath"] = mount.subpath
    if mount.propagation in _PROPAGATION:
        found["mountPropagation"] = _PROPAGATION[mount.propagation]
    return found


def _secrets(
    engine: Engine,
    record: Record,
    env: list[dict[str, Any]],
    mounts: list[dict[str, Any]],
    volumes: dict[str, dict[str, Any]],
) -> None:
    """By reference: a document never holds a value. The name in the vault is that of a Secret and a key in it."""
    from atoll.engine.kube.sources import kept
    from atoll.engine.kube.values import secret_name
    from atoll.engine.secrets.deliver import parse

    known = {secret_name(name, key): (name, key) for name, key in kept(engine)} if record.secrets else {}
    for written in record.secrets:
        one = parse(written)
        name, key = known.get(one.name) or one.name.rpartition(".")[::2]
        if one.type == "env":
            ref = {"name": name or one.name, "key": key or one.name}
            env.append({"name": one.target, "valueFrom": {"secretKeyRef": ref}})
            continue
        volume = (
            f"{(name or one.name)[:50]}-{(key or one.name)[:10]}-secret".lower().replace(".", "-").replace("_", "-")
        )
        item = {"key": key, "path": key, "mode": one.mode}
        volumes[volume] = {"secret": {"secretName": name or one.name, "items": [item]}}
        mounts.append({"name": volume, "mountPath": one.target, "subPath": key})


def _security(record: Record, image: RunConfig) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if record.user != image.user and record.user:
        user, _, group = record.user.partition(":")
        if user.isdecimal() and (not group or group.isdecimal()):
            found["runAsUser"] = int(user)
            if group:
                found["runAsGroup"] = int(group)
    if record.read_only:
        found["readOnlyRootFilesystem"] = True
    rights = record.rights
    if rights is not None:
        if rights.privileged:
            found["privileged"] = True
        capabilities = {"add": list(rights.cap_add), "drop": list(rights.cap_drop)}
        if rights.cap_add or rights.cap_drop:
            found["capabilities"] = {key: value for key, value in capabilities.items() if value}
    selinux: dict[str, str] = {}
    for option in record.security_opt:
        key, _, value = option.partition("=")
        if key == "no-new-privileges":
            found["allowPrivilegeEscalation"] = value == "false"
        elif key == "seccomp":
            found["seccompProfile"] = _profile(value)
        elif key == "apparmor":
            found["appArmorProfile"] = _profile(value)
        elif option == "systempaths=unconfined":
            found["procMount"] = "Unmasked"
        elif key == "label" and ":" in value:
            part, _, word = value.partition(":")
            selinux[part] = word
    if selinux:
        found["seLinuxOptions"] = selinux
    return found


def _profile(value: str) -> dict[str, str]:
    if value == "unconfined":
        return {"type": "Unconfined"}
    return {"type": "Localhost", "localhostProfile": value}


def _probes(health: Health) -> dict[str, Any]:
    """Docker's defaults for what was not given; Kubernetes has others."""
    full = health.filled()
    single = Probe(
        kind=LIVENESS,
        test=full.test,
        delay=full.start_period,
        interval=full.interval,
        timeout=full.timeout,
        retries=full.retries,
    )
    found = {}
    for one in full.probes or (single,):
        found[f"{one.kind}Probe"] = probe = _probe(one)
        if full.grace and one.kind != READINESS:
            probe["terminationGracePeriodSeconds"] = full.grace
    return found


def _probe(one: Probe) -> dict[str, Any]:
    words = list(one.test[1:]) if one.test[0] == "CMD" else ["/bin/sh", "-c", one.test[1]]
    found: dict[str, Any] = {"exec": {"command": words}}
    if one.delay:
        found["initialDelaySeconds"] = one.delay // _SECOND
    found["periodSeconds"] = max(1, one.interval // _SECOND)
    found["timeoutSeconds"] = max(1, one.timeout // _SECOND)
    found["failureThreshold"] = one.retries
    if one.successes > 1:
        found["successThreshold"] = one.successes
    return found


def _left_out(name: str, record: Record, engine: Engine) -> list[str]:
    """What has no field, as far as it was asked for."""
    found = []
    limits, rights = record.limits, record.rights
    if record.pids_limit and record.pids_limit != engine.config.pids_limit:
        found.append("--pids-limit")
    if limits is not None and any(
        getattr(limits, field) for field in ("cpuset_cpus", "cpuset_mems", "ulimits", "blkio_weight", "oom_score_adj")
    ):
        found.append("some of its limits")
    if rights is not None and (rights.devices or rights.device_rules):
        found.append("its devices")
    if rights is not None and rights.groups:
        found.append("--group-add")
    if record.init:
        found.append("--init")
    if record.log_driver != engine.config.log_driver:
        found.append("--log-driver")
    user = record.user.partition(":")[0]
    if record.user and not user.isdecimal():
        found.append(f"the user {record.user}, who is not a number,")
    if record.networking is not None and (record.networking.egress or record.networking.rate_in):
        found.append("--egress and rates")
    return [f"{name}: {one} has no field" for one in found]
