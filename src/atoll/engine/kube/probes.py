"""A container's probes as its health check. Pure.

Holds: `health`. A request by HTTP or a connection is made inside, by curl, wget or nc of the image, as Podman has it:
a container without them is unhealthy. The rules by which they count are the monitor's (`monitor/probes.py`).
"""

from __future__ import annotations

import math

from atoll.base import errors
from atoll.engine.containers.unhealthy import RESTART, STOP
from atoll.engine.requests import Health
from atoll.engine.requests import Probe as Check
from atoll.monitor.probes import LIVENESS, READINESS, STARTUP
from atoll.spec.kube_pod import Container, Probe

_SECOND = 10**9


def health(container: Container, path: str, *, restarts: bool) -> Health | None:
    """The checks of a container, None if it has none; a startup or liveness probe that fails ends it, and starts it
    again if it `restarts`. Raises InvalidArgument with the path."""
    found = {
        STARTUP: container.startup_probe,
        LIVENESS: container.liveness_probe,
        READINESS: container.readiness_probe,
    }
    checks = [
        _check(kind, probe, container, f"{path}.{kind}Probe") for kind, probe in found.items() if probe is not None
    ]
    if not checks:
        return None
    deadly = [probe for probe in (container.liveness_probe, container.startup_probe) if probe is not None]
    graces = [probe.termination_grace_period_seconds for probe in deadly if probe.termination_grace_period_seconds]
    of = {one.kind: one for one in checks}
    first = of.get(LIVENESS) or of.get(READINESS) or checks[0]
    return Health(
        test=first.test,
        interval=math.gcd(*[one.interval for one in checks]),
        timeout=first.timeout,
        retries=first.retries,
        probes=tuple(checks),
        on_failure="" if not deadly else RESTART if restarts else STOP,
        grace=graces[0] if graces else 0,
    )


def _check(kind: str, probe: Probe, container: Container, path: str) -> Check:
    if kind != READINESS and probe.success_threshold != 1:
        raise errors.InvalidArgument(f"{path}.successThreshold: must be 1 for a {kind} probe")
    if kind == READINESS and probe.termination_grace_period_seconds:
        raise errors.InvalidArgument(f"{path}.terminationGracePeriodSeconds: a readiness probe ends nothing")
    return Check(
        kind=kind,
        test=_test(probe, container, path),
        delay=probe.initial_delay_seconds * _SECOND,
        interval=probe.period_seconds * _SECOND,
        timeout=probe.timeout_seconds * _SECOND,
        retries=probe.failure_threshold,
        successes=probe.success_threshold,
    )


def _test(probe: Probe, container: Container, path: str) -> tuple[str, ...]:
    import shlex

    kinds = [one for one in (probe.exec_, probe.http_get, probe.tcp_socket) if one is not None]
    if len(kinds) != 1:
        raise errors.InvalidArgument(f"{path}: it has one of exec, httpGet and tcpSocket")
    if probe.exec_ is not None:
        if not probe.exec_.command:
            raise errors.InvalidArgument(f"{path}.exec.command: empty")
        return ("CMD", *probe.exec_.command)
    if probe.tcp_socket is not None:
        port = _port(probe.tcp_socket.port, container, f"{path}.tcpSocket.port")
        host = shlex.quote(probe.tcp_socket.host or "127.0.0.1")
        return ("CMD-SHELL", f"nc -z -w {probe.timeout_seconds} {host} {port} || exit 1")
    get = probe.http_get
    assert get is not None
    host = get.host or "127.0.0.1"
    where = f"{get.scheme.lower()}://{f'[{host}]' if ':' in host else host}"
    url = shlex.quote(f"{where}:{_port(get.port, container, f'{path}.httpGet.port')}/{get.path.lstrip('/')}")
    headers = [shlex.quote(f"{header.name}: {header.value}") for header in get.http_headers]
    curl = " ".join(["curl -fsk -o /dev/null", *[f"-H {one}" for one in headers], url])
    wget = " ".join(["wget -q -O /dev/null", *[f"--header {one}" for one in headers], url])
    return ("CMD-SHELL", f"if command -v curl >/dev/null; then {curl}; else {wget}; fi || exit 1")


def _port(written: str, container: Container, path: str) -> int:
    """A number, or the name of one of the container's ports."""
    if written.isascii() and written.isdecimal() and 0 < int(written[:6]) < 65536:
        return int(written)
    named = {port.name: port.container_port for port in container.ports if port.name}
    if written not in named:
        raise errors.InvalidArgument(f"{path}: the container has no port {written!r}", hint="a number, or its name")
    return named[written]
