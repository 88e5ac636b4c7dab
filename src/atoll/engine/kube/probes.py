"""A liveness probe as a health check. Pure.

Holds: `health`. A request by HTTP or a connection is made inside, by curl, wget or nc of the image, as Podman has it:
a container without them is unhealthy. What begins slowly (`startupProbe`) has its time before failures count.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.requests import Health
from atoll.spec.kube_pod import Container, Probe

_SECOND = 10**9


def health(container: Container, path: str) -> Health:
    """The check of a container that has a liveness probe. Raises InvalidArgument with the path."""
    probe = container.liveness_probe
    assert probe is not None
    start = probe.initial_delay_seconds
    slow = container.startup_probe
    if slow is not None:
        start = max(start, slow.initial_delay_seconds + slow.period_seconds * slow.failure_threshold)
    return Health(
        test=_test(probe, container, f"{path}.livenessProbe"),
        interval=probe.period_seconds * _SECOND,
        timeout=probe.timeout_seconds * _SECOND,
        start_period=start * _SECOND,
        start_interval=(slow.period_seconds if slow is not None else probe.period_seconds) * _SECOND,
        retries=probe.failure_threshold,
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
