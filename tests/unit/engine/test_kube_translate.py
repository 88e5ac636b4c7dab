"""A pod's document as requests."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.engine.kube.translate import translate
from atoll.engine.kube.values import Known, Planned
from atoll.spec import kube

KNOWN = Known(
    maps=(("settings", (("COLOUR", b"blue"), ("file", b"\xff"))),),
    secrets=(("creds", ("password", "user")),),
)


def planned(spec: dict[str, object], known: Known = KNOWN) -> Planned:
    """The plan of a pod with this spec."""
    document = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web", "labels": {"a": "b"}}, "spec": spec}
    (pod,), _ = kube.read([document], "f")
    assert isinstance(pod, kube.Pod)
    return translate(pod.metadata, pod.spec, known, "spec")


def one(**fields: object) -> dict[str, object]:
    """A spec of one container."""
    pod = {key: fields.pop(key) for key in list(fields) if key in ("volumes", "hostNetwork", "securityContext_")}
    if "securityContext_" in pod:
        pod["securityContext"] = pod.pop("securityContext_")
    return {"containers": [{"name": "one", "image": "busybox", **fields}], **pod}


def test_command_environment_and_what_refers_to_it():
    env = [
        {"name": "A", "value": "x $(COLOUR) $$(COLOUR) $(NOPE) $5"},
        {"name": "NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        {"name": "LABEL", "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['a']"}}},
        {"name": "MEM", "valueFrom": {"resourceFieldRef": {"resource": "limits.memory", "divisor": "1Mi"}}},
        {"name": "PASS", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "password"}}},
        {"name": "GONE", "valueFrom": {"configMapKeyRef": {"name": "no", "key": "k", "optional": True}}},
    ]
    settings = {"maps": (("settings", (("COLOUR", b"blue"),)),), "secrets": KNOWN.secrets}
    step = planned(
        one(
            command=["sh", "-c"],
            args=["echo $(A)"],
            env=env,
            envFrom=[{"configMapRef": {"name": "settings"}}, {"prefix": "S_", "secretRef": {"name": "creds"}}],
            resources={"limits": {"memory": "64Mi", "cpu": "1500m"}, "requests": {"cpu": "500m"}},
        ),
        Known(**settings),  # type: ignore[arg-type]
    ).steps[0]
    request = step.request
    assert (request.entrypoint, request.command) == ("sh", ("-c", "echo x blue $(COLOUR) $(NOPE) $5"))
    assert request.env == ("COLOUR=blue", "A=x blue $(COLOUR) $(NOPE) $5", "NAME=web", "LABEL=b", "MEM=64")
    assert (request.memory, request.cpus) == (64 << 20, 1_500_000_000)
    assert request.limits is not None
    assert request.limits.cpu_shares == 512
    assert request.storage is not None
    assert request.storage.secrets == (
        "creds.password,type=env,target=S_password",
        "creds.user,type=env,target=S_user",
        "creds.password,type=env,target=PASS",
    )


def test_volumes():
    found = planned(
        one(
            volumes=[
                {"name": "h", "hostPath": {"path": "/srv/a,b", "type": "Directory"}},
                {"name": "e", "emptyDir": {}},
                {"name": "m", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
                {
                    "name": "c",
                    "configMap": {"name": "settings", "items": [{"key": "file", "path": "x/y", "mode": 256}]},
                },
                {"name": "s", "secret": {"secretName": "creds", "defaultMode": 256}},
                {"name": "p", "persistentVolumeClaim": {"claimName": "data"}},
            ],
            volumeMounts=[
                {"name": "h", "mountPath": "/h", "mountPropagation": "Bidirectional"},
                {"name": "e", "mountPath": "/e"},
                {"name": "m", "mountPath": "/m"},
                {"name": "c", "mountPath": "/c"},
                {"name": "s", "mountPath": "/s", "subPath": "user"},
                {"name": "p", "mountPath": "/p", "readOnly": True, "subPath": "sub"},
            ],
        )
    )
    storage = found.steps[0].request.storage
    assert storage is not None
    assert storage.mounts == (
        'type=bind,"source=/srv/a,b",target=/h,bind-propagation=rshared',
        "type=volume,source=web-e,target=/e",
        "type=tmpfs,target=/m,tmpfs-size=1048576",
        "type=volume,source=web-c,target=/c,readonly=true",
        "type=volume,source=data,target=/p,volume-subpath=sub,readonly=true",
    )
    assert storage.secrets == ("creds.user,type=mount,target=/s,mode=0400",)
    assert [volume.name for volume in found.own] == ["web-e", "web-c"]
    assert [(file.path, file.data, file.mode) for file in found.own[1].files] == [("x/y", b"\xff", 256)]
    assert found.claims == ("data",)


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        (one(volumes=[{"name": "h", "hostPath": {"path": "/srv"}}],
             volumeMounts=[{"name": "h", "mountPath": "/h", "subPath": "x"}]), "subPath is not possible"),
        (one(volumes=[{"name": "c", "configMap": {"name": "settings", "items": [{"key": "file", "path": "../x"}]}}]),
         "leads out"),
        (one(volumes=[{"name": "c", "configMap": {"name": "nosuch"}}]), "no ConfigMap 'nosuch'"),
        (one(volumes=[{"name": "s", "secret": {"secretName": "no"}}],
             volumeMounts=[{"name": "s", "mountPath": "/s"}]),
         "no Secret 'no'"),
        (one(volumes=[{"name": "h", "hostPath": {"path": "srv"}}]), "not absolute"),
        (one(env=[{"name": "A", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "no"}}}]), "no key 'no'"),
        (one(env=[{"name": "A", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}]), "not known before"),
        (one(env=[{"name": "A=B", "value": ""}]), "cannot name a variable"),
        (one(env=[{"name": "P", "valueFrom": {"secretKeyRef": {"name": "creds", "key": "user"}}},
                  {"name": "Q", "value": "$(P)"}]), "is a secret"),
        (one(envFrom=[{"configMapRef": {"name": "settings"}}]), "binary data"),
        (one(resources={"limits": {"nvidia.com/gpu": 1}}), "no such resource"),
        (one(resources={"limits": {"memory": "much"}}), "no quantity"),
        (one(securityContext={"runAsNonRoot": True, "runAsUser": 0}), "contradict"),
        (one(securityContext={"runAsGroup": 5}), "name runAsUser"),
        (one(livenessProbe={"periodSeconds": 3}), "one of exec, httpGet"),
        (one(livenessProbe={"tcpSocket": {"port": "web"}}), "no port 'web'"),
        (one(livenessProbe={"exec": {"command": ["a"]}, "successThreshold": 2}), "must be 1 for a liveness probe"),
        (one(readinessProbe={"exec": {"command": ["a"]}, "terminationGracePeriodSeconds": 2}), "ends nothing"),
    ],
)  # fmt: skip
def test_what_cannot_be(spec: dict[str, object], what: str):
    with pytest.raises(errors.AtollError, match=what):
        planned(spec)


def test_rights_probes_and_the_pod():
    found = planned(
        {
            **one(
                securityContext={
                    "runAsUser": 7, "allowPrivilegeEscalation": False, "seccompProfile": {"type": "Unconfined"},
                    "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]}, "procMount": "Unmasked",
                    "seLinuxOptions": {"type": "spc_t"},
                },
                ports=[{"containerPort": 80, "hostPort": 8080, "hostIP": "::1"}, {"containerPort": 9, "name": "web"}],
                livenessProbe={"httpGet": {"port": "web", "path": "x"}, "initialDelaySeconds": 2,
                               "timeoutSeconds": 3, "terminationGracePeriodSeconds": 7},
                readinessProbe={"exec": {"command": ["cat", "/ready"]}, "successThreshold": 2},
                startupProbe={"exec": {"command": ["true"]}, "periodSeconds": 4, "failureThreshold": 5},
                restartPolicy=None,
            ),
            "restartPolicy": "OnFailure",
            "hostPID": True,
            "shareProcessNamespace": False,
            "hostAliases": [{"ip": "192.0.2.1", "hostnames": ["a", "b"]}],
            "dnsConfig": {"nameservers": ["192.0.2.2"], "options": [{"name": "ndots", "value": 2}, {"name": "x"}]},
            "securityContext": {"runAsGroup": 8, "supplementalGroups": [9], "sysctls": [{"name": "a.b", "value": 1}]},
        }
    )  # fmt: skip
    request, pod = found.steps[0].request, found.pod
    assert request.user == "7:8"
    assert request.security_opt == (
        "no-new-privileges=true", "seccomp=unconfined", "label=type:spc_t", "systempaths=unconfined"
    )  # fmt: skip
    assert request.rights is not None
    assert (request.rights.cap_add, request.rights.cap_drop, request.rights.groups) == (
        ("NET_ADMIN",),
        ("ALL",),
        ("9",),
    )
    assert request.health is not None
    assert "http://127.0.0.1:9/x" in request.health.test[1]
    probes = {probe.kind: probe for probe in request.health.probes}
    assert set(probes) == {"startup", "liveness", "readiness"}
    assert (probes["liveness"].delay, probes["liveness"].timeout) == (2 * 10**9, 3 * 10**9)
    assert (probes["startup"].interval, probes["startup"].retries) == (4 * 10**9, 5)
    assert (probes["readiness"].test, probes["readiness"].successes) == (("CMD", "cat", "/ready"), 2)
    assert (request.health.interval, request.health.on_failure, request.health.grace) == (2 * 10**9, "restart", 7)
    assert request.restart == "on-failure"
    assert pod.sharing.pid == "host"
    assert pod.sysctls == (("a.b", "1"),)
    assert pod.networking is not None
    assert pod.networking.publish == ("[::1]:8080:80/tcp",)
    assert pod.networking.hosts == ("a=192.0.2.1", "b=192.0.2.1")
    assert pod.networking.dns_options == ("ndots:2", "x")


def test_what_a_failing_probe_ends():
    check = {"exec": {"command": ["true"]}}
    for policy, action in (("Always", "restart"), ("OnFailure", "restart"), ("Never", "stop")):
        health = planned({**one(livenessProbe=check), "restartPolicy": policy}).steps[0].request.health
        assert health is not None
        assert health.on_failure == action
    health = planned(one(readinessProbe=check)).steps[0].request.health
    assert health is not None
    assert (health.on_failure, health.test) == ("", ("CMD", "true"))
    health = planned(one(startupProbe=check)).steps[0].request.health
    assert health is not None
    assert (health.on_failure, [probe.kind for probe in health.probes]) == ("restart", ["startup"])
