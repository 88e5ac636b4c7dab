"""GPG signatures: keys made here by gpg, messages genuine and tampered with, and where they are looked for."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import lookaside
from atoll.images.values import RegistryOptions
from atoll.spec import reference as references
from atoll.trust import gpg, judge, policy
from atoll.trust.evidence import GPG, Evidence, from_json
from atoll.trust.policy import Requirement
from unit.trust.world import DIGEST, NAME

SUBJECT = judge.Subject(reference=references.parse(NAME), digests=(DIGEST,))


class Signer:
    """A home of GnuPG with some keys."""

    def __init__(self, home: Path) -> None:
        self.home = home
        home.mkdir(mode=0o700)
        for who in ("one@example", "two@example"):
            self.run("--quick-gen-key", who, "ed25519", "sign", "never")

    def run(self, *words: str, stdin: bytes = b"") -> bytes:
        argv = ["gpg", "--homedir", str(self.home), "--batch", "--pinentry-mode", "loopback", "--passphrase", ""]
        return subprocess.run([*argv, *words], input=stdin, capture_output=True, check=True, timeout=60).stdout

    def public(self, who: str, *, armour: bool = True) -> bytes:
        return self.run(*(["--armor"] if armour else []), "--export", who)

    def sign(self, who: str, content: bytes, *more: str) -> Evidence:
        return Evidence(
            kind=GPG, payload=self.run("--local-user", who, *more, "--sign", stdin=content), signature=b""
        )


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Signer]:
    one = Signer(tmp_path_factory.mktemp("gpg") / "home")
    yield one
    subprocess.run(["gpgconf", "--homedir", str(one.home), "--kill", "all"], check=True, timeout=60)


def claim(digest: str = DIGEST, name: str = NAME, kind: str = "atomic container signature") -> bytes:
    critical = {"type": kind, "image": {"docker-manifest-digest": digest}, "identity": {"docker-reference": name}}
    return json.dumps({"critical": critical, "optional": {"creator": "test", "timestamp": 1}}).encode()


def by(*keys: bytes) -> Requirement:
    return Requirement(kind=policy.GPG, keys=keys)


def refused(requirement: Requirement, evidence: Evidence, words: str) -> None:
    with pytest.raises(errors.Denied, match=words):
        judge.judge((requirement,), SUBJECT, lambda: [evidence], "p")


def test_good_signatures_and_others(signer: Signer):
    one, two = signer.public("one@example"), signer.public("two@example", armour=False)
    good = signer.sign("one@example", claim())
    for keys in ((one,), (two, one), (one + signer.public("two@example"),)):
        judge.judge((by(*keys),), SUBJECT, lambda: [good], "p")
    judge.judge((by(two),), SUBJECT, lambda: [good, signer.sign("two@example", claim())], "p")
    assert from_json(good.to_json()) == good
    refused(by(two), good, "none of the policy's")
    refused(by(one), signer.sign("one@example", claim("sha256:" + "b" * 64)), "not for this image")
    refused(by(one), signer.sign("one@example", claim(name="docker.io/library/app:2")), "is not accepted")
    refused(by(one), signer.sign("one@example", claim(kind="cosign container image signature")), "malformed")
    refused(by(one), signer.sign("one@example", b"no document"), "malformed")


def test_what_is_not_one_good_signature(signer: Signer):
    one = signer.public("one@example")
    good = signer.sign("one@example", claim())
    plain = Evidence(kind=GPG, payload=claim(), signature=b"")
    refused(by(one), plain, "cannot be verified")
    loose = signer.sign("one@example", claim(), "--compress-algo", "none")
    judge.judge((by(one),), SUBJECT, lambda: [loose], "p")
    refused(
        by(one),
        loose.replace(payload=loose.payload + loose.payload),
        "cannot be verified|not one signed text|not genuine",
    )
    refused(by(one), good.replace(payload=good.payload[:-20]), "cannot be verified|not genuine")
    unsigned = signer.run("--store", stdin=claim())
    refused(by(one), Evidence(kind=GPG, payload=unsigned, signature=b""), "cannot be verified")
    both = signer.sign("one@example", claim(), "--local-user", "two@example")
    refused(by(one, signer.public("two@example")), both, "cannot be verified")
    bomb = signer.sign("one@example", b"0" * (16 << 20))
    assert len(bomb.payload) < 1 << 20
    refused(by(one), bomb, "cannot be verified|not one signed text|too large")
    # Whichever byte of a message is another one: a refusal, or what was signed (a bit that means nothing).
    for at in range(0, len(good.payload), 41):
        other = bytearray(good.payload)
        other[at] ^= 0x10
        try:
            assert gpg.opened(good.replace(payload=bytes(other)), (one,)).payload == claim()
        except errors.Denied:
            continue


def test_an_expired_key(signer: Signer):
    past = ("--faked-system-time", "20250101T000000!")
    signer.run(*past, "--quick-gen-key", "past@example", "ed25519", "sign", "2025-01-05")
    signed = signer.sign("past@example", claim(), *past)
    refused(by(signer.public("past@example")), signed, "has expired")


@pytest.mark.parametrize("cut", [b"-----END PGP PUBLIC KEY BLOCK-----", b"\n=", b"\n\n"])
def test_damaged_keys_are_refused(signer: Signer, cut: bytes):
    key = signer.public("one@example")
    with pytest.raises(errors.Denied, match=r"cut off|damaged|verified"):
        gpg.opened(signer.sign("one@example", claim()), (key.partition(cut)[0],))


def test_without_gpgv(signer: Signer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gpg, "find", lambda: None)
    with pytest.raises(errors.Unsupported, match="gpgv is not here"):
        gpg.opened(signer.sign("one@example", claim()), (signer.public("one@example"),))


def test_rules_of_the_policy(signer: Signer, tmp_path: Path):
    (tmp_path / "one.gpg").write_bytes(signer.public("one@example"))
    rule = {"type": "signedBy", "keyType": "GPGKeys", "keyPath": str(tmp_path / "one.gpg"),
            "signedIdentity": {"type": "matchRepository"}}  # fmt: skip
    parsed = policy.parse(json.dumps({"default": [rule]}).encode(), "f")
    assert parsed.default[0].identity.kind == "matchRepository"
    good = signer.sign("one@example", claim(name="docker.io/library/app:other"))
    judge.judge(parsed.default, SUBJECT, lambda: [good], "p")
    for wrong in ({**rule, "keyType": "X509Certificates"}, {**rule, "keyPath": None}, {**rule, "more": 1},
                  {key: value for key, value in rule.items() if key != "keyPath"}):  # fmt: skip
        with pytest.raises(errors.InvalidArgument):
            policy.parse(json.dumps({"default": [wrong]}).encode(), "f")


def test_where_signatures_lie(tmp_path: Path):
    folder = tmp_path / "registries.d"
    folder.mkdir()
    where = lookaside.Settings(uid=0, environ={"HOME": "/home/me"}, folder=str(folder))

    def base(name: str) -> str | None:
        return lookaside.base_of(references.parse(name), where)

    assert base("app") == "file:///var/lib/containers/sigstore"
    theirs = lookaside.Settings(uid=7, environ={"HOME": "/home/me"}, folder=str(folder))
    assert lookaside.base_of(references.parse("app"), theirs) == "file:///home/me/.local/share/containers/sigstore"
    (folder / "a.yaml").write_text("default-docker:\n  lookaside: file:///default/\n")
    (folder / "b.yaml").write_text(
        "docker:\n  h.example/team:\n    sigstore: https://sigs.example/x\n  h.example/team/app:1:\n"
        "    lookaside: file:///one\n  quiet.example:\n    use-sigstore-attachments: true\n"
    )
    (folder / "c.txt").write_text("{")
    assert base("other") == "file:///default"
    assert base("h.example/team/app:2") == "https://sigs.example/x"
    assert base("h.example/team/app:1") == "file:///one"
    assert base("quiet.example/app") is None
    (folder / "d.yaml").write_text("docker:\n  h.example/team: {lookaside: file:///two}\n")
    with pytest.raises(errors.Denied, match="twice"):
        base("other")
    (folder / "d.yaml").write_text("docker:\n  d.example: {lookaside: 'gopher://x'}\n")
    with pytest.raises(errors.Denied, match="no place"):
        base("d.example/app")


def test_signatures_of_a_folder(tmp_path: Path):
    kept = tmp_path / "sigs" / "library" / f"app@{DIGEST.replace(':', '=')}"
    kept.mkdir(parents=True)
    for number in (1, 2, 4):
        (kept / f"signature-{number}").write_bytes(b"%d" % number)
    folder = tmp_path / "d"
    folder.mkdir()
    (folder / "a.yaml").write_text(f"default-docker: {{lookaside: 'file://{tmp_path}/sigs'}}")
    where = lookaside.Settings(uid=0, environ={}, folder=str(folder))
    wanted = (DIGEST, "sha256:" + "c" * 64, DIGEST)
    found = lookaside.collect(references.parse("app"), wanted, RegistryOptions(), where)
    assert found == [b"1", b"2"], "up to the first that is missing"
