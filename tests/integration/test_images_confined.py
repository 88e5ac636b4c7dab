"""A bug in the unpacker, as bad as can be, reaches nothing but the layer's own directory: as root, with ranges, with
one id. `confined_tool.py` is the bug."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from integration import confined_tool
from kit.sandbox import Sandbox

TOOL = os.path.abspath(confined_tool.__file__)


@pytest.fixture
def place(sandbox: Sandbox) -> Iterator[str]:
    """A fresh directory on the corner's tmpfs, open to all users."""
    path = os.path.join(sandbox.scratch, f"confined-{time.monotonic_ns()}")
    os.mkdir(path)
    os.chmod(path, 0o777)
    yield path
    subprocess.run(["rm", "-rf", path], check=True)


@pytest.mark.parametrize("who", ["root", "atoll-full", "atoll-single"])
def test_a_bug_of_the_unpacker_reaches_nothing_else(sandbox: Sandbox, place: str, who: str) -> None:
    user = None if who == "root" else sandbox.users[who]
    how = {"user": user.uid, "group": user.gid, "extra_groups": []} if user else {}
    canary = place + "/canary"
    os.mkdir(canary)
    with open(canary + "/file", "w") as file:
        file.write("whole")
    if user is not None:  # nothing but the cage may protect it
        os.chown(canary, user.uid, user.gid)
        os.chown(canary + "/file", user.uid, user.gid)
    before = os.stat(canary)
    done = subprocess.run(
        [sys.executable, TOOL, place, canary],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LANG": "C.UTF-8"},
        **how,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said.pop("(blob)") == ""
    assert len(said) >= 20
    assert [attempt for attempt, refused in said.items() if not refused] == []
    with open(canary + "/file") as file:
        assert file.read() == "whole"
    after = os.stat(canary)
    assert (after.st_mode, after.st_uid, after.st_ctime_ns) == (before.st_mode, before.st_uid, before.st_ctime_ns)
    assert os.listxattr(canary) == []
