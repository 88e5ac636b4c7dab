"""Images that skopeo signs with GPG (`--sign-by`): pulled by a policy with `signedBy`, from a folder and a server."""

from __future__ import annotations

import functools
import http.server
import json
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit import images
from kit.command import Atoll
from kit.registry import Registry
from kit.sandbox import Sandbox


class World:
    """A home of GnuPG, a folder of signatures, and settings that name it."""

    def __init__(self, folder: str) -> None:
        self.home, self.store, self.settings = f"{folder}/gpg", f"{folder}/sigs", f"{folder}/registries.d"
        for path in (self.home, self.store, self.settings):
            os.makedirs(path, mode=0o700)
        for who in ("dev@example", "other@example"):
            self.gpg("--quick-gen-key", who, "ed25519", "sign", "never")
        self.lookaside(f"file://{self.store}")

    def gpg(self, *words: str) -> bytes:
        argv = ["gpg", "--homedir", self.home, "--batch", "--pinentry-mode", "loopback", "--passphrase", "", *words]
        return subprocess.run(argv, capture_output=True, check=True, timeout=60).stdout

    def lookaside(self, url: str) -> None:
        Path(self.settings, "all.yaml").write_text(f"default-docker:\n  lookaside: {url}\n")

    def policy(self, atoll: Atoll, who: str, host: str) -> None:
        key, path = f"{atoll.folder}/{who}.asc", Path(atoll.folder, "policy.json")
        Path(key).write_bytes(self.gpg("--armor", "--export", who))
        rule = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": key}
        path.write_text(json.dumps({"default": [{"type": "reject"}], "transports": {"docker": {host: [rule]}}}))
        Path(atoll.config).write_text(f'[trust]\npolicy = "{path}"\nregistries_d = "{self.settings}"\n')

    def sign(self, come_from: str, to: str) -> None:
        plain = ("--src-tls-verify=false", "--dest-tls-verify=false")
        argv = ["skopeo", "--registries.d", self.settings, "--insecure-policy", "copy", "-q", *plain]
        argv += ["--sign-by", "dev@example", come_from, to]
        subprocess.run(argv, check=True, capture_output=True, timeout=60, env={**os.environ, "GNUPGHOME": self.home})


@pytest.fixture
def world(sandbox: Sandbox, atoll: Atoll) -> Iterator[World]:
    one = World(f"{atoll.folder}/world")
    yield one
    subprocess.run(["gpgconf", "--homedir", one.home, "--kill", "all"], check=True, timeout=60)


def test_only_what_a_key_signed(world: World, atoll: Atoll, registry: Registry):
    plain = registry.push(images.busybox(), "gpg-plain")
    signed = f"{registry.host}/gpg-signed:1"
    world.sign(f"docker://{plain}", f"docker://{signed}")
    (kept,) = Path(world.store).rglob("signature-1")
    world.policy(atoll, "dev@example", registry.host)
    atoll("pull", plain).failed(1, "no signature exists")
    assert list(Path(atoll.data, "content/blobs/sha256").glob("*")) == []
    atoll.good("pull", signed)
    assert atoll.good("run", "--rm", signed, "echo", "ok") == "ok"
    assert "accepted by policy" in atoll.good("image", "verify", signed)
    # Another tag of the very image is another image.
    registry.push(images.busybox(), "gpg-signed", "2")
    atoll("pull", f"{registry.host}/gpg-signed:2").failed(1, "is not accepted for")
    # Another key judges what was kept at the pull, without a registry.
    world.policy(atoll, "other@example", registry.host)
    atoll("run", "--rm", signed, "true").failed(125, "none of the policy's", "another policy")
    atoll("pull", signed).failed(1, "none of the policy's")
    # A signature that was tampered with, one that is gone.
    world.policy(atoll, "dev@example", registry.host)
    content = kept.read_bytes()
    kept.write_bytes(content[:-30])
    atoll.good("rmi", signed)
    atoll("pull", signed).failed(1, "GPG signature")
    kept.unlink()
    atoll("pull", signed).failed(1, "no signature exists")
    # The same from a server; one that is broken accepts nothing.
    kept.write_bytes(content)
    serve = functools.partial(http.server.SimpleHTTPRequestHandler, directory=world.store)
    serve.log_message = lambda *_: None  # type: ignore[attr-defined]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), serve) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        world.lookaside(f"http://127.0.0.1:{server.server_port}")
        try:
            atoll.good("pull", signed)
        finally:
            server.shutdown()
            thread.join()
    atoll.good("rmi", signed)
    atoll("pull", signed).failed(1)
    world.lookaside("nowhere")
    atoll("pull", signed).failed(1, "no place for signatures")
