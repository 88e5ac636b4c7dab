"""Podman's registries.conf: what is read, what short names stand for, what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import registries_conf
from atoll.images.registries_conf import RegistriesConf
from atoll.images.values import Mirror

EXAMPLE = """
unqualified-search-registries = ["one.example", "two.example:5000"]
short-name-mode = "permissive"
[[registry]]
prefix = "example.com/team"
location = "internal.example/mirror/team"
insecure = true
[[registry.mirror]]
location = "mirror.example/team"
pull-from-mirror = "digest-only"
[[registry.mirror]]
location = "other.example"
insecure = true
[[registry]]
location = "bad.example"
blocked = true
[aliases]
"fedora" = "registry.fedoraproject.org/fedora"
"team/app" = "quay.io/team/app"
"""


def read(text: str) -> RegistriesConf:
    return registries_conf.parse(text.encode(), "f", RegistriesConf())


def test_registries_and_mirrors():
    first, second = read(EXAMPLE).registries
    assert (first.prefix, first.location, first.insecure) == (
        "example.com/team",
        "internal.example/mirror/team",
        True,
    )
    assert first.mirrors == (
        Mirror(location="mirror.example/team", pull="digests"),
        Mirror(location="other.example", insecure=True),
    )
    assert (second.prefix, second.location, second.blocked) == ("bad.example", None, True)
    (only,) = read("""
        [[registry]]
        location = "h.example"
        mirror-by-digest-only = true
        [[registry.mirror]]
        location = "m.example"
    """).registries
    assert only.mirrors[0].pull == "digests"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("fedora:40", ("registry.fedoraproject.org/fedora:40",)),
        ("fedora@sha256:" + "a" * 64, ("registry.fedoraproject.org/fedora@sha256:" + "a" * 64,)),
        ("team/app", ("quay.io/team/app",)),
        ("busybox", ("one.example/busybox", "two.example:5000/busybox")),
        ("some/app:1", ("one.example/some/app:1", "two.example:5000/some/app:1")),
        ("docker.io/library/busybox", ("docker.io/library/busybox",)),
        ("host:5000/app:1", ("host:5000/app:1",)),
        ("localhost/app", ("localhost/app",)),
        ("sha256:" + "a" * 64, ("sha256:" + "a" * 64,)),
    ],
)
def test_short_names(name: str, found: tuple[str, ...]):
    assert read(EXAMPLE).candidates(name) == found
    assert read("").candidates(name) == (name,)


def test_no_guess_where_none_is_allowed():
    strict = read(EXAMPLE.replace("permissive", "enforcing"))
    assert strict.candidates("fedora") == ("registry.fedoraproject.org/fedora",)
    with pytest.raises(errors.InvalidArgument, match="enforcing"):
        strict.candidates("busybox")


def test_drop_ins_count_over_the_file(tmp_path: Path):
    path = tmp_path / "registries.conf"
    path.write_text(EXAMPLE)
    drops = tmp_path / "registries.conf.d"
    drops.mkdir()
    (drops / "1.conf").write_text('unqualified-search-registries = ["three.example"]\n[aliases]\n"fedora" = ""\n')
    (drops / "2.conf").write_text('[[registry]]\nlocation = "bad.example"\n')
    (drops / "notes.txt").write_text("not ( toml")
    found = registries_conf.read(str(path))
    assert found.candidates("fedora") == ("three.example/fedora",)
    assert [one.blocked for one in found.registries] == [False, False]
    with pytest.raises(errors.NotFound, match="does not exist"):
        registries_conf.read(str(tmp_path / "none"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[registries.search]\nregistries = []", "version 1"),
        ("surprise = 1", "surprise"),
        ("[[registry]]\ninsecure = true", "prefix or a location"),
        ('[[registry]]\nlocation = "h"\nblocked = "yes"', "true or false"),
        ('[[registry]]\nlocation = "h"\n[[registry.mirror]]\nlocation = "m"\npull-from-mirror = "no"', "pull-from"),
        ('[[registry]]\nprefix = "*.h"\n[[registry.mirror]]\nlocation = "m"', "wildcard"),
        ('short-name-mode = "guess"', "short-name-mode"),
        ("registry = 1", "registry is not"),
        ("not ( toml", "f: "),
    ],
)
def test_what_is_not_understood_is_refused(text: str, words: str):
    with pytest.raises(errors.InvalidArgument, match=words):
        read(text)
