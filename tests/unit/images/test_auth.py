"""Credentials and challenges."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import auth
from atoll.images.values import Credentials


def write(path: Path, auths: object) -> str:
    path.write_text(json.dumps({"auths": auths}))
    return str(path)


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


def test_dockers_and_podmans_files(tmp_path: Path):
    one = write(tmp_path / "one", {"https://index.docker.io/v1/": entry("hub", "p:w"), "x.io": {}})
    two = write(tmp_path / "two", {"x.io": entry("u", "2"), "https://y.io/v2/": {"username": "z", "password": "3"}})
    files = (str(tmp_path / "absent"), one, two)
    assert auth.find("docker.io", files) == Credentials(username="hub", password="p:w")
    assert auth.find("x.io", files) == Credentials(username="u", password="2")
    assert auth.find("y.io", files) == Credentials(username="z", password="3")
    assert auth.find("x.io:5000", files) is None
    assert auth.find("evil-x.io", files) is None


def test_a_broken_file_is_named(tmp_path: Path):
    path = tmp_path / "config.json"
    path.write_text("{")
    with pytest.raises(errors.InvalidArgument, match=r"config\.json"):
        auth.find("x.io", (str(path),))


def test_passwords_are_never_printed():
    assert "hush" not in repr(Credentials(username="u", password="hush"))


def test_challenges():
    parsed = auth.parse_challenge(
        ['Basic realm="x"', 'Bearer realm="https://a/t?x=1,2",service="s \\"q\\"", scope="repository:a:pull,push"']
    )
    assert parsed == auth.Challenge(
        scheme="bearer", realm="https://a/t?x=1,2", service='s "q"', scope="repository:a:pull,push"
    )
    assert auth.parse_challenge(["basic"]) == auth.Challenge(scheme="basic")
    for nothing in ([], ["Negotiate"], ["Bearer"], ['Bearer realm="'], ["Bearer =,=,"]):
        assert auth.parse_challenge(nothing) is None
