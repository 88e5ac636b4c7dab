"""Which platform of gVisor's is chosen, by a runsc that says what it is told to."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from atoll.isolation import gvisor

Make = Callable[..., str]


@pytest.fixture
def runsc(tmp_path: Path) -> Make:
    """A program that answers by platform, and counts how often it was asked."""

    def make(**answers: str) -> str:
        cases = "".join([f"*'--platform {name} '*) {does};;\n" for name, does in answers.items()])
        path = tmp_path / "runsc"
        path.write_text(
            f'#!/bin/sh\necho x >> {tmp_path}/asked\ncase "$*" in\n{cases}*) echo no >&2; exit 128;; esac\n'
        )
        path.chmod(0o755)
        return str(path)

    return make


def _asked(place: Path) -> int:
    return len((place / "asked").read_text().split())


def test_the_fastest_that_works_and_remembered(runsc: Make, tmp_path: Path):
    program = runsc(systrap="echo 900", ptrace="echo 9000")
    words = (program, "--platform", "ptrace", "--network", "none")
    assert gvisor.with_platform(words, str(tmp_path)) == (program, "--platform", "systrap", "--network", "none")
    assert gvisor.best(program, str(tmp_path)) == "systrap"
    assert _asked(tmp_path) == 2
    note = json.loads((tmp_path / gvisor.NOTE).read_text())
    assert note["tried"] == {"systrap": 900, "ptrace": 9000}


def test_one_that_does_not_work_is_passed_over_with_its_words(runsc: Make, tmp_path: Path):
    program = runsc(systrap="echo unknown platform >&2; exit 128", ptrace="echo 9000")
    assert gvisor.best(program, str(tmp_path)) == "ptrace"
    assert json.loads((tmp_path / gvisor.NOTE).read_text())["tried"]["systrap"] == "unknown platform"


def test_another_program_or_boot_is_tried_anew(runsc: Make, tmp_path: Path):
    program = runsc(ptrace="echo 9000")
    assert gvisor.best(program, str(tmp_path)) == "ptrace"
    program = runsc(ptrace="echo 9000", systrap="echo 1")
    os.utime(program, ns=(1, 1))
    assert gvisor.best(program, str(tmp_path)) == "systrap"
    note = tmp_path / gvisor.NOTE
    note.write_text(note.read_text().replace('"boot": "', '"boot": "x').replace('"boot":"', '"boot":"x'))
    before = _asked(tmp_path)
    assert gvisor.best(program, str(tmp_path)) == "systrap"
    assert _asked(tmp_path) == before + 2


def test_kvm_only_where_a_machine_came_up_by_it(runsc: Make, tmp_path: Path):
    program = runsc(kvm="echo 5", ptrace="echo 9000")
    assert gvisor.best(program, str(tmp_path)) == "ptrace"
    (tmp_path / gvisor.NOTE).unlink()
    os.mkdir(tmp_path / "vm")
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    (tmp_path / "vm" / "kvm-qemu.json").write_text(json.dumps({"boot": boot, "ok": True}))
    assert gvisor.best(program, str(tmp_path)) == "kvm"


def test_none_works_and_one_that_hangs(runsc: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gvisor, "SECONDS", 0.3)
    program = runsc(systrap="exec sleep 60")
    assert gvisor.best(program, str(tmp_path)) is None
    assert "no answer" in json.loads((tmp_path / gvisor.NOTE).read_text())["tried"]["systrap"]
    assert gvisor.with_platform((program, "--platform", "ptrace"), str(tmp_path))[2] == "ptrace"
    assert gvisor.with_platform(("runc",), str(tmp_path)) == ("runc",)
