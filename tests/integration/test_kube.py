"""`kube play`, `down`, `generate`: documents become pods, and pods documents that play back to the same."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import time

import pytest

from kit import processes
from kit.command import Atoll

DOCUMENTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data:
  COLOUR: blue
  conf: |
    a=1
---
apiVersion: v1
kind: Secret
metadata: {name: creds}
data: {password: aHVudGVyMg==, tls.crt: aGVsbG8=}
---
apiVersion: v1
kind: PersistentVolumeClaim
metadata: {name: data}
spec: {accessModes: [ReadWriteOnce]}
---
apiVersion: v1
kind: Service
metadata: {name: app}
---
apiVersion: v1
kind: Pod
metadata: {name: app, labels: {tier: front}}
spec:
  hostname: fronty
  terminationGracePeriodSeconds: 0
  hostAliases: [{ip: 192.0.2.1, hostnames: [far]}]
  initContainers:
  - name: prepare
    image: IMAGE
    command: [sh, -c, "echo made > /work/made"]
    volumeMounts: [{name: work, mountPath: /work}]
  containers:
  - name: one
    image: IMAGE
    command: [sh, -c]
    args: ["cat /conf/conf /work/made /creds/password; echo; echo $GREETING $PASS $(COLOUR); id -u; sleep 600"]
    env:
    - {name: GREETING, value: "hi $(COLOUR)"}
    - {name: PASS, valueFrom: {secretKeyRef: {name: creds, key: password}}}
    - {name: COLOUR, valueFrom: {configMapKeyRef: {name: settings, key: COLOUR}}}
    livenessProbe: {exec: {command: ["true"]}, periodSeconds: 5}
    readinessProbe: {exec: {command: ["true"]}}
    securityContext: {runAsUser: 1000, readOnlyRootFilesystem: true, capabilities: {drop: [ALL]}}
    volumeMounts:
    - {name: conf, mountPath: /conf}
    - {name: work, mountPath: /work}
    - {name: data, mountPath: /data}
    - {name: creds, mountPath: /creds}
  - name: two
    image: IMAGE
    command: [sleep, "600"]
    volumeMounts: [{name: scratch, mountPath: /scratch}]
  volumes:
  - {name: conf, configMap: {name: settings, items: [{key: conf, path: conf}]}}
  - {name: work, emptyDir: {}}
  - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1Mi}}
  - {name: data, persistentVolumeClaim: {claimName: data}}
  - {name: creds, secret: {secretName: creds}}
"""


def shape(atoll: Atoll, container: str) -> object:
    """What of a container a document is to give again."""
    found = atoll.inspect(container)
    config, host = found["Config"], found["HostConfig"]
    assert isinstance(config, dict)
    assert isinstance(host, dict)
    mounts = sorted((m["Type"], m["Destination"], m["RW"]) for m in found["Mounts"])  # type: ignore[index,attr-defined]
    keys = ("Memory", "NanoCpus", "ReadonlyRootfs", "CapDrop", "SecurityOpt", "RestartPolicy")
    return (found["Path"], found["Args"], sorted(config["Env"]), config["User"], config["StopTimeout"],
            config.get("Healthcheck"), mounts, [host[key] for key in keys])  # fmt: skip


