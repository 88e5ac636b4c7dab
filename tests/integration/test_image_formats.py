"""Forms of images beside the plain ones: zstd:chunked, eStargz, artifacts, schema 1; a Docker daemon; memory."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import socket
import subprocess
import tarfile
import threading
from pathlib import Path

import pytest

from kit import images
from kit.command import Atoll, installed
from kit.registry import Registry

INDEX = "application/vnd.oci.image.index.v1+json"


def plain(*contents: tuple[str, bytes]) -> bytes:
    """A tar of a layer."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in contents:
            images.entry(tar, name, data, mode=0o755)
    return buffer.getvalue()


def busybox_tar() -> bytes:
    return plain(("bin/sh", Path("/usr/bin/busybox").read_bytes()), ("etc/conf", b"c" * 5000))


def in_parts(data: bytes) -> list[bytes]:
    return [data[:1024], data[1024:200_000], data[200_000:]]


def estargz(data: bytes) -> bytes:
    """A gzip member a chunk, and the footer, a member without content (stargz-snapshotter, docs/estargz.md)."""
    footer = gzip.compress(b"", mtime=0)
    return b"".join([gzip.compress(part, 6, mtime=0) for part in in_parts(data)]) + footer


def zstd_chunked(data: bytes) -> bytes:
    """A zstd frame a chunk, then skippable frames with the table of contents (containers/storage, chunked)."""
    import zstandard

    frames = b"".join([zstandard.ZstdCompressor(level=3).compress(part) for part in in_parts(data)])
    for content in (b"a table of contents", b"\0" * 64):
        frames += bytes.fromhex("502a4d18") + len(content).to_bytes(4, "little") + content
    return frames


@pytest.mark.parametrize(
    ("kind", "pack"), [("gzip", estargz), ("zstd", zstd_chunked)], ids=["eStargz", "zstd:chunked"]
)
def test_layers_in_many_parts(atoll: Atoll, registry: Registry, kind: str, pack):
    data = busybox_tar()
    layer = images.blob(f"{images.LAYER}+{kind}", pack(data))
    name = registry.push(images.assemble([(layer, images.sha256(data))], {"Cmd": ["/bin/sh"]}), f"parts-{kind}")
    atoll.good("pull", name)
    assert atoll.good("run", "--rm", name, "/bin/sh", "-c", "echo runs") == "runs"


def artifact(text: bytes) -> images.Image:
    """An artifact as `oras push` makes it: the empty configuration, a type, annotations everywhere."""
    config = images.blob("application/vnd.oci.empty.v1+json", b"{}")
    layer = images.blob("application/vnd.example.data", text)
    described = {**layer.descriptor(), "annotations": {"org.opencontainers.image.title": "data.txt"}}
    body = {"schemaVersion": 2, "mediaType": images.MANIFEST, "artifactType": "application/vnd.example.sbom",
            "config": config.descriptor(), "layers": [described], "annotations": {"who": "example"}}  # fmt: skip
    return images.Image(images.blob(images.MANIFEST, images.document(body)), config, (layer,))


def test_an_artifact_is_kept_and_moved_and_not_run(atoll: Atoll, registry: Registry, busybox: str):
    one, other = artifact(b"one"), artifact(b"other")
    name = registry.push(one, "artifact")
    atoll.good("pull", name)
    atoll.good("pull", registry.push(other, "artifact", "two"))  # the same configuration: another artifact
    digest = one.manifest.digest
    shown = json.loads(atoll.good("image", "inspect", name))[0]
    assert (shown["Id"], shown["ArtifactType"]) == (digest, "application/vnd.example.sbom")
    assert shown["Annotations"] == {"who": "example"}
    assert shown["Blobs"][0]["annotations"] == {"org.opencontainers.image.title": "data.txt"}
    assert atoll.good("images", "-q", "--no-trunc", name) == digest
    refusal = "artifact of type application/vnd.example.sbom, not a container image"
    atoll("run", "--rm", name, "true").failed(125, refusal)
    atoll("run", "--rm", "--mount", f"type=image,source={name},target=/m", busybox, "true").failed(125, refusal)
    atoll("save", "-o", f"{atoll.folder}/a.tar", name).failed(1, "docker-archive has no place", "oci-archive")
    # On to a registry and through a layout, byte for byte.
    atoll.good("push", name, f"{registry.host}/moved/artifact:1")
    atoll.good("save", "--format", "oci-archive", "-o", f"{atoll.folder}/a.tar", name)
    atoll.good("rmi", name)
    atoll.good("load", "-i", f"{atoll.folder}/a.tar")
    atoll.good("push", name, f"oci:{atoll.folder}/layout:a")
    atoll.good("rmi", name)
    atoll.good("pull", f"{registry.host}/moved/artifact:1")
    atoll.good("pull", f"oci:{atoll.folder}/layout:a")
    assert json.loads(Path(atoll.folder, "layout/index.json").read_text())["manifests"][0]["digest"] == digest
    inspected = atoll.good("image", "inspect", f"{registry.host}/moved/artifact:1")
    assert json.loads(inspected)[0]["Descriptor"]["digest"] == digest
    for lines in (atoll.good("history", digest), atoll.good("image", "tree"), atoll.good("system", "df", "-v")):
        assert lines
    # What of it is lost is found, and what nothing names goes.
    hexadecimal = one.layers[0].digest.removeprefix("sha256:")
    os.unlink(f"{atoll.data}/content/blobs/sha256/{hexadecimal}")
    atoll("system", "check").failed(1)
    atoll.good("pull", f"{registry.host}/moved/artifact:1")
    assert atoll.good("system", "check") == "nothing to repair"
    atoll.good("image", "prune", "-af")
    assert os.listdir(f"{atoll.data}/content/blobs/sha256") == []


