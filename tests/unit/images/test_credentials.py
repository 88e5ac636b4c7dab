"""Credentials: Docker's and Podman's files, helpers, and what `login` writes."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import credentials
from atoll.images.values import Credentials

HELPER = """#!/usr/bin/env python3
import json, os, sys
path = os.environ["HELPER_STORE"]
known = json.load(open(path)) if os.path.exists(path) else {}
verb, given = sys.argv[1], sys.stdin.read()
if verb == "store":
    entry = json.loads(given)
    known[entry["ServerURL"]] = entry
elif given.strip() not in known:
    print("credentials not found in native keychain")
    sys.exit(1)
elif verb == "get":
    print(json.dumps(known[given.strip()]))
else:
    del known[given.strip()]
json.dump(known, open(path, "w"))
"""


def write(path: Path, auths: object, **more: object) -> str:
    path.write_text(json.dumps({"auths": auths, **more}))
    return str(path)


def entry(user: str, password: str) -> dict[str, str]:
    return {"auth": base64.b64encode(f"{user}:{password}".encode()).decode()}


@pytest.fixture
def helper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A credential helper `docker-credential-test`; the path of what it keeps."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "docker-credential-test"
    program.write_text(HELPER)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    monkeypatch.setenv("HELPER_STORE", str(tmp_path / "kept"))
    return tmp_path / "kept"


def test_dockers_and_podmans_files(tmp_path: Path):
    one = write(tmp_path / "one", {"https://index.docker.io/v1/": entry("hub", "p:w"), "x.io": {}})
    two = write(tmp_path / "two", {"x.io": entry("u", "2"), "https://y.io/v2/": {"username": "z", "password": "3"}})
    files = (str(tmp_path / "absent"), one, two)

    def find(host: str, repository: str = "") -> Credentials | None:
        return credentials.find(host, repository, files)

    assert find("docker.io") == Credentials(username="hub", password="p:w")
    assert find("x.io") == Credentials(username="u", password="2")
    assert find("y.io", "a/b") == Credentials(username="z", password="3")
    assert find("x.io:5000") is None
    assert find("evil-x.io") is None


def test_podmans_keys_with_a_path_the_longest_first(tmp_path: Path):
    auths = {"q.io": entry("all", "1"), "q.io/team": entry("team", "2"), "q.io/team/app": entry("app", "3")}
    files = (write(tmp_path / "auth.json", auths),)
    for repository, user in (("team/app", "app"), ("team/app/x", "app"), ("team/o", "team"), ("teams/o", "all")):
        found = credentials.find("q.io", repository, files)
        assert found is not None
        assert found.username == user


def test_identity_and_registry_tokens(tmp_path: Path):
    auths = {"a.io": {**entry("u", ""), "identitytoken": "i"}, "b.io": {"registrytoken": "r"}}
    files = (write(tmp_path / "c", auths),)
    assert credentials.find("a.io", "", files) == Credentials(username="u", identity_token="i")
    assert credentials.find("b.io", "", files) == Credentials(registry_token="r")


@pytest.mark.parametrize("text", ["{", "[]", '{"auths": {"x.io": {"auth": "bm9jb2xvbg=="}}}', '{"auths": 3}'])
def test_a_broken_file_is_named(tmp_path: Path, text: str):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(errors.InvalidArgument, match=r"config\.json"):
        credentials.find("x.io", "", (str(path),))


def test_the_order_of_files():
    env = {"HOME": "/h", "XDG_RUNTIME_DIR": "/r", "REGISTRY_AUTH_FILE": "/f", "DOCKER_CONFIG": "/d"}
    found = credentials.usual_files(env)
    assert found[:3] == ("/f", "/d/config.json", "/r/containers/auth.json")
    assert found[-1] == "/h/.config/containers/auth.json"
    assert credentials.file_to_write(env) == "/f"
    assert credentials.file_to_write({"HOME": "/h"}) == "/h/.docker/config.json"


def test_what_is_written_is_what_docker_writes(tmp_path: Path):
    path = tmp_path / ".docker" / "config.json"
    assert credentials.keep("docker.io", Credentials(username="u", password="p"), str(path)) == str(path)
    assert json.loads(path.read_text()) == {"auths": {"https://index.docker.io/v1/": {"auth": "dTpw"}}}
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.read_text().startswith('{\n\t"auths"')


def test_other_settings_and_links_survive(tmp_path: Path):
    real = tmp_path / "real.json"
    real.write_text(json.dumps({"psFormat": "x", "auths": {"a.io": entry("a", "b")}}))
    link = tmp_path / "config.json"
    link.symlink_to(real)
    credentials.keep("b.io", Credentials(username="u", identity_token="t"), str(link))
    assert link.is_symlink()
    written = json.loads(real.read_text())
    assert written["psFormat"] == "x"
    assert written["auths"]["a.io"] == entry("a", "b")
    assert written["auths"]["b.io"] == {"auth": "dTo=", "identitytoken": "t"}
    assert credentials.find("b.io", "", (str(link),)) == Credentials(username="u", identity_token="t")
    assert credentials.forget("b.io", str(link))
    assert not credentials.forget("b.io", str(link))
    assert list(json.loads(real.read_text())["auths"]) == ["a.io"]


def test_a_store_and_a_helper(tmp_path: Path, helper: Path):
    path = write(tmp_path / "config.json", {}, credHelpers={"own.io": "test"})
    given = Credentials(username="u", password="secret")
    assert credentials.keep("own.io", given, path) == "test"
    assert "secret" not in Path(path).read_text()
    assert "secret" in helper.read_text()
    assert credentials.find("own.io", "", (path,)) == given
    assert credentials.keep("other.io", given, path) == path  # only its own registry is the helper's

    path = write(tmp_path / "store.json", {}, credsStore="test")
    credentials.keep("docker.io", Credentials(identity_token="idt"), path)
    kept = json.loads(helper.read_text())["https://index.docker.io/v1/"]
    assert (kept["Username"], kept["Secret"]) == ("<token>", "idt")
    assert credentials.find("docker.io", "", (path,)) == Credentials(identity_token="idt")
    assert credentials.forget("docker.io", path)
    assert credentials.find("docker.io", "", (path,)) is None


def test_a_helper_that_is_missing_or_has_a_strange_name(tmp_path: Path):
    with pytest.raises(errors.NotFound, match="docker-credential-nowhere"):
        credentials.find("x.io", "", (write(tmp_path / "a", {}, credsStore="nowhere"),))
    with pytest.raises(errors.InvalidArgument, match="no name"):
        credentials.find("x.io", "", (write(tmp_path / "b", {}, credsStore="../../bin/sh"),))
