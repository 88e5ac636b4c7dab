"""Layers that Hypothesis makes, unpacked in the cage as root, with ranges and with one id, beside a canary tree.

The same programs and model as in `unit/snapshots/test_apply.py`, which unpacks in its own process; here each
process and id map is that of a pull. The canary belongs to the user: nothing but the unpacker protects it.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from integration import hostile_tool
from kit.sandbox import Sandbox
from unit.snapshots import layer_model as model
from unit.snapshots.layer_model import Step
from unit.snapshots.test_apply import snapshot, steps

TOOL = os.path.abspath(hostile_tool.__file__)

KNOWN = [
    [Step("link", "a", "/"), Step("opaque", "a/b")],
    [Step("link", "a", "b"), Step("dir", "b/c"), Step("opaque", "a/c/A"), Step("link", "a", "/")],
    [Step("dir", "b/c"), Step("link", "b/a", "../b/./c"), Step("opaque", "b/a/é"), Step("opaque", "b/a")],
]
"""What was wrong once: marks by way of a link, which another process sets in the end."""


def programs(number: int, chance: int) -> list[list[Step]]:
    """So many different ones, the same for the same seed."""
    found: list[list[Step]] = []

    @seed(chance)
    @settings(max_examples=number, phases=[Phase.generate], database=None, deadline=None,
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.lists(steps, min_size=2, max_size=12))
    def collect(program: list[Step]) -> None:
        found.append(program)

    collect()
    return found


@pytest.mark.parametrize("who", ["root", "atoll-full", "atoll-single"])
def test_any_layer_in_the_cage(sandbox: Sandbox, rng: random.Random, full: bool, who: str):
    user = None if who == "root" else sandbox.users[who]
    how = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    place = Path(sandbox.scratch, f"hostile-{who}")
    canary = place / "canary"
    canary.mkdir(parents=True)
    (canary / "secret").write_text("untouched")
    cases = [*KNOWN, *programs(600 if full else 40, rng.randrange(1 << 32))]
    for number, program in enumerate(cases):
        (place / f"{number}.tar").write_bytes(model.archive(program))
    if user is not None:
        subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", place], check=True)
    before = snapshot(canary)
    done = subprocess.run(
        [sys.executable, TOOL, str(place), str(len(cases))], capture_output=True, text=True, timeout=300,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"}, **how,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    refused = 0
    for program, answer in zip(cases, json.loads(done.stdout), strict=True):
        try:
            expected = model.describe(model.run(program))
        except model.Refused:
            refused += 1
            assert answer["refused"].startswith("corrupt"), (program, answer)
            continue
        assert answer["refused"] == "", (program, answer)
        assert model.look(answer["place"], answer["opaque"]) == expected, program
    assert 0 < refused < len(cases)
    assert snapshot(canary) == before
    assert sorted(one.name for one in place.iterdir() if not one.name.endswith(".tar")) == ["canary", "store"]
    shutil.rmtree(place)
