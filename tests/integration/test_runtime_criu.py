"""`checkpoint` and `restore`: the conversation, with a stand-in that speaks by CRIU's own code for its messages.

Debian 12's CRIU 3.17 cannot save on the kernel that these tests are run on: what it says is the preflight's own test.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from typing import Any

import pytest

from kit.bundle import Runtime

STAND_IN = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kit", "criu.py")


class Saved:
    """A runtime with the stand-in as its CRIU, and the directory of the images."""

    def __init__(self, runtime: Runtime, mode: str = "") -> None:
        self.runtime = runtime
        self.folder = os.path.join(runtime.folder, "criu")
        os.makedirs(self.folder, exist_ok=True)
        self.images = os.path.join(self.folder, "images")
        self.env = {"FAKE_CRIU": self.folder, "FAKE_CRIU_MODE": mode}

    def __call__(self, *words: str) -> Any:
        return self.runtime("--criu", STAND_IN, *words, env=self.env)

    def asked(self, kind: str) -> dict[str, Any]:
        """The options of the last request of a kind."""
        with open(os.path.join(self.folder, "requests")) as stream:
            lines = [json.loads(line) for line in stream]
        return dict([line for line in lines if line["type"] == kind][-1]["opts"])


@pytest.fixture
def saved(root_runtime: Runtime) -> Saved:
    return Saved(root_runtime)


def test_checkpoint_and_restore(saved: Saved):
    bundle = saved.runtime.bundle()
    log = os.path.join(bundle.folder, "hooks")
    script = {"path": "/bin/sh", "args": ["sh", "-c", f"echo $0 >> {log}"], "env": ["PATH=/bin"]}
    bundle.config["mounts"].append(
        {"destination": "/outside", "source": bundle.folder, "type": "bind", "options": ["rbind"]}
    )
    name = saved.runtime.started(bundle)
    pid = saved.runtime.state(name)["pid"]
    options = ["--image-path", saved.images, "--tcp-established", "--file-locks", "--manage-cgroups-mode", "soft"]
    saved("checkpoint", *options, name).good()
    asked = saved.asked("DUMP")
    assert asked["pid"] == pid
    assert asked["root"] == bundle.rootfs
    assert asked["tcp_established"]
    assert asked["file_locks"]
    assert not asked["leave_running"]
    assert asked["manage_cgroups_mode"] == "SOFT"
    assert {"key": "/outside", "val": "/outside"} in asked["ext_mnt"]
    assert os.path.isdir(asked["freeze_cgroup"]) or asked["freeze_cgroup"].endswith(name)
    assert json.load(open(os.path.join(saved.images, "descriptors.json")))[0] == "/dev/null"
    saved.runtime("state", name).failed(1, "does not exist")

    bundle.config["hooks"] = {"createRuntime": [script], "poststart": [script]}
    bundle.save()
    saved("restore", "--detach", "--bundle", bundle.folder, "--image-path", saved.images, name).good()
    asked = saved.asked("RESTORE")
    assert {"key": "/outside", "val": bundle.folder} in asked["ext_mnt"]
    assert asked["root"].endswith(f"/{name}/criu-root")
    assert all(root["path"].endswith(name) for root in asked["cg_root"])
    assert saved.runtime.state(name)["status"] == "running"
    assert len(open(log).read().split()) == 2
    assert not os.path.exists(os.path.join(saved.runtime.root, name, "criu-root"))
    assert saved.runtime.good("exec", name, "echo", "alive") == "alive"
    saved.runtime.good("kill", name, "KILL")
    saved.runtime.good("delete", "--force", name)


def test_leave_running_and_pre_dump_leave_it_be(saved: Saved):
    name = saved.runtime.started(saved.runtime.bundle())
    saved("checkpoint", "--image-path", saved.images, "--pre-dump", name).good()
    assert saved.asked("PRE_DUMP")["track_mem"]
    again = ["--leave-running", "--parent-path", "../images"]
    saved("checkpoint", "--image-path", f"{saved.images}2", *again, name).good()
    assert saved.asked("DUMP")["parent_img"] == "../images"
    assert saved.runtime.state(name)["status"] == "running"


@pytest.mark.parametrize(
    ("mode", "words"),
    [
        ("caps", "gives? process [0-9]+ more than the bundle: Cap... holds CAP_"),
        ("privs", "no_new_privs is off"),
        ("host-net", "another network namespace"),
        ("silent", "nothing of it was checked"),
        ("refuses", "criu failed: type RESTORE errno 16: cannot save that"),
    ],
)
def test_images_give_no_more_than_the_bundle(saved: Saved, mode: str, words: str):
    saved.env["FAKE_CRIU_MODE"] = mode
    os.makedirs(saved.images)
    bundle, name = saved.runtime.bundle(), saved.runtime.new_id()
    result = saved("restore", "-d", "--bundle", bundle.save("sleep", "9").folder, "--image-path", saved.images, name)
    result.failed(1, words)
    assert not os.path.exists(os.path.join(saved.runtime.root, name))


@pytest.mark.parametrize(
    ("mode", "words"),
    [("blocked", "criu cannot work on this host: Error .* nothing works here"), ("old", "older than")],
)
def test_what_blocks_is_said_before_anything_is_done(saved: Saved, mode: str, words: str):
    saved.env["FAKE_CRIU_MODE"] = mode
    name = saved.runtime.started(saved.runtime.bundle())
    saved("checkpoint", "--image-path", saved.images, name).failed(1, words)
    assert saved.runtime.state(name)["status"] == "running"


def test_without_criu(root_runtime: Runtime):
    name = root_runtime.started(root_runtime.bundle())
    root_runtime("--criu", "/nonexistent/criu", "checkpoint", name).failed(1, "cannot run /nonexistent/criu")
    root_runtime("restore", "--image-path", "/nonexistent", "x").failed(1, "config.json not found")
    root_runtime("checkpoint", "--empty-ns", "user", name).failed(1, "namespace 'user' is not supported")
    root_runtime("checkpoint", "--manage-cgroups-mode", "odd", name).failed(1, "Invalid manage-cgroups-mode")


def test_debians_own(root_runtime: Runtime):
    """The real program at the other end: it answers VERSION and CHECK, and where it works, it saves and restores."""
    assert shutil.which("criu"), "install Debian's criu"
    bundle = root_runtime.bundle()
    name, images = root_runtime.started(bundle), os.path.join(root_runtime.folder, "images")
    works = subprocess.run(["criu", "check"], capture_output=True, check=False).returncode == 0
    result = root_runtime("checkpoint", "--image-path", images, name)
    if not works:
        result.failed(1, "criu cannot work on this host: Error")
        assert root_runtime.state(name)["status"] == "running"
        return
    result.good()
    root_runtime.good("restore", "--detach", "--bundle", bundle.folder, "--image-path", images, name)
    assert root_runtime.state(name)["status"] == "running"
