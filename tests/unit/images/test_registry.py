"""The registry client against a scripted server: tokens, redirects, cuts, delays, lies."""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
import time

import pytest

from atoll.base import errors
from atoll.images import connection, transport
from atoll.images.registry import Registry
from atoll.images.values import Credentials, RegistryOptions
from unit.images.server import Handler, Server, answer

DATA = bytes(range(256)) * 2000
DIGEST = "sha256:" + hashlib.sha256(DATA).hexdigest()
MANIFEST = json.dumps({"schemaVersion": 2}).encode()
KIND = "application/vnd.oci.image.manifest.v1+json"
QUICK = RegistryOptions(auth_files=(), backoff=0.001, connect_timeout=2, read_timeout=2, attempts=3)


def names(monkeypatch: pytest.MonkeyPatch, places: dict[str, str]) -> None:
    """A resolver that knows these names, and addresses themselves."""

    def resolved(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        address = places.get(host, host)
        return [(socket.AF_INET6 if ":" in address else socket.AF_INET, (address, port))]

    monkeypatch.setattr(connection, "resolved", resolved)


def client(server: Server, **options: object) -> Registry:
    return Registry(server.host, QUICK.replace(**options))


def blob(registry: Registry, offset: int = 0) -> bytes:
    return b"".join(chunk for _, chunk in registry.blob("app", DIGEST, offset, len(DATA)))


def ranged(handler: Handler, data: bytes = DATA) -> tuple[int, bytes, dict[str, str]]:
    wanted = handler.headers.get("Range")
    if not wanted:
        return 200, data, {}
    start = int(wanted.removeprefix("bytes=").rstrip("-"))
    return 206, data[start:], {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"}


def test_manifests_by_tag_and_digest():
    def script(handler: Handler) -> None:
        answer(handler, 200, MANIFEST, {"Content-Type": KIND, "Docker-Content-Digest": actual})

    actual = "sha256:" + hashlib.sha256(MANIFEST).hexdigest()
    with Server(script) as server:
        registry = client(server)
        assert registry.manifest_digest("app", "v1") == actual
        fetched = registry.manifest("app", "v1")
        assert (fetched.digest, fetched.media_type) == (actual, KIND)
        assert registry.manifest("app", actual).body == MANIFEST
        with pytest.raises(errors.Corrupt, match="digest"):
            registry.manifest("app", DIGEST)
        assert KIND in server.paths("manifests/v1")[0]["Accept"]


def test_an_unknown_image_in_dockers_words():
    words = json.dumps({"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}).encode()
    with Server(lambda h: answer(h, 404, words)) as server, pytest.raises(errors.NotFound) as caught:
        client(server).manifest("app", "nope")
    assert f"manifest for {server.host}/app:nope not found: manifest unknown" in str(caught.value)


def test_a_registry_that_is_down_is_named():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        host = f"127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(errors.Unavailable, match=f"{host}: connection refused"):
        Registry(host, QUICK).manifest("app", "v1")


def test_a_silent_registry_times_out():
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        host = f"127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(errors.Unavailable, match="no answer in time"):
            Registry(host, QUICK.replace(read_timeout=0.2, attempts=2)).manifest("app", "v1")


def test_plain_http_elsewhere_needs_to_be_asked_for(monkeypatch: pytest.MonkeyPatch):
    """A name that is not loopback is spoken to over TLS only."""
    with Server(lambda h: answer(h, 200, MANIFEST)) as server:
        names(monkeypatch, {"reg.test": "127.0.0.1"})
        host = f"reg.test:{server.port}"
        with pytest.raises(errors.Denied, match="server gave HTTP response to HTTPS client"):
            Registry(host, QUICK).manifest("app", "v1")
        for listed in (host, "reg.test"):
            assert Registry(host, QUICK.replace(insecure=(listed,))).manifest("app", "v1").body == MANIFEST


@pytest.mark.parametrize("cut", [0, 1, 4096, 262_144, 300_000, len(DATA) - 1])
def test_a_cut_is_resumed_from_the_byte_where_it_was(cut: int):
    def script(handler: Handler) -> None:
        status, body, headers = ranged(handler)
        if len(server.paths("/blobs/")) == 1:
            answer(handler, status, body[:cut], headers, length=len(body))
        else:
            answer(handler, status, body, headers)

    with Server(script) as server:
        assert blob(client(server)) == DATA
        second = server.paths("/blobs/")[1]
        assert second.get("Range") == (f"bytes={cut}-" if cut else None)


def test_a_registry_without_ranges_is_read_again_and_passed_over():
    def script(handler: Handler) -> None:
        first = len(server.paths("/blobs/")) == 1
        answer(handler, 200, DATA[:100_000] if first else DATA, length=len(DATA))

    with Server(script) as server:
        assert blob(client(server)) == DATA


def test_going_on_from_what_is_on_disk():
    with Server(lambda h: answer(h, *ranged(h))) as server:
        assert blob(client(server), 5000) == DATA[5000:]


def test_a_range_that_begins_elsewhere():
    def script(handler: Handler) -> None:
        start = 1000
        answer(handler, 206, DATA[start:], {"Content-Range": f"bytes {start}-{len(DATA) - 1}/{len(DATA)}"})

    with Server(script) as server:
        assert blob(client(server), 5000) == DATA[5000:]
        with pytest.raises(errors.Corrupt, match="partial answer"):
            blob(client(server), 500)


def test_cut_for_ever():
    def script(handler: Handler) -> None:
        answer(handler, 200, b"", length=len(DATA))

    with Server(script) as server, pytest.raises(errors.Unavailable):
        blob(client(server))
    assert len(server.paths("/blobs/")) == 3


def test_more_bytes_than_announced():
    with Server(lambda h: answer(h, 200, DATA + b"more")) as server, pytest.raises(errors.Corrupt, match="more than"):
        blob(client(server))


def test_an_endless_document_is_cut_off():
    def script(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        try:
            for _ in range(1000):
                handler.wfile.write(b"10000\r\n" + bytes(65536) + b"\r\n")
        except OSError:
            handler.close_connection = True

    with Server(script) as server, pytest.raises(errors.Corrupt, match="more than"):
        client(server).manifest("app", "v1")


def test_429_waits_as_long_as_it_is_told_and_503_backs_off():
    waits: list[float] = []

    def script(handler: Handler) -> None:
        count = len(server.paths("/manifests/"))
        if count == 1:
            answer(handler, 429, b"{}", {"Retry-After": "7"})
        elif count == 2:
            answer(handler, 503)
        else:
            answer(handler, 200, MANIFEST)

    with Server(script) as server:
        Registry(server.host, QUICK, sleep=waits.append).manifest("app", "v1")
    assert waits[0] == 7
    assert 0 < waits[1] < 1


def test_429_for_ever_is_said_so():
    with Server(lambda h: answer(h, 429, b"{}", {"Retry-After": "0"})) as server:
        with pytest.raises(errors.Unavailable, match="too many requests"):
            client(server).manifest("app", "v1")


def tokens(server_of: list[Server], good: set[str], lifetime: int = 10**9):
    """A registry with a token service at /token; each token is good for so many requests."""
    used: dict[str, int] = {}

    def script(handler: Handler) -> None:
        server = server_of[0]
        if handler.path.startswith("/token"):
            token = f"t{len(server.paths('/token'))}"
            good.add("Bearer " + token)
            return answer(handler, 200, json.dumps({"token": token}).encode())
        if handler.path == "/v2/":
            return answer(handler, 200)
        given = handler.headers.get("Authorization", "")
        used[given] = used.get(given, 0) + 1
        if given not in good or used[given] > lifetime:
            challenge = f'Bearer realm="http://{server.host}/token",service="s",scope="repository:app:pull"'
            return answer(handler, 401, b"{}", {"WWW-Authenticate": challenge})
        if "/blobs/" in handler.path:
            return answer(handler, *ranged(handler))
        return answer(handler, 200, MANIFEST)

    return script


def test_bearer_tokens_and_their_expiry():
    servers: list[Server] = []
    with Server(tokens(servers, set(), lifetime=1)) as server:
        servers.append(server)
        registry = client(server, credentials=Credentials(username="u", password="p"))
        registry.manifest("app", "v1")
        assert blob(registry) == DATA
        asked = server.paths("/token")
        assert len(asked) == 2
        assert asked[0]["Authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
        assert "scope=repository%3Aapp%3Apull" in next(p for _, p, _ in server.seen if "token" in p)


def test_many_threads_share_one_token():
    servers: list[Server] = []
    with Server(tokens(servers, set())) as server:
        servers.append(server)
        registry = client(server)
        threads = [threading.Thread(target=registry.manifest, args=("app", "v1")) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert len(server.paths("/token")) == 1


def test_basic_authentication_and_wrong_passwords():
    good = "Basic " + base64.b64encode(b"u:p").decode()

    def script(handler: Handler) -> None:
        if handler.headers.get("Authorization") == good:
            answer(handler, 200, MANIFEST)
        else:
            answer(handler, 401, b"{}", {"WWW-Authenticate": 'Basic realm="r"'})

    with Server(script) as server:
        client(server, credentials=Credentials(username="u", password="p")).manifest("app", "v1")
        for wrong in (None, Credentials(username="u", password="x")):
            with pytest.raises(errors.Denied, match="pull access denied"):
                client(server, credentials=wrong).manifest("app", "v1")


@pytest.mark.parametrize(
    "realm", ["ftp://x/", "http://169.254.169.254/token", "file:///etc/passwd", "not a url", "http://[::1"]
)
def test_a_realm_elsewhere_is_refused(realm: str):
    with Server(lambda h: answer(h, 401, b"{}", {"WWW-Authenticate": f'Bearer realm="{realm}"'})) as server:
        with pytest.raises((errors.Denied, errors.Corrupt)):
            client(server, credentials=Credentials(username="u", password="p")).manifest("app", "v1")


def test_a_token_with_a_newline_is_refused():
    def script(handler: Handler) -> None:
        if handler.path.startswith("/token"):
            answer(handler, 200, json.dumps({"token": "a\r\nX-Evil: 1"}).encode())
        else:
            challenge = f'Bearer realm="http://{server.host}/token"'
            answer(handler, 401, b"{}", {"WWW-Authenticate": challenge})

    with Server(script) as server, pytest.raises(errors.Corrupt, match="malformed"):
        client(server).manifest("app", "v1")


def test_a_redirect_carries_no_credentials_to_another_origin():
    with Server(lambda h: answer(h, *ranged(h))) as storage:

        def script(handler: Handler) -> None:
            if not handler.headers.get("Authorization"):
                answer(handler, 401, b"{}", {"WWW-Authenticate": "Basic"})
            elif handler.path.startswith("/here"):
                answer(handler, 307, b"", {"Location": f"http://{storage.host}/there"})
            else:
                answer(handler, 307, b"", {"Location": "/here"})

        with Server(script) as server:
            registry = client(server, credentials=Credentials(username="u", password="p"))
            assert blob(registry) == DATA
            assert "Authorization" in server.paths("/here")[0]
            assert "Authorization" not in storage.paths("/there")[0]


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/latest/",
        "ftp://x/y",
        "file:///etc/passwd",
        "http://[fe80::1]/x",
        "gopher:x",
        "http://[x",
        "http://x:y/",
    ],
)
def test_redirects_to_forbidden_places(location: str):
    with Server(lambda h: answer(h, 307, b"", {"Location": location})) as server:
        with pytest.raises(errors.Denied):
            blob(client(server))


def test_a_public_registry_may_not_point_inside(monkeypatch: pytest.MonkeyPatch):
    """Threats, "Images and archives" 10. The rule is asked at the very connection, with the address it goes to."""
    names(monkeypatch, {"reg.example": "93.184.216.34", "inner.example": "10.0.0.5"})
    one = transport.Transport("reg.example:5000", QUICK)
    one.check_address("outer.example", "93.184.216.35")
    for inner in ("https://inner.example/", "https://127.0.0.1/", "https://[::ffff:10.0.0.1]/"):
        with pytest.raises(errors.Denied, match="private"):
            one.exchange("GET", inner, {})
    transport.Transport("inner.example", QUICK).check_address("127.0.0.1", "127.0.0.1")


def test_a_name_that_changes_its_address_after_the_check(monkeypatch: pytest.MonkeyPatch):
    """DNS rebinding: one look-up serves both the check and the connection."""
    asked: list[str] = []

    def resolved(host: str, port: int) -> list[tuple[int, tuple[str, int]]]:
        asked.append(host)
        return [(socket.AF_INET, ("93.184.216.34" if asked.count(host) == 1 else "127.0.0.1", port))]

    monkeypatch.setattr(connection, "resolved", resolved)
    seen: list[str] = []
    monkeypatch.setattr(connection, "_start", lambda family, address: seen.append(address[0]) or OSError(113, "no"))
    with pytest.raises(errors.Unavailable):
        transport.Transport("reg.example", QUICK).exchange("GET", "http://outer.example/", {})
    assert seen == ["93.184.216.34"]


def test_a_redirect_loop_ends():
    with Server(lambda h: answer(h, 307, b"", {"Location": h.path})) as server:
        with pytest.raises(errors.Unavailable):
            blob(client(server, attempts=1))


def test_a_trickle_is_as_good_as_cut(monkeypatch: pytest.MonkeyPatch):
    from atoll.images import registry as module

    monkeypatch.setattr(module, "_WINDOW", 0.2)

    def script(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        try:
            for byte in DATA[:100]:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        handler.close_connection = True

    started = time.monotonic()
    with Server(script) as server, pytest.raises(errors.Unavailable):
        blob(client(server, attempts=2))
    assert time.monotonic() - started < 15


def test_stop_ends_a_waiting_read():
    over, silent = threading.Event(), []

    def script(handler: Handler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA[:10])
        silent.append(over.wait(20))
        handler.close_connection = True

    with Server(script) as server:
        registry = client(server, read_timeout=30)
        threading.Timer(0.5, registry.stop).start()
        with pytest.raises(errors.AtollError):
            blob(registry)
        assert not silent, "it waited for the server"
        over.set()


def test_a_head_that_trickles_is_no_answer():
    """Slow loris: each byte comes in time, the head as a whole does not."""

    def script(handler: Handler) -> None:
        try:
            for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + b"x" * 2000:
                handler.wfile.write(bytes([byte]))
                time.sleep(0.02)
        except OSError:
            pass
        handler.close_connection = True

    with Server(script) as server, pytest.raises(errors.Unavailable, match="no answer in time"):
        client(server, read_timeout=0.4, attempts=1).manifest("app", "v1")


def test_a_proxy_is_asked_for_the_whole_address(monkeypatch: pytest.MonkeyPatch):
    """Plain HTTP goes to the proxy in absolute form; a redirect to a literal address inside is refused there too."""

    def script(handler: Handler) -> None:
        if handler.path.endswith("/v1"):
            answer(handler, 200, MANIFEST, {"Content-Type": KIND})
        else:
            answer(handler, 307, b"", {"Location": "http://169.254.169.254/latest/"})

    with Server(script) as proxy:
        monkeypatch.setenv("http_proxy", f"http://u:p@{proxy.host}")
        monkeypatch.setenv("https_proxy", f"http://{proxy.host}")
        one = transport.Transport("reg.example", QUICK)
        response = one.exchange("GET", "http://reg.example/v2/app/manifests/v1", {})
        assert response.read1(1000) == MANIFEST
        method, path, headers = proxy.seen[0]
        assert (method, path, headers["Host"]) == ("GET", "http://reg.example/v2/app/manifests/v1", "reg.example")
        assert headers["Proxy-Authorization"] == "Basic dTpw"
        with pytest.raises(errors.Denied, match="link-local"):
            one.exchange("GET", "http://reg.example/v2/app/manifests/v2", {})
        with pytest.raises(errors.Denied, match=r"the proxy .* answers 501"):
            one.exchange("GET", "https://reg.example/v2/", {})


def test_a_kept_connection_serves_the_next_request_and_a_closed_one_does_not():
    peers: list[int] = []

    def script(handler: Handler) -> None:
        peers.append(handler.client_address[1])
        answer(handler, 200, MANIFEST)
        if len(peers) == 3:
            handler.close_connection = True

    with Server(script) as server:
        registry = client(server)
        for _ in range(5):
            registry.manifest("app", "v1")
            time.sleep(0.05)
    assert len(set(peers[:3])) == 1
    assert len(set(peers[3:])) == 1
    assert peers[2] != peers[3]
