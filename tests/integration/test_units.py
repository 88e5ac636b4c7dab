"""Units of `generate systemd` and `generate quadlet`, their commands run in systemd's order by hand."""

from __future__ import annotations

import os
import shlex
import subprocess
import time

import pytest

from integration.test_lifecycle import until_logged
from kit import processes
from kit.command import Atoll


def lines(text: str, key: str) -> list[list[str]]:
    """The words of each command of a key, without the sign before."""
    found = [line.partition("=")[2].removeprefix("-") for line in text.splitlines() if line.startswith(f"{key}=")]
    return [shlex.split(one)[1:] for one in found]


def bring_up(atoll: Atoll, text: str) -> subprocess.Popen[str] | None:
    """ExecStartPre, ExecStart; the process of one that stays in the foreground."""
    for words in lines(text, "ExecStartPre"):
        atoll(*words)
    (start,) = lines(text, "ExecStart")
    if "Type=exec" in text:
        child = atoll.popen(*start)
        name = start[start.index("--name") + 1] if "--name" in start else start[-1]
        deadline = time.monotonic() + 30
        while not atoll.good("ps", "-q", "--filter", f"name={name}"):
            assert time.monotonic() < deadline, "it does not start"
            time.sleep(0.1)
        return child
    atoll.good(*start)
    return None


def take_down(atoll: Atoll, text: str, child: subprocess.Popen[str] | None) -> None:
    """ExecStop, the end of the process, ExecStopPost."""
    for words in lines(text, "ExecStop"):
        atoll(*words)
    if child is not None:
        child.communicate(timeout=30)
        processes.KEEP.discard(child.pid)
    for words in lines(text, "ExecStopPost"):
        atoll(*words)


def test_quadlet(atoll: Atoll, busybox: str):
    folder = os.path.join(atoll.folder, "quadlet")
    files = {
        "data.volume": "[Volume]\nLabel=a=b\n",
        "many.pod": "[Pod]\nPodName=many\nHostName=front\n",
        "img.image": f"[Image]\nImage={busybox}\n",
        "web.container": "[Container]\nImage=img.image\nContainerName=web\nPod=many.pod\nVolume=data.volume:/d\n"
        "Environment=\"A=two words\"\nReadOnly=yes\nExec=sh -c 'echo $A > /d/file; hostname >> /d/file; sleep 600'\n"
        "StopSignal=KILL\n[Install]\nWantedBy=default.target\n",
        "bad.container": "[Container]\nImge=x\n",
    }
    os.makedirs(folder)
    for name, text in files.items():
        with open(f"{folder}/{name}", "w") as file:
            file.write(text)
    output = os.path.join(atoll.folder, "units")
    atoll("generate", "quadlet", "--generator", output, output, output, env={"QUADLET_UNIT_DIRS": folder}).failed(
        1, "unknown key Imge .*did you mean Image"
    )
    texts = {name: open(f"{output}/{name}").read() for name in os.listdir(output) if name.endswith(".service")}
    assert sorted(texts) == ["data-volume.service", "img-image.service", "many-pod.service", "web.service"]
    assert os.readlink(f"{output}/default.target.wants/web.service") == "../web.service"
    running = {name: bring_up(atoll, texts[name]) for name in (*sorted(texts)[:3], "web.service")}
    try:
        atoll.wait_for("web", "running")
        deadline = time.monotonic() + 10
        while "front" not in atoll.good("exec", "web", "cat", "/d/file") and time.monotonic() < deadline:
            time.sleep(0.05)
        assert atoll.good("exec", "web", "cat", "/d/file") == "two words\nfront"
        assert atoll.good("volume", "ls", "-q", "--filter", "label=a=b") == "systemd-data"
    finally:
        for name in ("web.service", "many-pod.service"):
            take_down(atoll, texts[name], running[name])
    assert atoll.all() == []
    assert atoll.good("pod", "ps", "-q") == ""


def test_systemd(atoll: Atoll, busybox: str):
    atoll.good("run", "-d", "--pod", "new:many", "--name", "one", "--stop-timeout", "0", busybox, "sleep", "600")
    atoll.good("pod", "stop", "-t", "0", "many")
    made = atoll.good("generate", "systemd", "--name", "--env", "A=1 2", "--restart-policy", "always", "many")
    pod, container = made.split("# container-one.service")
    assert "BindsTo=pod-many.service" in container
    assert "Wants=container-one.service" in pod
    assert 'Environment="A=1 2"' in container
    assert "Restart=always" in container
    running = [bring_up(atoll, text) for text in (pod, container)]
    try:
        atoll.wait_for("one", "running")
    finally:
        take_down(atoll, container, running[1])
        take_down(atoll, pod, running[0])
    assert atoll.state("one")["Status"] == "exited"
    atoll.good("create", "--name", "alone", busybox, "true")
    written = atoll("generate", "systemd", "--files", "alone", cwd=atoll.folder)
    path = written.good()
    assert path == f"{atoll.folder}/container-{atoll.inspect('alone')['Id']}.service"
    assert "start --attach" in open(path).read()
    atoll("generate", "systemd", "nosuch").failed(1, "no container or pod nosuch")
    atoll("generate", "systemd", "--new", "many").failed(1, "quadlet")
    atoll("generate", "systemd", "--new", "one").failed(1, "quadlet")


def test_a_unit_that_makes_its_container_anew(atoll: Atoll, busybox: str):
    words = ("-it", "-e", "A=two $words", "-v", "/vol", "--restart", "no", "--stop-timeout", "0")
    atoll.good("run", "-d", *words, "--name", "web", busybox, "sh", "-c", "echo $A; touch /here; sleep 600")
    text = atoll.good("generate", "systemd", "--new", "--name", "--restart-policy", "no", "web")
    assert "Restart=no" in text
    first = atoll.inspect("web")["Id"]
    for _ in range(2):
        child = bring_up(atoll, text.replace("$$", "$").replace("%%", "%"))
        try:
            atoll.wait_for("web", "running")
            now = atoll.inspect("web")
            assert now["Id"] != first
            assert now["Config"]["Tty"] is True
            until_logged(atoll, "web", "two $words")
            first = now["Id"]
        finally:
            take_down(atoll, text, child)
        assert atoll.all() == []
    assert atoll.good("volume", "ls", "-q").count("\n") == 0, "that of the first one, which was replaced"


@pytest.mark.parametrize("words", [("quadlet", "/nosuch"), ("quadlet", "--generator"), ("systemd",)])
def test_what_is_wrong_is_told(atoll: Atoll, words: tuple[str, ...]):
    result = atoll("generate", *words)
    assert result.code != 0
    assert "Traceback" not in result.err
