"""atoll compare: what it says is true, for root and for an ordinary user, and nothing of it stays.

The rungs that take long (gVisor, a machine) are looked at by their wall alone, once.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest

from atoll.compare.program import image, records
from atoll.compare.wall.calls import reached
from atoll.engine.containers.defaults import ATOLL_CAPABILITIES
from atoll.runtime.seccomp import default_profile
from atoll.runtime.seccomp.tables import numbers
from kit import vm
from kit.command import Atoll
from kit.sandbox import Sandbox

pytestmark = pytest.mark.timeout(300)
_PATIENT = 240.0


def found_by(atoll: Atoll, *words: str) -> dict[str, Any]:
    """What it finds, as JSON; its own places are gone."""
    found = json.loads(atoll("compare", "--format", "json", "-q", *words, timeout=_PATIENT).good())
    assert isinstance(found, dict)
    assert [name for name in os.listdir(atoll.data) if name.startswith("compare-")] == []
    assert atoll.all() == []
    keys = [one["key"] for one in found["rows"]]
    assert len(set(keys)) == len(keys)
    return found


def cells(found: dict[str, Any], key: str) -> dict[str, Any]:
    """The cells of a row."""
    (row,) = [one for one in found["rows"] if one["key"] == key]
    return dict(row["cells"])


def on_this_kernel(folder: str) -> set[str]:
    """The calls that the host's kernel has and no filter keeps from us."""
    path = os.path.join(folder, "probe")
    with open(path, "wb") as stream:
        stream.write(image(os.uname().machine))
    os.chmod(path, 0o755)
    done = subprocess.run([path, "c", "0", "480"], stdout=subprocess.PIPE, timeout=_PATIENT, check=True)
    os.unlink(path)
    (record,) = records.parse(done.stdout)
    return set(reached(record.content, numbers(os.uname().machine)).passed)


def opened() -> set[str]:
    """The calls that the default profile opens, be it for some arguments only."""
    rules = default_profile(frozenset(ATOLL_CAPABILITIES)).syscalls
    return {name for rule in rules if rule.action == "SCMP_ACT_ALLOW" for name in rule.names}


def test_the_ladder_as_root(atoll: Atoll, busybox: str, sandbox: Sandbox):
    atoll.good("pull", "-q", busybox)
    rungs = ("process", "chroot", "seccomp", "container")
    words = [word for name in rungs for word in ("--rung", name)]
    only = [word for name in ("start", "inside", "memory", "wall") for word in ("--only", name)]
    found = found_by(atoll, "--quick", "--samples", "1", *only, *words, busybox)
    assert [(one["name"], one["reason"]) for one in found["rungs"]] == [(name, "") for name in rungs]
    for key in ("start", "answer", "stop"):
        assert {name: cell.get("count") for name, cell in cells(found, key).items()} == dict.fromkeys(rungs, 1)
        assert all(cell["median"] > 0 for cell in cells(found, key).values())
    assert all(cell["median"] >= 4096 for cell in cells(found, "memory").values())
    assert all(cell["text"] == "shared" for cell in cells(found, "kernel").values())
    # Every number that the profile opens and the kernel has comes through, and no other.
    here = on_this_kernel(sandbox.scratch)
    calls = {name: cell["median"] for name, cell in cells(found, "calls").items()}
    assert calls["process"] == calls["chroot"] == len(here)
    assert calls["container"] == calls["seccomp"] == len(here & opened())
    refused = cells(found, "calls")["container"]["note"].removeprefix("refused: ").split(", ")
    assert not set(refused) & opened()
    assert {"ptrace", "mount", "kexec_load", "reboot"} <= {*refused, "ptrace"}
    # The wall: what is open without one, and shut behind it.
    assert cells(found, "capabilities")["container"]["median"] == len(ATOLL_CAPABILITIES)
    assert cells(found, "open")["container"]["median"] == 0
    names = cells(found, "open")["process"]["note"]
    for known in ("make a user namespace", "see a process of the host", "reach a service on the host's loopback"):
        assert known in names
    assert "leave a chroot by a second one" in cells(found, "open")["chroot"]["note"]
    shown = {name: cell["median"] for name, cell in cells(found, "host files").items()}
    assert shown["container"] < shown["process"]


def test_other_forms_of_what_was_kept(atoll: Atoll, sandbox: Sandbox):
    path, table = f"{sandbox.scratch}/kept.json", f"{sandbox.scratch}/table.md"
    only = ("--quick", "--samples", "1", "--only", "memory", "--rung", "process", "--rung", "container")
    atoll.good("compare", "-q", *only, "--format", "json", "-o", path, timeout=_PATIENT)
    with open(table, "w") as stream:
        stream.write("a\n<!-- compare: start -->\n<!-- compare: end -->\nb\n")
    page = atoll.good("compare", "--from", path, "--format", "html", "--table", table)
    assert "<svg" in page
    assert "<script" not in page
    with open(table) as stream:
        assert "| memory of a further copy |" in stream.read()
    assert "MEMORY" in atoll.good("compare", "--from", path)
    assert "## Memory" in atoll.good("compare", "--from", path, "--format", "markdown")
    answer = atoll.good("compare", "--from", path, "--for", "web server, 2 copies of 1m")
    assert "The strongest that fits: container" in answer
    atoll("compare", "--from", path, "--for", "web servers").failed(1, "how many")
    atoll("compare", "--from", "/etc/passwd").failed(1, "is not what")
    for wrong in (("--format", "pdf"), ("--only", "luck"), ("--rung", "moat"), ("--samples", "0")):
        atoll("compare", *wrong).failed(125, "unknown|from 1")
    atoll("compare", "-q", "--quick", "no/such/image").failed(1, "no/such/image")
    for name in (path, table):
        os.unlink(name)


def test_an_ordinary_user(rootless: Atoll, busybox: str):
    rootless.good("pull", "-q", busybox)
    rungs = ("process", "container", "gvisor", "runc")
    words = [word for name in rungs for word in ("--rung", name)]
    found = found_by(rootless, "--quick", "--samples", "1", "--only", "wall", "--only", "start", *words, busybox)
    reasons = {one["name"]: one["reason"] for one in found["rungs"]}
    assert reasons["process"] == reasons["container"] == ""
    assert "root" in reasons["gvisor"]
    assert "ordinary user" in reasons["runc"]
    calls = {name: cell["median"] for name, cell in cells(found, "calls").items()}
    assert calls["container"] < calls["process"]
    assert cells(found, "open")["container"]["median"] == 0
    assert cells(found, "start")["container"]["count"] == 1


@pytest.mark.full
def test_a_machine_has_a_kernel_of_its_own(fresh: Callable[..., Atoll], sandbox: Sandbox):
    one = fresh()
    vm.give(one, vm.store(sandbox.run_outside))
    found = found_by(one, "--quick", "--only", "wall", "--rung", "vm")
    assert found["rungs"][0]["reason"] == ""
    kernel = cells(found, "kernel")["vm"]
    assert kernel["text"] == "own"
    assert kernel["note"] != os.uname().release
    assert cells(found, "calls")["vm"]["text"] == cells(found, "open")["vm"]["text"] == "none"
    assert cells(found, "calls inside")["vm"]["median"] > 200
    assert "boot_id" not in cells(found, "host files")["vm"].get("note", "")
    assert "/proc/version" not in cells(found, "host files")["vm"].get("note", "")
