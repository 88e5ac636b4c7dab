"""Names to sockets: several addresses, IPv6, TLS with an authority and a client certificate of one's own."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
import time
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import connection
from atoll.images.registry import Registry
from atoll.images.values import RegistryOptions, RegistrySettings
from unit.images.server import Server, answer


def listener(family: int, address: str) -> socket.socket:
    found = socket.socket(family)
    found.bind((address, 0))
    found.listen()
    return found


def test_the_first_address_that_answers_is_taken():
    with listener(socket.AF_INET, "127.0.0.1") as server, socket.socket() as closed:
        port = server.getsockname()[1]
        closed.bind(("127.0.0.1", 0))  # bound, and nobody listens
        dead = (socket.AF_INET, closed.getsockname())
        sock = connection.dial([dead, (socket.AF_INET, ("127.0.0.1", port))], lambda _: None, 5)
        assert sock.getpeername() == ("127.0.0.1", port)
        sock.close()
        with pytest.raises(ConnectionRefusedError):
            connection.dial([dead, dead], lambda _: None, 5)


def test_a_silent_address_costs_a_quarter_of_a_second():
    with listener(socket.AF_INET, "127.0.0.1") as server, socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for one in fillers:  # a full queue answers as a network that loses everything
            one.setblocking(False)
            one.connect_ex(full.getsockname())
        began = time.monotonic()
        places = [(socket.AF_INET, full.getsockname()), (socket.AF_INET, server.getsockname())]
        sock = connection.dial(places, lambda _: None, 30)
        assert sock.getpeername() == server.getsockname()
        assert time.monotonic() - began < 20  # not the 30 that were allowed
        for one in (sock, *fillers):
            one.close()


def test_every_address_is_judged_before_any_is_used():
    def rule(address: str) -> None:
        if address == "10.0.0.1":
            raise errors.Denied("no")

    with listener(socket.AF_INET, "127.0.0.1") as server:
        places = [(socket.AF_INET, server.getsockname()), (socket.AF_INET, ("10.0.0.1", 1))]
        with pytest.raises(errors.Denied):
            connection.dial(places, rule, 1)
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


def test_families_take_turns(monkeypatch: pytest.MonkeyPatch):
    four, six = socket.AF_INET, socket.AF_INET6
    found = [(six, ("a", 1)), (six, ("b", 1)), (six, ("c", 1)), (four, ("d", 1))]
    monkeypatch.setattr(connection, "resolved", lambda host, port: found)
    assert [address[0] for _, address in connection.addresses("x", 1)] == ["a", "d", "b", "c"]
    monkeypatch.setattr(connection, "resolved", lambda host, port: [])
    with pytest.raises(connection.NoSuchHost):
        connection.addresses("x", 1)


def test_a_registry_by_an_ipv6_address():
    body = b'{"schemaVersion": 2}'
    with listener(socket.AF_INET6, "::1") as server:

        def serve() -> None:
            while True:
                try:
                    peer, _ = server.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(10_000)
                    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n"
                    peer.sendall(head % len(body) + body)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        registry = Registry(f"[::1]:{server.getsockname()[1]}", RegistryOptions(auth_files=(), certs_dirs=()))
        assert registry.manifest("app", "v1").body == body
        server.shutdown(socket.SHUT_RDWR)
        thread.join(5)


@pytest.mark.parametrize(
    ("address", "reach"),
    [
        ("93.184.216.34", "public"),
        ("10.1.2.3", "private"),
        ("127.0.0.1", "private"),
        ("169.254.169.254", "link-local"),
        ("::ffff:169.254.169.254", "link-local"),
        ("fe80::1%eth0", "link-local"),
        ("2002:a9fe:a9fe::1", "link-local"),
        ("fd00::1", "private"),
        ("100.64.0.1", "private"),
        ("2606:2800:220:1::1", "public"),
    ],
)
def test_how_far_an_address_reaches(address: str, reach: str):
    assert connection.reach(address) == reach


def pair(folder: Path, name: str) -> tuple[str, str]:
    """A certificate that signs itself, and its key."""
    certificate, key = str(folder / f"{name}.crt"), str(folder / f"{name}.key")
    how = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    names = ["-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", *how, "-keyout", key, "-out", certificate, *names]
    subprocess.run(command, check=True, capture_output=True)
    return certificate, key


def test_tls_with_an_authority_and_a_client_certificate(tmp_path: Path):
    server_files, client_files = pair(tmp_path, "server"), pair(tmp_path, "client")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*server_files)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(client_files[0])
    with Server(lambda handler: answer(handler, 200, b"{}")) as server:
        server.server.socket = context.wrap_socket(server.server.socket, server_side=True)
        server.server.handle_error = lambda *_: None
        base = RegistryOptions(auth_files=(), certs_dirs=(), attempts=1, connect_timeout=3, read_timeout=3)

        def registry(**said: str) -> Registry:
            return Registry(server.host, base.replace(registries=(RegistrySettings(prefix=server.host, **said),)))

        whole = {"ca_file": server_files[0], "client_certificate": client_files[0], "client_key": client_files[1]}
        assert registry(**whole).manifest("app", "v1").body == b"{}"
        with pytest.raises(errors.Denied, match="not trusted"):
            registry(client_certificate=client_files[0], client_key=client_files[1]).manifest("app", "v1")
        with pytest.raises((errors.Denied, errors.Unavailable)):
            registry(ca_file=server_files[0]).manifest("app", "v1")
        with pytest.raises(errors.InvalidArgument, match="cannot use the certificates"):
            registry(**{**whole, "client_key": "/nowhere"}).manifest("app", "v1")
