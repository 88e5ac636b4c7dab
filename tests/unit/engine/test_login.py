"""login: what is tried, what is kept, what is never sent on."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import parse_qs

import pytest

from atoll.base import errors
from atoll.engine.images import login as module
from atoll.images import credentials
from atoll.images.registry import Registry
from atoll.images.values import Credentials, RegistryOptions
from unit.images.server import Handler, Server, answer

QUICK = RegistryOptions(auth_files=(), certs_dirs=(), backoff=0.001, attempts=2, read_timeout=5)
PAIR = "Basic " + base64.b64encode(b"u:p").decode()


def service(bodies: list[dict[str, list[str]]], *, identity: str | None = None):
    """A registry with a token service: by name and password, or by identity token."""

    def script(handler: Handler) -> None:
        if handler.path.startswith("/token"):
            given = handler.rfile.read(int(handler.headers.get("Content-Length") or 0)).decode()
            if handler.command == "POST":
                bodies.append(parse_qs(given))
                known = bodies[-1]["refresh_token"] == ["long-lived"]
            else:
                known = handler.headers.get("Authorization") == PAIR
            token = {"access_token": "t", **({"refresh_token": identity} if identity else {})}
            return answer(handler, 200 if known else 401, json.dumps(token).encode())
        if handler.headers.get("Authorization") == "Bearer t":
            return answer(handler, 200, b'{"schemaVersion":2}')
        realm = f'Bearer realm="http://{handler.headers["Host"]}/token",service="s"'
        return answer(handler, 401, b"{}", {"WWW-Authenticate": realm})

    return script


def engine(tmp_path: Path) -> object:
    return SimpleNamespace(environ={"HOME": str(tmp_path)}, config=None)


def test_name_and_password_are_tried_then_kept(tmp_path: Path):
    with Server(service([])) as server:
        one = engine(tmp_path)
        with pytest.raises(errors.Denied, match="unauthorized: incorrect username or password"):
            module.login(one, server.host, Credentials(username="u", password="x"), QUICK)
        assert list(tmp_path.iterdir()) == []
        done = module.login(one, server.host, Credentials(username="u", password="p"), QUICK)
        assert (done.plain, done.kept_in) == (True, f"{tmp_path}/.docker/config.json")
        asked = [path for _, path, _ in server.seen if path.startswith("/token")][-1]
        assert "offline_token=true" in asked
        assert "scope" not in asked
        assert module.current_user(one, server.host) == "u"
        assert module.logout(one, server.host) == (True, [])


def test_an_identity_token_is_kept_in_place_of_the_password(tmp_path: Path):
    bodies: list[dict[str, list[str]]] = []
    with Server(service(bodies, identity="long-lived")) as server:
        done = module.login(engine(tmp_path), server.host, Credentials(username="u", password="p"), QUICK)
        kept = credentials.find(server.host, "", (done.kept_in,))
        assert kept == Credentials(username="u", identity_token="long-lived")
        registry = Registry(server.host, QUICK.replace(auth_files=(done.kept_in,)))
        registry.manifest("app", "v1")
        assert bodies[0]["grant_type"] == ["refresh_token"]
        assert bodies[0]["scope"] == ["repository:app:pull"]


def test_basic_authentication(tmp_path: Path):
    def script(handler: Handler) -> None:
        good = handler.headers.get("Authorization") == PAIR
        answer(handler, 200 if good else 401, b"{}", {"WWW-Authenticate": 'Basic realm="r"'})

    with Server(script) as server:
        module.login(engine(tmp_path), server.host, Credentials(username="u", password="p"), QUICK)
        with pytest.raises(errors.Denied, match="unauthorized"):
            module.login(engine(tmp_path), server.host, Credentials(username="u", password="q"), QUICK)


@pytest.mark.parametrize(
    ("given", "host"),
    [
        (None, "docker.io"),
        ("https://index.docker.io/v1/", "docker.io"),
        ("registry-1.docker.io", "docker.io"),
        ("https://quay.io/", "quay.io"),
        ("localhost:5000", "localhost:5000"),
        ("myregistry", "myregistry"),
    ],
)
def test_what_a_person_calls_a_registry(given: str | None, host: str):
    assert module.host_of(given) == host
