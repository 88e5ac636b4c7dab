"""Files and processes of a container in a machine, from outside: cp, diff, commit, export, top.

While it runs its own guest answers, afterwards a machine like it.
"""

from __future__ import annotations

import os
import subprocess
import tarfile
from collections.abc import Callable

import pytest

from kit import vm
from kit.command import Atoll
from kit.sandbox import Sandbox

pytestmark = pytest.mark.timeout(300)
SCRIPT = (
    "mkdir /made; echo one > /made/one; ln -s one /made/link; chown 7:8 /made/one; rm /bin/yes; echo ready;"
    "trap 'exit 0' TERM; while :; do sleep 0.2; done"
)


def test_files_and_processes_from_outside(
    fresh: Callable[..., Atoll], machine_store: str, busybox: str, sandbox: Sandbox
) -> None:
    box = fresh()
    vm.give(box, machine_store)
    box.good("pull", "-q", busybox)
    here = f"{sandbox.scratch}/files"
    os.makedirs(f"{here}/tree/below")
    for name, text in (("tree/below/a", "a\n"), ("big", "0123456789" * 40_000)):
        with open(f"{here}/{name}", "w") as stream:
            stream.write(text)
    box.good("run", "-d", "--name", "web", "--isolation", "vm", busybox, "sh", "-c", SCRIPT)
    logs = box.popen("logs", "-f", "web")
    assert logs.stdout is not None
    assert logs.stdout.readline() == "ready\n"
    logs.kill()
    logs.communicate()
    _look(box, here, "running")
    assert "sleep" in box.good("top", "web")
    box("top", "web", "-o", "pid").failed(1, "cannot give ps options")
    box("cp", "web:/no/such", here).failed(1, "could not find the file /no/such")
    box("cp", f"{here}/big", "web:/no/such/").failed(1, "no such directory")
    box.good("export", "-o", f"{here}/root.tar", "web")
    with tarfile.open(f"{here}/root.tar") as archive:
        names = set(archive.getnames())
        assert archive.getmember("made/one").uid == 7
    assert {"made/one", "running/below/a", "bin/sh"} <= names
    assert "bin/yes" not in names
    box.good("pause", "web")
    box("cp", "web:/made/one", here).failed(1, "paused")
    box.good("unpause", "web")
    box.good("stop", "-t", "0", "web")
    _look(box, here, "stopped")
    box("top", "web").failed(1, "is not running")
    box.good("start", "web")
    told = box.good("exec", "web", "sh", "-c", "cat /*/below/a; stat -c %u:%g:%s /*-big")
    assert told.split() == ["a", "a", "0:0:400000", "0:0:400000"]
    box.good("rm", "-f", "web")
    assert box("system", "check").code == 0


def _look(box: Atoll, here: str, when: str) -> None:
    """Both directions; what has changed; an image of it."""
    box.good("cp", f"{here}/tree", f"web:/{when}")
    box.good("cp", f"{here}/big", f"web:/{when}-big")
    box.good("cp", "-a", "web:/made", f"{here}/{when}")
    assert os.readlink(f"{here}/{when}/link") == "one"
    found = os.stat(f"{here}/{when}/one")
    assert (found.st_uid, found.st_gid, found.st_size) == (7, 8, 4)
    changes = box.good("diff", "web").splitlines()
    for line in ("A /made", "A /made/one", "C /bin", "D /bin/yes", f"A /{when}", f"A /{when}/below/a"):
        assert line in changes, changes
    assert not [line for line in changes if "/etc" in line]
    image = box.good("commit", "-c", "CMD cat /made/one; test ! -e /bin/yes", "web", f"made-{when}")
    assert box.good("run", "--rm", image) == "one"


def test_a_command_that_is_killed_at_it_leaves_no_machine(
    fresh: Callable[..., Atoll], machine_store: str, busybox: str
) -> None:
    """The machine that is held for it ends with it, wherever it was."""
    box = fresh()
    vm.give(box, machine_store)
    box.good("pull", "-q", busybox)
    box.good("create", "--name", "web", "--isolation", "vm", busybox, "true")
    one = box.popen("export", "web", stdout=subprocess.PIPE, text=False)
    assert one.stdout is not None
    assert one.stdout.read(1)
    one.kill()
    one.communicate()
    assert box.good("diff", "web") == ""
    one = box.popen("cp", "web:/bin", "-", stdout=subprocess.PIPE, text=False)
    assert one.stdout is not None
    assert one.stdout.read(1)
    one.kill()
    one.communicate()
    box.good("start", "-a", "web")
    box.good("rm", "web")
    assert box.good("system", "check") == "nothing to repair"