@pytest.mark.parametrize("who", ["atoll", "rootless"])
def test_play_generate_play_down(request: pytest.FixtureRequest, who: str, busybox: str):
    atoll: Atoll = request.getfixturevalue(who)
    text = DOCUMENTS.replace("IMAGE", busybox)
    played = atoll("kube", "play", "--network", "none", "-", stdin=text)
    assert played.code == 0, played
    assert "Service app is not used here" in played.err
    assert re.search("Pod:\n[0-9a-f]{64}\nContainers:\n([0-9a-f]{64}\n){2}\n$", played.out), played
    atoll.wait_for("app-one", "running")
    said = atoll.good("logs", "app-one").splitlines()
    assert said == ["a=1", "made", "hunter2", "hi $(COLOUR) hunter2 blue", "1000"]
    assert atoll.good("exec", "app-two", "hostname") == "fronty"
    assert "192.0.2.1" in atoll.good("exec", "app-two", "cat", "/etc/hosts")
    assert "hunter2" not in json.dumps(atoll.inspect("app-one"))
    before = [shape(atoll, name) for name in ("app-one", "app-two")]
    made = atoll.good("kube", "generate", "app")
    assert "hunter2" not in made
    atoll("play", "kube", "-", stdin=made).failed(125, "already in use")
    atoll.good("play", "kube", "--network", "none", "--replace", "-", stdin=made)
    assert [shape(atoll, name) for name in ("app-one", "app-two")] == before
    again = atoll.good("generate", "kube", "app")
    assert again.split("\n", 1)[1] == made.split("\n", 1)[1]
    gone = atoll.good("kube", "down", "--force", "-", stdin=text).splitlines()
    assert [line for line in gone if line.endswith(":")] == [
        "Pods stopped:", "Pods removed:", "Secrets removed:", "Volumes removed:"
    ]  # fmt: skip
    assert gone[-2:] == ["Volumes removed:", "data"]
    assert atoll.all() == []
    assert atoll.good("volume", "ls", "-q") == ""
    assert atoll.good("secret", "ls", "-q") == ""


PROBED = """
apiVersion: v1
kind: Pod
metadata: {name: app}
spec:
  terminationGracePeriodSeconds: 600
  containers:
  - name: one
    image: IMAGE
    command: [sh, -c, "rm -f /sick /up /ready; trap '' TERM; echo life; while :; do sleep 0.2; done"]
    startupProbe: {exec: {command: [test, -e, /up]}, periodSeconds: 1, failureThreshold: 600}
    livenessProbe:
      exec: {command: [test, "!", -e, /sick]}
      periodSeconds: 1
      failureThreshold: 2
      terminationGracePeriodSeconds: 1
    readinessProbe: {exec: {command: [test, -e, /ready]}, periodSeconds: 1, failureThreshold: 1}
"""


def test_probes(atoll: Atoll, busybox: str):
    def health() -> dict[str, object]:
        return atoll.state("app-one")["Health"]  # type: ignore[no-any-return]

    def until(**wanted: object) -> None:
        deadline = time.monotonic() + 40
        while not wanted.items() <= health().items():
            assert time.monotonic() < deadline, (wanted, health(), atoll.good("logs", "app-one"))
            time.sleep(0.1)

    atoll.good("kube", "play", "--network", "none", "-", stdin=PROBED.replace("IMAGE", busybox))
    atoll.good("exec", "app-one", "touch", "/sick")  # which does not count before it has started
    until(Status="starting", Started=False)
    atoll.good("exec", "app-one", "rm", "/sick")
    atoll.good("exec", "app-one", "touch", "/up")
    until(Status="starting", Started=True, Alive=True, Ready=False)
    atoll.good("exec", "app-one", "touch", "/ready")
    until(Status="healthy", Ready=True)
    atoll.good("exec", "app-one", "rm", "/ready")
    until(Status="unhealthy", Alive=True, Ready=False)
    assert atoll.good("logs", "app-one") == "life"
    made = atoll.good("kube", "generate", "app")
    assert made.count("Probe:") == 3
    assert made.count("terminationGracePeriodSeconds: 1\n") == 2
    pid = atoll.state("app-one")["Pid"]
    atoll.good("exec", "app-one", "touch", "/sick")
    deadline = time.monotonic() + 60
    while atoll.good("logs", "app-one") != "life\nlife":
        assert time.monotonic() < deadline, health()
        time.sleep(0.1)
    until(Status="starting", Started=False)
    assert atoll.state("app-one")["Pid"] != pid
    deadline = time.monotonic() + 30
    while (status := atoll.good("pod", "ps", "--format", "{{.Status}}")) != "Running":
        assert time.monotonic() < deadline, status
        time.sleep(0.1)
    atoll.good("stop", "-t", "0", "app-one")  # which is deaf, and had ten minutes
    atoll.good("kube", "down", "-", stdin=PROBED.replace("IMAGE", busybox))
    assert atoll.all() == []


