"""Registries as users meet them: TLS and passwords, push, other tools' images, manifest lists, policies."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import images, leaks
from kit.command import Atoll
from kit.registry import PASSWORD, USER, Registry
from kit.sandbox import Sandbox
from unit.images.memory import Memory


@pytest.fixture(scope="module")
def secured(sandbox: Sandbox) -> Iterator[Registry]:
    """docker-registry over TLS, for one user."""
    server = Registry(os.path.join(sandbox.scratch, "secured"), secured=True)
    leaks.SERVICES.add(server.process.pid)
    server.push(images.busybox(), "busybox")
    yield server
    server.stop()


@pytest.fixture
def trusting(atoll: Atoll, secured: Registry) -> Atoll:
    """An Atoll that knows the authority, and has a home of its own."""
    atoll.env["HOME"] = atoll.folder
    Path(atoll.config).write_text(f'[registries."{secured.host}"]\nca_file = "{secured.certificate}"\n')
    return atoll


def digest_of(registry: Registry, name: str, tag: str = "latest") -> str:
    kinds = {"Accept": f"{images.MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"}
    status, headers, _ = registry.request("GET", f"/v2/{name}/manifests/{tag}", headers=kinds)
    assert status == 200
    return headers["docker-content-digest"]


def test_tls_and_passwords(trusting: Atoll, secured: Registry):
    name = f"{secured.host}/busybox"
    trusting("pull", name).failed(1, "pull access denied", "atoll login")
    trusting("login", "-u", USER, "--password-stdin", secured.host, stdin="wrong").failed(1, "unauthorized")
    assert not os.path.exists(f"{trusting.folder}/.docker")
    done = trusting("login", "-u", USER, "--password-stdin", secured.host, stdin=PASSWORD + "\n")
    assert done.good() == "Login Succeeded"
    assert "unencrypted" in done.err
    kept = Path(trusting.folder, ".docker/config.json")
    assert list(json.loads(kept.read_text())["auths"]) == [secured.host]
    assert trusting.good("login", "--get-login", secured.host) == USER
    trusting.good("pull", name)
    pushed = trusting.good("push", name, f"{secured.host}/copy:1")
    assert f"1: digest: {digest_of(secured, 'busybox')}" in pushed
    assert digest_of(secured, "copy", "1") == digest_of(secured, "busybox")
    assert trusting.good("logout", secured.host) == f"Removing login credentials for {secured.host}"
    assert trusting.good("logout", secured.host) == f"Not logged in to {secured.host}"
    trusting("pull", name).failed(1, "pull access denied")
    trusting.good("pull", "--creds", f"{USER}:{PASSWORD}", name)


def test_an_unknown_authority_is_named(atoll: Atoll, secured: Registry):
    pair = f"{USER}:{PASSWORD}"
    atoll("pull", "--creds", pair, f"{secured.host}/busybox").failed(1, "certificate is not trusted")
    atoll.good("pull", "--creds", pair, "--tls-verify=false", f"{secured.host}/busybox")


def test_docker_reads_what_login_wrote(trusting: Atoll, secured: Registry):
    trusting.good("login", "-u", USER, "--password-stdin", secured.host, stdin=PASSWORD)
    where = f"docker://{secured.host}/busybox"
    skopeo = [
        "skopeo",
        "inspect",
        "--raw",
        "--tls-verify=false",
        "--authfile",
        f"{trusting.folder}/.docker/config.json",
    ]
    found = subprocess.run([*skopeo, where], capture_output=True, check=True).stdout
    assert images.sha256(found) == digest_of(secured, "busybox")


@pytest.mark.parametrize("form", ["v2s2", "oci"])
def test_images_of_others_keep_their_digests(atoll: Atoll, registry: Registry, busybox: str, form: str):
    """skopeo (containers/image, which is podman's and buildah's) pushes, Atoll pulls and pushes, skopeo reads."""
    theirs, ours = f"{registry.host}/their-{form}:1", f"{registry.host}/our-{form}:1"
    plain = ["--src-tls-verify=false", "--dest-tls-verify=false"]
    subprocess.run(
        ["skopeo", "copy", "-q", "-f", form, *plain, f"docker://{busybox}", f"docker://{theirs}"], check=True
    )
    atoll.good("pull", theirs)
    atoll.good("push", theirs, ours)
    assert digest_of(registry, f"our-{form}", "1") == digest_of(registry, f"their-{form}", "1")
    assert atoll.good("run", "--rm", theirs, "echo", "runs") == "runs"


@pytest.mark.parametrize("kind", ["oci", "oci-archive", "docker-archive"])
def test_layouts_and_archives_with_skopeo(atoll: Atoll, busybox: str, kind: str):
    atoll.good("pull", busybox)
    place = f"{kind}:{atoll.folder}/image:{'app:1' if kind == 'docker-archive' else '1'}"
    atoll.good("push", busybox, place)
    inside = subprocess.run(["skopeo", "inspect", "--config", place], capture_output=True, check=True).stdout
    again = f"{kind}:{atoll.folder}/theirs:{'app:2' if kind == 'docker-archive' else '2'}"
    subprocess.run(["skopeo", "copy", "-q", place, again], check=True)
    name = atoll.good("pull", "-q", again)
    assert json.loads(inside)["config"]["Cmd"] == ["sh"]
    assert atoll.good("run", "--rm", name, "echo", "runs") == "runs"


def test_an_archives_layers_are_compressed_for_a_registry_the_same_way_twice(
    atoll: Atoll, registry: Registry, busybox: str
):
    archive = f"docker-archive:{atoll.folder}/x.tar:app:1"
    subprocess.run(["skopeo", "copy", "-q", "--src-tls-verify=false", f"docker://{busybox}", archive], check=True)
    name = atoll.good("pull", "-q", archive)
    digests = set()
    for tag in ("1", "2"):
        atoll.good("push", name, f"{registry.host}/packed:{tag}")
        digests.add(digest_of(registry, "packed", tag))
    assert len(digests) == 1
    kinds = {"Accept": f"{images.MANIFEST}, application/vnd.docker.distribution.manifest.v2+json"}
    _, _, body = registry.request("GET", "/v2/packed/manifests/1", headers=kinds)
    assert [one["mediaType"].rpartition(".")[2] for one in json.loads(body)["layers"]] == ["gzip"]
    assert atoll.good("pull", "-q", f"{registry.host}/packed:1")


def test_a_manifest_list_and_all_platforms(atoll: Atoll, registry: Registry):
    names = {}
    for arch in ("amd64", "arm64"):

        def fill(tar, arch=arch):
            images.entry(tar, arch, arch.encode())

        made = images.assemble([images.layer(fill)], {})
        body = {**json.loads(made.config.read()), "architecture": arch}
        config = images.blob(images.CONFIG, images.document(body))
        manifest = {**json.loads(made.manifest.read()), "config": config.descriptor()}
        whole = images.Image(images.blob(images.MANIFEST, images.document(manifest)), config, made.layers)
        names[arch] = registry.push(whole, f"part-{arch}")
    listed = f"{registry.host}/multi:1"
    atoll.good("manifest", "create", listed, *names.values())
    atoll.good("manifest", "annotate", listed, names["arm64"], "--variant", "v8")
    shown = json.loads(atoll.good("manifest", "inspect", listed))
    assert [one["platform"].get("variant") for one in shown["manifests"]] == [None, "v8"]
    digest = atoll.good("manifest", "push", "--purge", listed)
    atoll("manifest", "rm", listed).failed(1, "No such manifest")
    atoll.good("pull", "--all-platforms", listed)
    atoll.good("push", listed, f"{registry.host}/multi-copy:1")
    theirs = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{registry.host}/multi-copy:1"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    assert images.sha256(theirs) == digest
    subprocess.run(
        ["skopeo", "copy", "-q", "--all", "--src-tls-verify=false", f"docker://{registry.host}/multi-copy:1",
         f"oci:{atoll.folder}/all"], check=True,
    )  # fmt: skip


def test_search_and_all_tags(atoll: Atoll, registry: Registry):
    for tag in ("1", "2"):
        registry.push(images.busybox(), "findable/tool", tag)
    assert f"{registry.host}/findable/tool" in atoll.good("search", f"{registry.host}/findable")
    pulled = atoll.good("pull", "-q", "-a", f"{registry.host}/findable/tool").splitlines()
    assert sorted(pulled) == [f"{registry.host}/findable/tool:{tag}" for tag in ("1", "2")]


@pytest.mark.parametrize("fault", ["lacks it", "is away", "lies", "cuts"])
def test_a_mirror_costs_nothing_but_time(atoll: Atoll, registry: Registry, fault: str):
    """Passed over, gone on from, or found out: the image is whole, and by its own digest."""
    content = os.urandom(400_000)
    image = images.assemble([images.layer(lambda tar: images.entry(tar, "data", content))], {})
    name = registry.push(image, "mirrored", fault.replace(" ", "-"))
    layer = image.layers[0].read()
    with Memory() as mirror:
        at = name.rpartition(":")[2]
        if fault in ("lies", "cuts"):
            mirror.manifests = {"mirrored": {at: (images.MANIFEST, image.manifest.read())}}
            wrong = layer[:1000] + bytes([layer[1000] ^ 1]) + layer[1001:] if fault == "lies" else layer[:100_000]
            mirror.blobs = {"mirrored": {image.layers[0].digest: wrong, image.config.digest: image.config.read()}}
        host = "127.0.0.1:1" if fault == "is away" else mirror.host
        Path(atoll.config).write_text(f'[registries."{registry.host}"]\nmirrors = ["{host}"]\n')
        assert image.manifest.digest in atoll.good("pull", name)
        if fault in ("lies", "cuts"):
            assert mirror.count("GET", "/blobs/") >= 1
    assert atoll.inspect(name)["Id"] == image.config.digest
    assert atoll.good("system", "check") == "nothing to repair"


def test_offline_nobody_elsewhere_is_asked(atoll: Atoll, busybox: str):
    Path(atoll.config).write_text("[registries]\noffline = true\n")
    atoll("pull", "reg.example/app").failed(1, "offline mode is on")
    atoll.good("pull", busybox)


def policy(atoll: Atoll, host: str, *rules: dict[str, object]) -> None:
    """A policy that rejects everything but this registry, for which `rules` hold."""
    path = Path(atoll.folder, "policy.json")
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {host: list(rules)}}}))
    Path(atoll.config).write_text(f'[trust]\npolicy = "{path}"\n')


@pytest.mark.parametrize("form", [(), ("--referrer",)], ids=["tag", "referrer"])
def test_only_signed_images(atoll: Atoll, registry: Registry, form: tuple[str, ...]):
    """Verified at pull, and again at run under another policy; nothing of a refused image stays."""
    repository = f"signed{len(form)}"
    name = registry.push(images.busybox(), repository)
    passphrase = Path(atoll.folder, "words")
    passphrase.write_text("pw\n")
    for key in ("mine", "other"):
        atoll.good("image", "sign", "--generate-key", f"{atoll.folder}/{key}", "--passphrase-file", str(passphrase))
    policy(atoll, registry.host, {"type": "sigstoreSigned", "keyPath": f"{atoll.folder}/mine.pub"})
    atoll("pull", name).failed(1, "no signature exists", r"policy\.json")
    assert list(Path(atoll.data, "content/blobs/sha256").glob("*")) == []
    atoll.good(
        "image", "sign", *form, "--key", f"{atoll.folder}/mine.key", "--passphrase-file", str(passphrase), name
    )
    assert digest_of(registry, repository) in atoll.good("image", "verify", "--key", f"{atoll.folder}/mine.pub", name)
    atoll("image", "verify", "--key", f"{atoll.folder}/other.pub", name).failed(1, "none of the keys")
    atoll.good("pull", name)
    assert atoll.good("run", "--rm", name, "echo", "ok") == "ok"
    # The same signature under another name is for another image.
    copied = registry.push(images.busybox(), f"{repository}-copy")
    atoll("pull", copied).failed(1, "no signature exists")
    # Another policy judges again, without the registry.
    policy(atoll, registry.host, {"type": "sigstoreSigned", "keyPath": f"{atoll.folder}/other.pub"})
    atoll("run", "--rm", name, "true").failed(125, "none of the keys", "another policy")
    policy(atoll, registry.host, {"type": "reject"})
    atoll("run", "--rm", name, "true").failed(125, "rejected by policy")
    policy(atoll, registry.host, {"type": "insecureAcceptAnything"})
    assert atoll.good("run", "--rm", name, "echo", "ok") == "ok"
    # The key's file changes, the policy's text does not.
    Path(atoll.folder, "key.pub").write_bytes(Path(atoll.folder, "mine.pub").read_bytes())
    policy(atoll, registry.host, {"type": "sigstoreSigned", "keyPath": f"{atoll.folder}/key.pub"})
    atoll.good("pull", name)
    Path(atoll.folder, "key.pub").write_bytes(Path(atoll.folder, "other.pub").read_bytes())
    atoll("run", "--rm", name, "true").failed(125, "none of the keys")


def test_what_is_loaded_is_judged_by_its_transport(atoll: Atoll, busybox: str):
    atoll.good("pull", busybox)
    archive = f"{atoll.folder}/x.tar"
    atoll.good("save", "-o", archive, busybox)
    path = Path(atoll.folder, "policy.json")
    Path(atoll.config).write_text(f'[trust]\npolicy = "{path}"\n')
    allowed = {"docker-archive": {"": [{"type": "insecureAcceptAnything"}]}}
    path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": allowed}))
    atoll.good("load", "-i", archive)
    assert atoll.good("run", "--rm", busybox, "echo", "ok") == "ok"
    path.write_text(json.dumps({"default": [{"type": "reject"}]}))
    atoll("load", "-i", archive).failed(1, "rejected by policy")
    atoll("run", "--rm", busybox, "true").failed(125, "rejected by policy")


@pytest.mark.parametrize("text", ["{", '{"default": []}', '{"default": [{"type": "acceptSome"}]}'])
def test_a_policy_that_cannot_be_read_accepts_nothing(atoll: Atoll, busybox: str, text: str):
    path = Path(atoll.folder, "policy.json")
    path.write_text(text)
    Path(atoll.config).write_text(f'[trust]\npolicy = "{path}"\n')
    atoll("pull", busybox).failed(1, "cannot be used", "nothing is accepted")
    path.unlink()
    atoll("pull", busybox).failed(1, "does not exist")


def test_podmans_settings_for_registries(atoll: Atoll, registry: Registry):
    """Aliases, a search that goes on, mirrors and what is blocked, out of a registries.conf."""
    name = registry.push(images.busybox(), "short/box")
    conf = Path(atoll.folder, "registries.conf")
    conf.write_text(
        f'unqualified-search-registries = ["127.0.0.1:1", "{registry.host}"]\n'
        f'[aliases]\n"mine" = "{registry.host}/short/box"\n'
        f'[[registry]]\nprefix = "far.example/team"\nlocation = "{registry.host}/short"\n'
        '[[registry]]\nlocation = "bad.example"\nblocked = true\n'
        f'[[registry]]\nlocation = "gone.example"\n[[registry.mirror]]\nlocation = "{registry.host}/short"\n'
    )
    Path(atoll.config).write_text(f'[registries]\nconf = "{conf}"\n')
    assert atoll.good("run", "--rm", "mine", "echo", "alias") == "alias"
    assert atoll.good("images", "--format", "{{.Repository}}") == name.removesuffix(":latest")
    atoll.good("pull", "-q", "short/box")
    assert atoll.good("run", "--pull", "never", "--rm", "short/box", "echo", "found") == "found"
    atoll.good("pull", "-q", "far.example/team/box")
    atoll.good("pull", "-q", "gone.example/box")
    atoll("pull", "bad.example/app").failed(1, "blocked")
    Path(atoll.config).write_text(
        f'[registries]\nconf = "{conf}"\n[registries."bad.example"]\nlocation = "{registry.host}/short"\n'
    )
    atoll.good("pull", "-q", "bad.example/box")
    conf.write_text("surprise = true")
    atoll("pull", "mine").failed(1, "surprise", "registries.conf")