def test_all_platforms_and_annotations_stay(fresh, registry: Registry):
    """An index with two platforms and an annotated entry, byte for byte through a registry, a layout and back."""
    ours, theirs = images.busybox(), images.busybox({"etc/else": (0o644, b"x")})
    body = json.loads(theirs.config.read())
    config = images.blob(images.CONFIG, images.document({**body, "architecture": "s390x"}))
    manifest = {**json.loads(theirs.manifest.read()), "config": config.descriptor(), "annotations": {"a": "b"}}
    theirs = images.Image(images.blob(images.MANIFEST, images.document(manifest)), config, theirs.layers)
    machine = json.loads(ours.config.read())["architecture"]
    entries = [
        {
            **one.manifest.descriptor(),
            "platform": {"os": "linux", "architecture": arch},
            "annotations": {"kind": arch},
        }
        for one, arch in ((ours, machine), (theirs, "s390x"))
    ]
    index = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": {"made": "here"}}
    registry.push(ours, "many", "ours")
    registry.push(theirs, "many", "theirs")
    raw = images.blob(INDEX, images.document(index))
    status, _, _ = registry.request("PUT", "/v2/many/manifests/all", raw.read(), {"Content-Type": INDEX})
    assert status == 201
    name = f"{registry.host}/many:all"
    first, second = fresh(), fresh()
    first.good("pull", "-q", "--all-platforms", name)
    shown = json.loads(first.good("image", "inspect", name))[0]
    assert shown["Architecture"] == machine
    assert shown["Descriptor"]["annotations"] == {"made": "here"}
    first.good("save", "--format", "oci-archive", "-o", f"{first.folder}/all.tar", name)
    second.good("load", "-i", f"{first.folder}/all.tar")
    second.good("push", name, f"{registry.host}/again:all")
    assert registry.request("GET", "/v2/again/manifests/all", headers={"Accept": INDEX})[2] == raw.read()
    assert second.good("run", "--rm", name, "echo", "runs") == "runs"
    # One platform alone has its own annotations.
    first.good("pull", "-q", "--platform", "linux/s390x", name)
    shown = json.loads(first.good("image", "inspect", name))[0]
    assert (shown["Architecture"], shown["Annotations"]) == ("s390x", {"a": "b"})


def test_a_docker_daemon_as_source_and_destination(atoll: Atoll, busybox: str):
    """A daemon as far as its images go, on a socket: what it packs is pulled, what it is given is `docker load`ed."""
    archive = Path(atoll.folder, "theirs.tar")
    place = f"docker-archive:{archive}:app:1"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{busybox}", place], check=True)
    path = os.path.join(atoll.folder, "docker.sock")
    given: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        thread = threading.Thread(target=_serve, args=(server, archive.read_bytes(), given), daemon=True)
        thread.start()
        env = {"DOCKER_HOST": f"unix://{path}"}
        name = atoll.good("pull", "-q", "docker-daemon:app:1", env=env)
        atoll("pull", "docker-daemon:absent:1", env=env).failed(1, "no such image: absent:1")
        atoll.good("push", name, "docker-daemon:back:2", env=env)
        server.shutdown(socket.SHUT_RDWR)
        thread.join(10)  # the corner is left by a process of one thread
    assert atoll.good("run", "--rm", name, "echo", "runs") == "runs"
    with tarfile.open(fileobj=io.BytesIO(given[0])) as tar:
        listed = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
    assert listed[0]["RepoTags"] == ["back:2"]
    atoll("pull", "docker-daemon:app:1", env={"DOCKER_HOST": f"unix://{path}.gone"}).failed(1, "cannot reach")
    atoll("pull", "docker-daemon:app:1", env={"DOCKER_HOST": "tcp://x:1"}).failed(1, "not a socket of this machine")


def _serve(server: socket.socket, archive: bytes, given: list[bytes]) -> None:
    while True:
        try:
            peer, _ = server.accept()
        except OSError:
            return
        with peer, peer.makefile("rwb") as stream:
            first = stream.readline().decode()
            headers = {}
            while line := stream.readline().strip():
                key, _, value = line.decode().partition(":")
                headers[key.lower()] = value.strip()
            if first.startswith("POST /images/load"):
                given.append(stream.read(int(headers["content-length"])))
                body, status = b'{"stream":"Loaded image: back:2"}', "200 OK"
            elif "absent" in first:
                body, status = b'{"message":"no such image"}', "404 Not Found"
            else:
                body, status = archive, "200 OK"
            stream.write(f"HTTP/1.1 {status}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
            for at in range(0, len(body), 50_000):
                piece = body[at : at + 50_000]
                stream.write(b"%x\r\n%b\r\n" % (len(piece), piece))
            stream.write(b"0\r\n\r\n")


def test_a_large_layer_does_not_need_memory(atoll: Atoll, registry: Registry):
    """A layer of 160 MB, pulled and pushed: the two processes of a pull stay below 50 MB each, 100 together."""
    size = 160 << 20

    def fill(tar: tarfile.TarFile) -> None:
        block = hashlib.sha256(b"x").digest() * 32768
        images.entry(tar, "big", block * (size >> 20))

    name = registry.push(images.assemble([images.layer(fill, "none")], {}), "large")
    for words in (("pull", "-q", name), ("push", "-q", name, f"{registry.host}/large-copy:1")):
        done = subprocess.run(
            ["/usr/bin/python3", "-c", _PEAK, installed(), *words], env=atoll.env, capture_output=True, text=True,
            check=True,
        )  # fmt: skip
        assert int(done.stdout.splitlines()[-1]) < 50_000, done.stdout


# Runs a command and prints the largest resident set that it or a process of it had, in KiB.
_PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""
