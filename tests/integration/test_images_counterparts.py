"""Images of podman, buildah, skopeo and dockerd pulled by Atoll, Atoll's by them, over TLS with a password.

One registry, one podman (its store is buildah's too), one dockerd for all of it. What travels keeps its digests, and
what podman unpacks is what Atoll unpacks, file by file.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import images_tool
from integration.test_images_pull import rich, without_times
from kit import images, leaks
from kit.command import Atoll, installed
from kit.engines import Docker, Podman
from kit.registry import PASSWORD, USER, Registry
from kit.sandbox import Sandbox

PAIR = f"{USER}:{PASSWORD}"


class World:
    """The registry and the engines. `push` and `pull` are each tool's own way of moving its image `busybox`."""

    def __init__(self, sandbox: Sandbox) -> None:
        self.folder = os.path.join(sandbox.scratch, "counterparts")
        os.makedirs(self.folder)
        self.registry = Registry(f"{self.folder}/registry", secured=True)
        leaks.SERVICES.add(self.registry.process.pid)
        self.certificates = f"{self.folder}/certs"
        os.makedirs(self.certificates)
        Path(self.certificates, "ca.crt").write_bytes(Path(self.registry.certificate).read_bytes())
        self.podman = Podman(sandbox, f"{self.folder}/podman", installed("atoll-runtime"))
        self.docker = Docker(sandbox, f"{self.folder}/docker", installed("atoll-runtime"))
        self.docker.good("login", "-u", USER, "--password-stdin", self.registry.host, stdin=PASSWORD)
        self.access = ["--creds", PAIR, "--cert-dir", self.certificates]

    def stop(self) -> None:
        self.docker.stop()
        self.podman.stop()
        leaks.SERVICES.discard(self.registry.process.pid)
        self.registry.stop()

    def push(self, tool: str, name: str) -> None:
        if tool == "docker":
            self.docker.good("tag", "busybox", name)
            self.docker.good("push", "-q", name)
        elif tool == "skopeo":
            kinds = ["--dest-creds", PAIR, "--dest-cert-dir", self.certificates]
            archive = f"{self.folder}/box.tar"
            self.podman.good("save", "-q", "--format", "oci-archive", "-o", archive, "busybox")
            self.tool("skopeo", "copy", "-q", *kinds, f"oci-archive:{archive}", f"docker://{name}")
        elif tool == "buildah":
            self.tool("buildah", *self.store(), "push", "-q", *self.access, "busybox", f"docker://{name}")
        else:
            self.podman.good("push", "-q", *self.access, "busybox", name)

    def pull(self, tool: str, name: str) -> tuple[str, list[str]]:
        """What the tool has got: the image's id, and the digests under which it knows it."""
        if tool == "docker":
            self.docker.good("pull", "-q", name)
            found = json.loads(self.docker.good("image", "inspect", name))[0]
            return found["Id"], found["RepoDigests"]
        if tool == "skopeo":
            layout = f"{self.folder}/layout"
            kinds = ["--src-creds", PAIR, "--src-cert-dir", self.certificates]
            self.tool("skopeo", "copy", "-q", *kinds, f"docker://{name}", f"oci:{layout}:x")
            (entry,) = json.loads(Path(layout, "index.json").read_text())["manifests"]
            blob = Path(layout, "blobs", *entry["digest"].split(":")).read_text()
            return json.loads(blob)["config"]["digest"], [f"{name.rpartition(':')[0]}@{entry['digest']}"]
        if tool == "buildah":
            self.tool("buildah", *self.store(), "pull", "-q", *self.access, name)
        else:
            self.podman.good("pull", "-q", *self.access, name)
        found = json.loads(self.podman.good("image", "inspect", name))[0]
        return f"sha256:{found['Id']}", found["RepoDigests"]

    def store(self) -> list[str]:
        """Podman's, for buildah."""
        where = f"{self.folder}/podman"
        return ["--root", f"{where}/store", "--runroot", f"{where}/run", "--storage-driver", "overlay"]

    def tool(self, *argv: str) -> str:
        how = {"env": self.podman.env, "preexec_fn": self.podman.enter, "timeout": 120}
        done = subprocess.run(argv, capture_output=True, text=True, **how)
        assert done.returncode == 0, f"{argv}\n{done.stderr}"
        return done.stdout

    def digest_of(self, name: str) -> str:
        repository, _, tag = name.removeprefix(self.registry.host + "/").rpartition(":")
        kinds = {"Accept": f"{images.MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"}
        return self.registry.request("GET", f"/v2/{repository}/manifests/{tag}", headers=kinds)[1][
            "docker-content-digest"
        ]


@pytest.fixture(scope="module")
def world(sandbox: Sandbox) -> Iterator[World]:
    one = World(sandbox)
    yield one
    one.stop()
    subprocess.run(["rm", "-rf", one.folder], check=True)


