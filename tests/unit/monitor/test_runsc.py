"""What gVisor's runsc is told, by request."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.monitor import runsc
from atoll.monitor.requests import Create
from atoll.spec import runtime as oci

WORDS = ("/usr/bin/runsc", "--platform", "ptrace", "--network", "sandbox", "--ignore-cgroups=false")


def _linux(**how: object) -> oci.Spec:
    return oci.Spec.from_json({"ociVersion": "1.0.2", "linux": how})


def _network(*namespaces: dict[str, str], start: bool) -> str:
    request = Create(id="x", bundle="/b", run="/r", spec=_linux(namespaces=list(namespaces)), runtime=WORDS)
    words = runsc.with_network(request, start=start)
    return words[words.index("--network") + 1]


def test_the_network_is_looked_at_only_where_somebody_may_have_filled_it():
    assert _network({"type": "network"}, start=False) == "sandbox"
    assert _network({"type": "network"}, start=True) == "none"
    assert _network({"type": "pid"}, start=True) == "host"
    with pytest.raises(errors.Unsupported, match="another container"):
        _network({"type": "network", "path": "/proc/1/ns/net"}, start=True)


def test_a_filter_that_it_passes_over_is_left_out():
    spec = _linux(seccomp={"defaultAction": "SCMP_ACT_ALLOW"})
    kept = runsc.without_filter(spec, ("runsc", "-oci-seccomp"))
    left = runsc.without_filter(spec, WORDS)
    assert kept.linux is not None
    assert kept.linux.seccomp is not None
    assert left.linux is not None
    assert left.linux.seccomp is None


def test_the_cgroup_is_ours_but_where_it_has_to_know_it():
    assert runsc.without_cgroup(_linux(resources={"pids": {"limit": 7}}), WORDS) == (
        *WORDS[:-1],
        "--ignore-cgroups=true",
    )
    assert runsc.without_cgroup(_linux(resources={"memory": {"limit": 1 << 26}}), WORDS) is None
    assert runsc.without_cgroup(_linux(), ("runsc", "--platform", "kvm", "--ignore-cgroups=false")) is None
    assert runsc.without_cgroup(_linux(), ("runsc", "--platform", "ptrace")) is None
