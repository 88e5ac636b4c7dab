"""containers-policy.json: scopes, and everything that is refused rather than ignored."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.spec import reference as references
from atoll.trust import policy
from atoll.trust.identity import Identity

ACCEPT = [{"type": "insecureAcceptAnything"}]
REJECT = [{"type": "reject"}]
KEY = base64.b64encode(b"pem").decode()


def parse(document: object) -> policy.Policy:
    return policy.parse(json.dumps(document).encode(), "/p")


def kind(document: object, name: str) -> str:
    return parse(document).requirements("docker", policy.scopes_of(references.parse(name)))[0].kind


def test_the_longest_scope_counts():
    document = {
        "default": REJECT,
        "transports": {
            "docker": {"docker.io": ACCEPT, "docker.io/library/bad": REJECT, "docker.io/library/bad:good": ACCEPT,
                       "*.example.com": ACCEPT, "no.example.com": REJECT, "q.io:5000": ACCEPT},
            "oci": {"": ACCEPT, "/srv": REJECT},
        },
    }  # fmt: skip
    verdicts = {name: kind(document, name) for name in (
        "debian", "bad", "bad:good", "a.example.com/x", "a.b.example.com/x", "no.example.com/x", "example.com/x",
        "q.io:5000/x", "q.io/x", f"debian@sha256:{'a' * 64}", "a.example.com:5000/x")}  # fmt: skip
    accepted = sorted(name for name, verdict in verdicts.items() if verdict == policy.ACCEPT)
    assert accepted == ["a.b.example.com/x", "a.example.com/x", "a.example.com:5000/x", "bad:good", "debian",
                        f"debian@sha256:{'a' * 64}", "q.io:5000/x"]  # fmt: skip
    found = parse(document)
    assert found.requirements("oci", policy.path_scopes("/srv/images/x", "1"))[0].kind == policy.REJECT
    assert found.requirements("oci", policy.path_scopes("/home/x", ""))[0].kind == policy.ACCEPT
    assert found.requirements("docker-archive", [])[0].kind == policy.REJECT


def test_a_transports_own_default():
    document = {"default": REJECT, "transports": {"docker": {"": ACCEPT, "q.io/x": REJECT}}}
    assert (kind(document, "debian"), kind(document, "q.io/x/y")) == (policy.ACCEPT, policy.REJECT)
    assert not parse(document).accepts_everything
    assert parse({"default": ACCEPT}).accepts_everything


def test_keys_are_read_with_the_policy(tmp_path: Path):
    (tmp_path / "k").write_bytes(b"from a file")
    rule = {"type": "sigstoreSigned", "keyPaths": [str(tmp_path / "k")], "rekorPublicKeyData": KEY,
            "signedIdentity": {"type": "remapIdentity", "prefix": "a", "signedPrefix": "b"}}  # fmt: skip
    (found,) = parse({"default": [rule]}).default
    assert (found.keys, found.rekor) == ((b"from a file",), (b"pem",))
    assert found.identity == Identity(kind="remapIdentity", first="a", second="b")


SIGNED = {"type": "sigstoreSigned", "keyData": KEY}
FULCIO = {"caData": KEY, "oidcIssuer": "https://i", "subjectEmail": "m@x"}


@pytest.mark.parametrize(
    "document",
    [
        [],
        {},
        {"default": []},
        {"default": {}},
        {"default": ACCEPT, "more": 1},
        {"default": [{"type": "acceptSome"}]},
        {"default": [{"type": "reject", "also": 1}]},
        {"default": [{}]},
        {"default": ACCEPT, "transports": {"docker": []}},
        {"default": ACCEPT, "transports": {"docker": {"x": []}}},
        {"default": [{"type": "sigstoreSigned"}]},
        {"default": [{**SIGNED, "keyPath": "/k"}]},
        {"default": [{**SIGNED, "unknown": 1}]},
        {"default": [{**SIGNED, "keyData": "?"}]},
        {"default": [{**SIGNED, "keyData": 3}]},
        {"default": [{"type": "sigstoreSigned", "keyPath": "/nowhere/at/all"}]},
        {"default": [{"type": "sigstoreSigned", "keyDatas": []}]},
        {"default": [{**SIGNED, "fulcio": FULCIO, "rekorPublicKeyData": KEY}]},
        {"default": [{"type": "sigstoreSigned", "fulcio": FULCIO}]},
        {"default": [{"type": "sigstoreSigned", "fulcio": {"caData": KEY}, "rekorPublicKeyData": KEY}]},
        {"default": [{**SIGNED, "signedIdentity": {"type": "matchSome"}}]},
        {"default": [{**SIGNED, "signedIdentity": {"type": "matchExact", "prefix": "x"}}]},
        {"default": [{**SIGNED, "signedIdentity": {"type": "exactReference"}}]},
    ],
)
def test_what_is_not_understood_is_refused(document: object):
    with pytest.raises(errors.InvalidArgument, match="policy /p cannot be used"):
        parse(document)
