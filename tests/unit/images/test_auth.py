"""Challenges of registries."""

from __future__ import annotations

from atoll.images import auth
from atoll.images.values import Credentials


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
