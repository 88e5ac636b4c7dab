"""Forwarded connections: nothing is lost on the way, by buffers or by a pipe, and nothing stays open."""

from __future__ import annotations

import os
import socket
import threading
from _socket import socket as Plain

import pytest

from atoll.network.helper import relay
from atoll.network.helper.loop import Loop


class Echo:
    """A server that says back all it hears, behind a forward."""

    def __init__(self) -> None:
        self.server = socket.create_server(("127.0.0.1", 0))
        listener = socket.create_server(("127.0.0.1", 0))
        self.address = listener.getsockname()
        self.loop = Loop()
        bound = Plain(fileno=listener.detach())
        relay.TcpForward(self.loop, bound, b"\x7f\0\0\1", self.server.getsockname()[1])
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self.server.accept()
            except OSError:
                return
            with connection:
                while data := connection.recv(1 << 16):
                    connection.sendall(data)


@pytest.mark.parametrize("size", [1, 1 << 16, 5 << 20])
def test_what_goes_in_comes_out(size: int) -> None:
    echo = Echo()
    sent, got = os.urandom(size), bytearray()
    before = len(os.listdir("/proc/self/fd"))

    def talk() -> None:
        with socket.create_connection(echo.address) as client:
            writer = threading.Thread(target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR)))
            writer.start()
            while data := client.recv(1 << 16):
                got.extend(data)
            writer.join()

    def look(left: int = 400) -> None:
        """The loop is this thread's: it looks whether the other has ended, and a moment later ends too."""
        if not left:
            echo.loop.stop()
        else:
            echo.loop.later(0.05, lambda: look(left - 1 if client.is_alive() else 0))

    client = threading.Thread(target=talk)
    client.start()
    look()
    echo.loop.run()
    client.join()
    echo.server.close()
    assert bytes(got) == sent
    assert len(os.listdir("/proc/self/fd")) <= before
