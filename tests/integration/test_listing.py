"""ps with Docker's filters and formats, prune, inspect's templates, logs' flags."""

from __future__ import annotations

import json
import re

import pytest

from integration.test_lifecycle import started, until_logged
from kit.command import Atoll


@pytest.fixture
def three(atoll: Atoll, busybox: str) -> Atoll:
    """`one` exited with 3, `two` was created, `three` runs; with labels and a mount."""
    atoll("run", "--name", "one", "-l", "tier=back", "-l", "team=x", busybox, "sh", "-c", "echo 12345 > /f; exit 3")
    atoll.good("create", "--name", "two", "-l", "tier=front", busybox, "true")
    started(atoll, busybox, "sleep", "600", name="three", options=("-l", "tier=back", "-v", "data:/data"))
    return atoll


def test_filters(three: Atoll, busybox: str):
    def names(*filters: str, all: bool = True) -> str:
        words = [word for one in filters for word in ("-f", one)]
        return " ".join(three.good("ps", *(["-a"] if all else []), "--format", "{{.Names}}", *words).split())

    identity = three.inspect("two")["Id"]
    assert names() == "three two one"
    assert names(all=False) == "three"
    for wanted, conditions in {
        "two": [f"id={str(identity)[:8]}"],
        "three one": ["name=e$"],
        "one": ["name=^/one$"],
        "two one": ["status=created", "status=exited"],
        "one ": ["exited=3"],
        "": ["exited=4"],
        "three one ": ["label=tier=back"],
        " one": ["label=tier=back", "label=team"],
        "three two one": [f"ancestor={busybox}"],
        " ": ["ancestor=nosuch"],
        "two one ": ["before=three"],
        "three two": ["since=one"],
        "three": ["volume=data"],
        "three  ": ["volume=/data"],
        "three two one ": ["network=none"],
        "  ": ["publish=80"],
        "   ": ["expose=80-90/udp"],
        " three two one": ["health=none"],
        "three  two one": ["is-task=false"],
        "    ": ["is-task=true"],
    }.items():
        assert names(*conditions) == " ".join(wanted.split()), conditions
    assert names("status=exited", all=False) == "one"
    for wrong in ("status=odd", "exited=x", "weird=1", "health=odd", "publish=x", "name"):
        three("ps", "-f", wrong).failed(1, "invalid")
    three("ps", "-f", "before=nosuch").failed(1, "no such container")
    assert len(three.good("ps", "-q", "-n", "2").split()) == 2
    assert three.good("ps", "-l", "--format", "{{.Names}}") == "three"


def test_formats(three: Atoll):
    table = three.good("ps", "-a", "--format", 'table {{.Names}}\\t{{.ID}}\\t{{.Label "team"}}\\t{{.LocalVolumes}}')
    head, *lines = table.split("\n")
    assert re.split(r"\s{2,}", head.strip()) == ["NAMES", "CONTAINER ID", "team", "LOCAL VOLUMES"]
    assert re.fullmatch(r"three +[0-9a-f]{12} + 1", lines[0])
    assert re.fullmatch(r"one +[0-9a-f]{12} +x +0", lines[2])
    rows = [json.loads(line) for line in three.good("ps", "-a", "--format", "json").split("\n")]
    assert [row["Names"] for row in rows] == ["three", "two", "one"]
    assert list(rows[0]) == sorted(rows[0])
    assert rows[2]["State"] == "exited"
    assert "container_id: " in three.good("ps", "--format", "raw")
    assert three.good("ps", "-a", "--sort", "names", "--format", "{{.Names}}") == "one\nthree\ntwo"
    assert re.search(r"SIZE.*\n", three.good("ps", "-as"))
    assert re.search(r"one .*6B \(virtual .*MB\)", three.good("ps", "-as"))


def test_prune(three: Atoll):
    three("container", "prune", stdin="n\n").failed(1)
    assert three("container", "prune", "--filter", "odd=1", "-f").failed(1, "invalid filter")
    assert three.good("container", "prune", "-f", "--filter", "until=1h") == "Total reclaimed space: 0B"
    kept = three.good("container", "prune", "-f", "--filter", "label!=tier=back")
    assert kept.startswith("Deleted Containers:\n")
    assert len(three.all()) == 2
    asked = three("container", "prune", stdin="y\n")
    assert asked.out.startswith("WARNING! This will remove all stopped containers.\nAre you sure")
    assert asked.good().endswith("Total reclaimed space: 6B")
    assert three.good("ps", "-a", "--format", "{{.Names}}") == "three"


def test_inspect_templates(three: Atoll):
    def shown(template: str, *more: str) -> str:
        return three.good("inspect", "-f", template, *more, "three")

    assert shown("{{.State.Running}} {{.Config.Labels.tier}} {{json .Config.Cmd}}") == 'true back ["sleep","600"]'
    assert shown("{{range .Mounts}}{{.Name}}:{{.Destination}}{{end}}") == "data:/data"
    assert shown("{{(index .Mounts 0).Type}}") == "volume"
    assert shown('{{index .Config.Labels "tier" | upper}}') == "BACK"
    assert int(shown("{{.SizeRootFs}}", "--size")) > 100_000
    three("inspect", "-f", "{{.Nosuch}}", "three").failed(1, "template parsing error")
    assert three("inspect", "--type", "image", "three").failed(1, "no such")
    assert len(json.loads(three("inspect", "one", "nosuch", "two").out)) == 2


def test_logs_flags(atoll: Atoll, busybox: str):
    script = "for i in 1 2 3 4; do echo line $i; done; echo bad >&2; sleep 600"
    started(atoll, busybox, "sh", "-c", script)
    until_logged(atoll, "web", "line 4")
    stamped = atoll.good("logs", "-t", "web").split("\n")
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z line 1", stamped[0])
    assert atoll.good("logs", "-n", "2", "web").count("line") in (1, 2)
    assert atoll.good("logs", "--tail", "0", "web") == ""
    moment = stamped[2].split(" ")[0]
    assert "line 1" not in atoll.good("logs", "--since", moment, "web") or moment == stamped[0].split(" ")[0]
    assert atoll.good("logs", "--until", "2020-01-01T00:00:00Z", "web") == ""
    assert atoll.good("logs", "--since", "1h", "--details", "web").startswith(" line 1\n line 2")
    atoll("logs", "--tail", "x", "web").failed(1, "--tail")
    atoll.good("create", "--name", "new", busybox, "true")
    assert atoll.good("logs", "-f", "new") == "", "nothing is to come of one that does not run"


def test_rm_flags(atoll: Atoll, busybox: str):
    atoll.good("pull", "-q", busybox)
    atoll.good("create", "--name", "web", "-v", "/anonymous", "-v", "kept:/kept", busybox)
    atoll("rm", "-l", "web").failed(1, "no links")
    atoll.good("rm", "-v", "web")
    assert atoll.good("rm", "-f", "web") == ""
    atoll("rm", "web").failed(1, "no such container")
