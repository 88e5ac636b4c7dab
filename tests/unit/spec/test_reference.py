"""Image references: Docker's grammar, both printed forms, precise refusals."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.spec import reference

D = "sha256:" + "0123456789abcdef" * 4


@pytest.mark.parametrize(
    ("text", "full", "familiar"),
    [
        ("debian", "docker.io/library/debian:latest", "debian:latest"),
        ("debian:12", "docker.io/library/debian:12", "debian:12"),
        ("docker.io/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("index.docker.io/library/debian", "docker.io/library/debian:latest", "debian:latest"),
        ("user/app", "docker.io/user/app:latest", "user/app:latest"),
        ("localhost/app", "localhost/app:latest", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
        ("[::1]:5000/app", "[::1]:5000/app:latest", "[::1]:5000/app:latest"),
        ("quay.io/team/app:v1.2_3-x", "quay.io/team/app:v1.2_3-x", "quay.io/team/app:v1.2_3-x"),
        ("Host/app", "Host/app:latest", "Host/app:latest"),
        ("a__b/c--d.e", "docker.io/a__b/c--d.e:latest", "a__b/c--d.e:latest"),
        (f"debian@{D}", f"docker.io/library/debian@{D}", f"debian@{D}"),
        (f"debian:12@{D}", f"docker.io/library/debian:12@{D}", f"debian:12@{D}"),
        ("localhost:5000", "docker.io/library/localhost:5000", "localhost:5000"),
    ],
)
def test_forms(text: str, full: str, familiar: str):
    parsed = reference.parse(text)
    assert (parsed.full, parsed.familiar) == (full, familiar)
    assert reference.parse(full) == parsed
    assert reference.parse(familiar) == parsed


def test_what_to_ask_for():
    assert reference.parse("debian").at == "latest"
    assert reference.parse(f"debian:12@{D}").at == D
    assert reference.parse("debian:12").with_digest(D).familiar == f"debian@{D}"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "empty"),
        (" debian", "blanks"),
        ("Debian", "lowercase"),
        ("debian:", "tag is empty"),
        ("debian:-x", "not a tag"),
        ("debian:" + "x" * 129, "128"),
        ("a//b", "empty component"),
        ("/a", "empty component"),
        ("a/", "empty component"),
        ("-a", "a-z"),
        ("a-", "a-z"),
        ("a___b", "a-z"),
        ("a..b", "a-z"),
        ("a b", "a-z"),
        ("x.io:99999/a", "port"),
        ("x.io:/a", "port"),
        ("x.io:0/a", "port"),
        ("-x.io/a", "host name"),
        ("[::1/a", "brackets"),
        ("[x]:5/a", "brackets"),
        ("debian@sha256:12", "64"),
        ("debian@md5:" + "0" * 32, "algorithm"),
        ("debian@", "digest"),
        ("0" * 64, "image id"),
        ("a" * 300, "255"),
        ("../../etc/passwd", "host name"),
        ("a\nb", "a-z"),
    ],
)
def test_refusals_name_the_part(text: str, why: str):
    with pytest.raises(errors.InvalidArgument, match="invalid reference format") as caught:
        reference.parse(text)
    assert why in str(caught.value)


@given(st.text(max_size=60))
def test_anything_parses_or_is_refused(text: str):
    try:
        parsed = reference.parse(text)
    except errors.InvalidArgument:
        return
    except errors.Unsupported:
        return
    assert reference.parse(parsed.full) == parsed
    assert ".." not in parsed.repository.split("/")
