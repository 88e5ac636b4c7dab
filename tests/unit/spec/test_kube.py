"""Kubernetes' documents: what is understood, and nothing dropped silently."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.spec import kube

POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "web", "labels": {"a": "b"}, "creationTimestamp": None},
    "spec": {"containers": [{"name": "one", "image": "busybox"}]},
}


def with_spec(**spec: object) -> dict[str, object]:
    """The pod with further fields of its spec."""
    return {**POD, "spec": {**POD["spec"], **spec}}  # type: ignore[dict-item]


def with_container(**fields: object) -> dict[str, object]:
    """The pod with further fields of its container."""
    return with_spec(containers=[{"name": "one", "image": "busybox", **fields}])


def test_a_pod_and_a_deployment():
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "many"},
        "spec": {"replicas": 3, "selector": {"matchLabels": {}}, "template": {"metadata": {}, "spec": POD["spec"]}},
    }
    found, warnings = kube.read([{"kind": "List", "items": [POD, deployment]}], "f")
    assert [type(one).__name__ for one in found] == ["Pod", "Deployment"]
    assert warnings == []
    assert found[1].spec.replicas == 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("document", "what"),
    [
        (with_spec(contaners=[]), "spec.contaners: unknown field.*did you mean containers"),
        (with_container(imag="x"), r"spec.containers\[0\].imag: unknown field.*did you mean image"),
        (with_container(ports=[{"containerPort": 80, "hostport": 1}]), r"containers\[0\].ports\[0\].hostport"),
        (with_container(ports=[{"containerPort": 99999}]), r"containerPort: expected an integer from 1 to 65535"),
        (with_container(securityContext={"runAsUser": 4294967295}), "runAsUser"),
        (with_container(livenessProbe={"grpc": {"port": 1}}), "livenessProbe.grpc is not possible here"),
        (with_container(volumeMounts=[{"name": "dta", "mountPath": "/x"}]), "no volume 'dta'"),
        (with_spec(volumes=[{"name": "v", "nfs": {}}]), r"volumes\[0\].nfs is not possible"),
        (with_spec(volumes=[{"name": "v"}]), "one source"),
        (with_spec(volumes=[{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}]), "one source"),
        (with_spec(containers=[]), "a pod has one at least"),
        (with_spec(containers=[{"name": "A", "image": "x"}]), "name: 'A'"),
        (with_spec(containers=[{"name": "a", "image": "x"}] * 2), "there twice"),
        (with_spec(containers=[{"name": "a"}]), "image: missing"),
        (with_spec(restartPolicy="Sometimes"), "one of Always, OnFailure, Never"),
        (with_spec(containers="x"), "spec.containers: expected an array"),
        ({**POD, "metadata": {"name": "../x"}}, "metadata.name"),
        ({**POD, "kind": "Pood"}, "kind 'Pood'.*did you mean Pod"),
        ({**POD, "apiVersion": "v2"}, "apiVersion"),
        ({"apiVersion": "v1"}, "without a kind"),
        ([1], "no object"),
    ],
)
def test_what_is_wrong_is_told_with_its_path(document: object, what: str):
    with pytest.raises(errors.InvalidArgument, match=what):
        kube.read([document], "f")


def test_what_has_no_meaning_is_a_warning_with_its_path():
    document = with_spec(nodeSelector={"a": "b"}, containers=[{"name": "one", "image": "x", "lifecycle": {"a": 1}}])
    _, warnings = kube.read([document, {"kind": "Service", "metadata": {"name": "s"}}], "f")
    assert warnings == [
        "Pod web: spec.containers[0].lifecycle is not used here",
        "Pod web: spec.nodeSelector is not used here",
        "Service s is not used here",
    ]


@pytest.mark.parametrize(
    ("written", "unit", "value"),
    [("128Mi", 1, 128 << 20), ("1.5G", 1, 1_500_000_000), ("250m", 1000, 250), ("0.1", 10**9, 10**8),
     ("1e3", 1, 1000),
     ("1", 1, 1), ("100m", 1, 1), ("2Ki", 1, 2048), ("1E", 1, 10**18), ("12e6", 1, 12_000_000)],
)  # fmt: skip
def test_quantities(written: str, unit: int, value: int):
    assert kube.quantity(written, "x", unit) == value


@pytest.mark.parametrize("written", ["", "x", "-1", "1..2", "1ee3", "1 2", "0x10", "1e99999", "Mi", "٣", "1_0"])
def test_what_is_no_quantity(written: str):
    with pytest.raises(errors.InvalidArgument, match="no quantity"):
        kube.quantity(written, "x")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
KEYS = st.sampled_from(["name", "image", "command", "env", "ports", "volumeMounts", "resources", "livenessProbe",
                        "securityContext", "envFrom", "args"])  # fmt: skip


OF_PODS = st.sampled_from(["volumes", "hostAliases", "dnsConfig", "securityContext", "initContainers", "metadata"])


@given(st.dictionaries(KEYS, JSON, max_size=4), st.dictionaries(OF_PODS, JSON, max_size=3))
@settings(max_examples=60, deadline=None)
def test_any_document_is_read_or_refused(container: dict[str, object], spec: dict[str, object]):
    try:
        kube.read([with_spec(**{"containers": [{"name": "one", "image": "x", **container}], **spec})], "f")
    except errors.InvalidArgument:
        pass