def test_deployments_and_refusals(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    container = f"{{name: c, image: {busybox}, command: [sleep, '600']}}"
    deployment = (
        "{apiVersion: apps/v1, kind: Deployment, metadata: {name: many}, spec: {replicas: 2, template:"
        f" {{spec: {{terminationGracePeriodSeconds: 0, containers: [{container}]}}}}}}}}"
    )
    atoll.good("kube", "play", "--network", "none", "-", stdin=deployment)
    assert sorted(atoll.good("pod", "ps", "--format", "{{.Name}}").split()) == ["many-pod-0", "many-pod-1"]
    atoll.good("kube", "down", "-", stdin=deployment)
    assert atoll.all() == []

    def pod(spec: str, name: str = "p") -> str:
        return f"{{apiVersion: v1, kind: Pod, metadata: {{name: {name}}}, spec: {{{spec}}}}}"

    for text, what in (
        (pod(f"containers: [{container}], initContainrs: []"), "spec.initContainrs: unknown field"),
        (pod("containers: [{name: c, image: x, volumeMounts: [{name: v, mountPath: /v}]}],"
             " volumes: [{name: v, hostPath: {path: /nosuch, type: Directory}}]"),
         "hostPath.path: /nosuch is not there"),
        (pod(f"containers: [{{name: c, image: {busybox}, securityContext: {{runAsNonRoot: true}}}}]"),
         "will run as root"),
        (pod(f"containers: [{container}], initContainers: [{{name: i, image: {busybox}, command: [sh, -c,"
             " 'echo broken; exit 3']}]"), "ended with exit code 3: broken"),
        ("a: &a [*a]", "stands for nothing"),
    ):  # fmt: skip
        result = atoll("kube", "play", "--network", "none", "-", stdin=text)
        result.failed(125, re.escape(what))
        assert atoll.all() == [], result
        assert atoll.good("pod", "ps", "-q") == ""
    check = atoll("system", "check")
    assert check.code == 0, check


def test_host_paths_and_a_pod_of_a_container(atoll: Atoll, busybox: str):
    place = os.path.join(atoll.folder, "made", "here")
    text = (
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: p}}, spec: {{containers: [{{name: c, image: {busybox},"
        " command: [touch, /h/file], volumeMounts: [{name: h, mountPath: /h}]}], restartPolicy: Never, volumes: "
        f"[{{name: h, hostPath: {{path: {place}, type: DirectoryOrCreate}}}}]}}}}"
    )
    atoll.good("kube", "play", "--network", "none", "-", stdin=text)
    atoll.wait_for("p-c", "exited")
    assert os.path.exists(f"{place}/file")
    atoll.good("kube", "down", "-", stdin=text)
    atoll.good("create", "--name", "web", "-e", "A=$x", "-m", "64m", "-v", "named:/n", busybox, "sleep", "600")
    made = atoll.good("kube", "generate", "--type", "deployment", "web")
    assert "claimName: named" in made
    assert "value: $$x" in made
    assert "memory: '67108864'" in made
    atoll.good("kube", "play", "--network", "none", "-", stdin=made)
    assert "A=$x" in atoll.inspect("web-pod-pod-0-web")["Config"]["Env"]  # type: ignore[index]


def test_play_killed_in_the_middle(atoll: Atoll, busybox: str, rng: random.Random, full: bool):
    """The next one makes it whole, and afterwards nothing is left."""
    text = DOCUMENTS.replace("IMAGE", busybox)
    whole = atoll("kube", "play", "--network", "none", "-", stdin=text).seconds
    for _ in range(40 if full else 3):
        atoll.good("kube", "down", "--force", "-", stdin=text)
        child = atoll.popen("kube", "play", "--network", "none", "-", stdin=subprocess.PIPE)
        try:
            child.communicate(text, rng.uniform(0, whole))
        except subprocess.TimeoutExpired:
            child.kill()
            child.communicate()
        finally:
            processes.KEEP.discard(child.pid)
        atoll.good("kube", "play", "--network", "none", "--replace", "-", stdin=text)
        assert atoll.state("app-two")["Status"] == "running"
    atoll.good("kube", "down", "--force", "-", stdin=text)
    assert atoll.all() == []
    assert atoll.good("volume", "ls", "-q") == ""
    check = atoll("system", "check")
    assert check.code == 0, check
