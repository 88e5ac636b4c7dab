"""A pod's document as requests. Pure: nothing is looked at, nothing is touched.

Holds: `translate`. Does not hold: variables (`variables.py`), volumes (`mounts.py`), probes (`probes.py`), carrying
it out (`play.py`). Each error names the path in the document.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.containers.limits import Limits
from atoll.engine.containers.mount_flags import Storage
from atoll.engine.containers.rights import Rights
from atoll.engine.containers.sharing import Sharing
from atoll.engine.kube.mounts import Volumes
from atoll.engine.kube.probes import health
from atoll.engine.kube.values import Known, Planned, Step
from atoll.engine.kube.variables import expand, variables
from atoll.engine.networks.records import NetworkOptions
from atoll.engine.pods.machine import ANNOTATION
from atoll.engine.pods.record import DEFAULT_SHARE, STOP, PodRequest
from atoll.engine.requests import RunRequest
from atoll.spec import kube
from atoll.spec.kube_pod import Container, Meta, PodSecurity, PodSpec, Profile, Resources, Security, SeLinux

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

RESTARTS = {"Always": "always", "OnFailure": "on-failure", "Never": "no"}
PULLS = {"": "missing", "IfNotPresent": "missing", "Always": "always", "Never": "never"}
SECCOMP_ROOT = "/var/lib/kubelet/seccomp"
"""Where `localhostProfile` counts from, as with a kubelet."""
_SHARES = 1024
_PASSED_RESOURCES = ("ephemeral-storage",)


def translate(
    meta: Meta, spec: PodSpec, known: Known, path: str, *, network: str | None = None, publish: tuple[str, ...] = ()
) -> Planned:
    """All of a pod named `meta.name`; `network` for what --network says, `publish` for further ports. Raises
    InvalidArgument, NotFound, Unsupported."""
    volumes = Volumes(meta.name, spec, known, path)
    warnings: list[str] = []
    containers: list[tuple[Container, str, bool]] = []
    for index, one in enumerate(spec.init_containers):
        containers.append((one, f"{path}.initContainers[{index}]", not one.restart_policy))
    containers += [(one, f"{path}.containers[{index}]", False) for index, one in enumerate(spec.containers)]
    steps = [
        _step(one, meta, spec, known, volumes, here, init=init, warnings=warnings) for one, here, init in containers
    ]
    pod = _pod(meta, spec, path, [one for one, _, _ in containers], network, publish, warnings)
    return Planned(
        pod=pod,
        steps=tuple(steps),
        own=tuple(volumes.own),
        claims=tuple(volumes.claims),
        places=tuple(volumes.places),
        warnings=(*volumes.warnings, *warnings),
    )


# --- the pod --------------------------------------------------------------------------------------------------------


def _pod(
    meta: Meta,
    spec: PodSpec,
    path: str,
    containers: list[Container],
    network: str | None,
    publish: tuple[str, ...],
    warnings: list[str],
) -> PodRequest:
    ports = [port for one in containers for port in _ports(one, spec)]
    share = (*DEFAULT_SHARE, "pid") if spec.share_process_namespace else DEFAULT_SHARE
    options = NetworkOptions(
        publish=(*ports, *publish),
        dns=spec.dns_config.nameservers,
        dns_search=spec.dns_config.searches,
        dns_options=tuple([f"{one.name}:{one.value}" if one.value else one.name for one in spec.dns_config.options]),
        hosts=tuple([f"{name}={alias.ip}" for alias in spec.host_aliases for name in alias.hostnames]),
    )
    limits = _resources(spec.resources, f"{path}.resources", warnings)
    return PodRequest(
        name=meta.name,
        hostname=spec.hostname or None,
        labels=tuple([f"{key}={value}" for key, value in meta.labels]),
        annotations=meta.annotations,
        share=share,
        exit_policy=STOP,
        network="host" if spec.host_network else network,
        networking=None if options == NetworkOptions() else options,
        sharing=Sharing(
            ipc="host" if spec.host_ipc else "",
            pid="host" if spec.host_pid else "",
            userns="" if spec.host_users else "auto",
        ),
        memory=limits.get("memory"),
        cpus=limits.get("cpus"),
        limits=limits.get("limits"),
        sysctls=tuple([(one.name, one.value) for one in spec.security_context.sysctls]),
        restart=RESTARTS[spec.restart_policy],
        isolation=dict(meta.annotations).get(ANNOTATION, ""),
    )


def _ports(container: Container, spec: PodSpec) -> list[str]:
    found = []
    for port in container.ports:
        if not port.host_port or spec.host_network:
            continue  # what no host port leads to is known to the pod alone; the host's network needs no way in
        address = f"[{port.host_ip}]" if ":" in port.host_ip else port.host_ip
        start = f"{address}:" if address else ""
        found.append(f"{start}{port.host_port}:{port.container_port}/{port.protocol.lower()}")
    return found


# --- a container ----------------------------------------------------------------------------------------------------


def _step(
    one: Container,
    meta: Meta,
    spec: PodSpec,
    known: Known,
    volumes: Volumes,
    path: str,
    *,
    init: bool,
    warnings: list[str],
) -> Step:
    env = variables(one, meta, known, path)
    mounts, secrets, devices = volumes.of(one, path)
    secrets += env.secret.values()
    words = [expand(word, env, f"{path}.command") for word in one.command]
    args = [expand(word, env, f"{path}.args") for word in one.args]
    rights = _rights(one.security_context, spec.security_context, devices)
    limits = _resources(one.resources, f"{path}.resources", warnings)
    user, non_root = _user(one.security_context, spec.security_context, path)
    restart = "no" if init else "always" if one.restart_policy else RESTARTS[spec.restart_policy]
    request = RunRequest(
        image=one.image,
        command=(*words[1:], *args),
        entrypoint=words[0] if words else None,
        name=f"{meta.name}-{one.name}",
        env=tuple([f"{key}={value}" for key, value in env.plain.items()]),
        workdir=one.working_dir or None,
        user=user,
        labels=tuple([f"{key}={value}" for key, value in meta.labels]),
        read_only=one.security_context.read_only_root_filesystem,
        memory=limits.get("memory"),
        cpus=limits.get("cpus"),
        limits=limits.get("limits"),
        pull=PULLS[one.image_pull_policy],
        security_opt=_security_opt(one.security_context, spec.security_context),
        stop_timeout=spec.termination_grace_period_seconds,
        restart=restart,
        health=None if init else health(one, path, restarts=restart != "no"),
        terminal=one.tty,
        stdin=one.stdin,
        detach=True,
        starts_later=True,
        rights=None if rights == Rights() else rights,
        storage=Storage(mounts=tuple(mounts), secrets=tuple(secrets)) if mounts or secrets else None,
    )
    return Step(request=request, init=init, non_root=non_root)


def _resources(resources: Resources, path: str, warnings: list[str]) -> dict[str, Any]:
    """`memory`, `cpus`, `limits` of a request, as far as they are given."""
    found: dict[str, Any] = {}
    soft: dict[str, Any] = {}
    for name, written in resources.limits:
        here = f"{path}.limits.{name}"
        if name == "memory":
            found["memory"] = kube.quantity(written, here)
        elif name == "cpu":
            found["cpus"] = kube.quantity(written, here, 10**9)
        elif name in _PASSED_RESOURCES:
            warnings.append(f"{here} is not used here")
        else:
            raise errors.Unsupported(f"{here}: there is no such resource here", hint="memory and cpu are limited")
    for name, written in resources.requests:
        here = f"{path}.requests.{name}"
        if name == "memory":
            soft["memory_reservation"] = kube.quantity(written, here)
        elif name == "cpu":
            soft["cpu_shares"] = max(2, kube.quantity(written, here, 1000) * _SHARES // 1000)
        else:
            warnings.append(f"{here} is not used here")
    if soft:
        found["limits"] = Limits(**soft)
    return found


def _rights(security: Security, pod: PodSecurity, devices: list[str]) -> Rights:
    groups = [str(number) for number in pod.supplemental_groups]
    if pod.fs_group is not None:
        groups.append(str(pod.fs_group))
    return Rights(
        cap_add=security.capabilities.add,
        cap_drop=security.capabilities.drop,
        privileged=security.privileged,
        devices=tuple(devices),
        groups=tuple(groups),
    )


def _user(security: Security, pod: PodSecurity, path: str) -> tuple[str | None, bool]:
    """The user to run as, None for the image's, and whether that may not be root."""
    here = f"{path}.securityContext"
    user = security.run_as_user if security.run_as_user is not None else pod.run_as_user
    group = security.run_as_group if security.run_as_group is not None else pod.run_as_group
    non_root = security.run_as_non_root if security.run_as_non_root is not None else bool(pod.run_as_non_root)
    if non_root and user == 0:
        raise errors.InvalidArgument(f"{here}: runAsNonRoot and runAsUser 0 contradict one another")
    if user is None:
        if group is not None:
            raise errors.InvalidArgument(f"{here}.runAsGroup: name runAsUser, too, so that it is known whose it is")
        return None, non_root
    return str(user) if group is None else f"{user}:{group}", non_root