@pytest.fixture
def ours(atoll: Atoll, world: World) -> Atoll:
    """An Atoll that has logged in to the registry."""
    atoll.env["HOME"] = atoll.folder
    Path(atoll.config).write_text(f'[registries."{world.registry.host}"]\nca_file = "{world.registry.certificate}"\n')
    atoll.good("login", "-u", USER, "--password-stdin", world.registry.host, stdin=PASSWORD)
    return atoll


@pytest.mark.parametrize("tool", ["podman", "buildah", pytest.param("skopeo", marks=pytest.mark.full), "docker"])
def test_there_and_back_with_the_same_digests(ours: Atoll, world: World, tool: str):
    theirs, again = f"{world.registry.host}/from-{tool}:1", f"{world.registry.host}/again-{tool}:1"
    world.push(tool, theirs)
    ours.good("pull", "-q", theirs)
    assert ours.good("run", "--rm", theirs, "echo", "runs") == "runs"
    shown = json.loads(ours.good("image", "inspect", theirs))[0]
    assert shown["Descriptor"]["digest"] == world.digest_of(theirs)
    ours.good("push", theirs, again)
    assert world.digest_of(again) == world.digest_of(theirs)
    image, known = world.pull(tool, again)
    assert image == shown["Id"]
    assert f"{again.rpartition(':')[0]}@{world.digest_of(theirs)}" in known


@pytest.mark.parametrize("tool", [pytest.param("podman", marks=pytest.mark.full), "docker"])
def test_an_image_made_here_is_theirs_too(ours: Atoll, world: World, tool: str):
    """Committed by Atoll: what they pull has our id, and runs by their own hands."""
    base = f"{world.registry.host}/from-here:base"
    world.push("podman", base)
    ours.good("pull", "-q", base)
    ours.good("run", "--name", "maker", base, "sh", "-c", "echo made > /made; rm /etc/group")
    name = f"{world.registry.host}/from-here:{tool}"
    image = ours.good("commit", "maker", name)
    ours.good("push", name)
    their_id, known = world.pull(tool, name)
    assert their_id == image
    assert f"{name.rpartition(':')[0]}@{world.digest_of(name)}" in known
    engine = world.docker if tool == "docker" else world.podman
    flags = ["--rm", "--network", "none"]
    seen = engine.good("run", *flags, name, "sh", "-c", "cat /made; ls /etc/group || true")
    assert seen == "made"


# What podman does otherwise: its root is 0555; a directory that a layer only implies gets root's attributes, not
# those of the layer below (umoci agrees with us); an entry for a hard link changes the file that it links to.
OTHERWISE = {"rich": ("/", "/kept", "/opaque", "/bin/alias", "/bin/tool"), "debian": ("/",)}
# Directories in which a whiteout was carried out, or that no entry describes, have the time of unpacking.
UNTIMED = {"rich": ("/gone", "/swap", "/é", "/é/" + "long" * 30), "debian": ()}


@pytest.mark.parametrize("which", ["rich", pytest.param("debian", marks=pytest.mark.full)])
def test_trees_are_podmans_file_by_file(request: pytest.FixtureRequest, ours: Atoll, world: World, which: str):
    """Type, mode, owner, times, attributes, content and links: of an image with everything that a layer can say, and
    of a distribution's."""
    if which == "rich":
        name = world.registry.push(rich(), "rich")
    else:
        theirs_first = request.getfixturevalue("debian")
        name = f"{world.registry.host}/debian:1"
        world.tool(
            "skopeo", "copy", "-q", "--src-tls-verify=false", "--dest-creds", PAIR, "--dest-cert-dir",
            world.certificates, f"docker://{theirs_first}", f"docker://{name}",
        )  # fmt: skip
    ours.good("pull", "-q", name)
    ours.good("image", "bundle", name, f"{ours.folder}/bundle")
    world.podman.good("pull", "-q", *world.access, name)
    place = world.podman.good("image", "mount", name)
    argv = [sys.executable, "-c", "import json, sys; from integration import images_tool; "
            "print(json.dumps(images_tool.listing(sys.argv[1])))", place]  # fmt: skip
    tests = os.path.dirname(os.path.dirname(images_tool.__file__))
    path = os.pathsep.join([tests, *filter(None, sys.path)])
    done = subprocess.run(
        argv, env={"PYTHONPATH": path}, preexec_fn=world.podman.enter, capture_output=True, text=True, check=True
    )
    theirs = json.loads(done.stdout)
    found = json.loads(json.dumps(images_tool.listing(f"{ours.folder}/bundle/rootfs")))
    assert set(found) == set(theirs)
    for path in OTHERWISE[which]:
        assert found.pop(path)[5:] == theirs.pop(path)[5:]
    assert without_times(found, UNTIMED[which]) == without_times(theirs, UNTIMED[which])
    world.podman.good("image", "umount", name)
