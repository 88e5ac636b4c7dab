"""Keys: made, kept under a passphrase, and read back; NaCl's secretbox against its published vector."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.trust import cosign_key, keys

# "Cryptography in NaCl" (Bernstein, 2009), section 10: the worked example of crypto_secretbox.
KEY = bytes.fromhex("1b27556473e985d462cd51197a9a46c76009549eac6474f206c4ee0844f68389")
NONCE = bytes.fromhex("69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37")
PLAIN = bytes.fromhex(
    "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffce5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f4"
    "1db66cce314adb310e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde048977eb48f59ffd4924ca1c60902e52"
    "f0a089bc76897040e082f937763848645e0705"
)
SEALED = bytes.fromhex(
    "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b"
    "4da7f011ec48c97271d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae90224368517acfeabd6bb3732bc0e9da"
    "99832b61ca01b6de56244a9e88d5f9b37973f622a43d14a6599b1f654cb45a74e355a5"
)


def test_secretbox_is_nacls():
    assert cosign_key.seal(KEY, NONCE, PLAIN) == SEALED
    assert cosign_key.unseal(KEY, NONCE, SEALED) == PLAIN
    assert cosign_key.unseal(KEY, NONCE, SEALED[:-1] + b"x") is None
    assert cosign_key.unseal(KEY, NONCE, b"short") is None


@pytest.mark.parametrize("kind", keys.KINDS)
def test_a_new_pair_signs_and_verifies(kind: str):
    private, public = keys.generate(kind, b"words")
    assert b"ENCRYPTED SIGSTORE PRIVATE KEY" in private
    signature = keys.sign(keys.load_private(private, b"words"), b"data")
    assert keys.verify(keys.load_public(public), signature, b"data")
    assert not keys.verify(keys.load_public(public), signature, b"date")
    with pytest.raises(errors.Denied, match="decrypted"):
        keys.load_private(private, b"other words")


def test_keys_of_openssl(tmp_path: Path):
    """OpenSSL's own program makes the key and judges the signature."""
    key, public, data, signature = (str(tmp_path / name) for name in ("key", "pub", "data", "sig"))
    subprocess.run(["openssl", "ecparam", "-genkey", "-name", "prime256v1", "-noout", "-out", key], check=True)
    subprocess.run(["openssl", "ec", "-in", key, "-pubout", "-out", public], check=True, capture_output=True)
    Path(data).write_bytes(b"content")
    Path(signature).write_bytes(keys.sign(keys.load_private(Path(key).read_bytes(), b""), b"content"))
    subprocess.run(["openssl", "dgst", "-sha256", "-verify", public, "-signature", signature, data], check=True)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        b"-----BEGIN ENCRYPTED SIGSTORE PRIVATE KEY-----\ne30=\n-----END ENCRYPTED SIGSTORE PRIVATE KEY-----\n",
    ],
)
def test_what_is_no_key(text: bytes):
    with pytest.raises((errors.InvalidArgument, errors.Denied)):
        keys.load_private(text, b"x")
    with pytest.raises(errors.InvalidArgument):
        keys.load_public(text)