def _security_opt(security: Security, pod: PodSecurity) -> tuple[str, ...]:
    found = []
    if security.allow_privilege_escalation is not None:
        found.append(f"no-new-privileges={'false' if security.allow_privilege_escalation else 'true'}")
    seccomp = security.seccomp_profile or pod.seccomp_profile
    if seccomp is not None and seccomp.type != "RuntimeDefault":
        found.append(f"seccomp={_profile(seccomp, SECCOMP_ROOT)}")
    armor = security.app_armor_profile or pod.app_armor_profile
    if armor is not None and armor.type != "RuntimeDefault":
        found.append(f"apparmor={_profile(armor, '')}")
    label: SeLinux | None = security.se_linux_options or pod.se_linux_options
    if label is not None:
        words = [(name, getattr(label, name)) for name in ("user", "role", "type", "level")]
        found += [f"label={name}:{word}" for name, word in words if word]
    if security.proc_mount == "Unmasked":
        found.append("systempaths=unconfined")
    return tuple(found)


def _profile(profile: Profile, root: str) -> str:
    if profile.type == "Unconfined":
        return "unconfined"
    if not profile.localhost_profile:
        raise errors.InvalidArgument("localhostProfile is missing for a profile of type Localhost")
    name = profile.localhost_profile
    if root and not name.startswith("/"):
        if ".." in name.split("/"):
            raise errors.InvalidArgument(f"localhostProfile {name!r} leads out of {root}")
        return f"{root}/{name}"
    return name
