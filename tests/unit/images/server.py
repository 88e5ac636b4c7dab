"""A scripted HTTP server on the loopback for the registry client's tests."""

from __future__ import annotations

import http.server
from collections.abc import Callable

from kit import serving

Handler = http.server.BaseHTTPRequestHandler


class Server(serving.Serving):
    """Answers with what `script(handler)` does; remembers the requests as (method, path, headers)."""

    def __init__(self, script: Callable[[Handler], None]) -> None:
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        outer = self

        class Inner(serving.Handler):
            def do_GET(self) -> None:
                outer.seen.append((self.command, self.path, dict(self.headers)))
                script(self)

            do_HEAD = do_POST = do_GET

        super().__init__(Inner)

    def paths(self, part: str) -> list[dict[str, str]]:
        """The headers of the requests whose path holds `part`."""
        return [headers for _, path, headers in self.seen if part in path]


def answer(
    handler: Handler, status: int, body: bytes = b"", headers: dict[str, str] | None = None, length: int | None = None
) -> None:
    """One answer; `length` lies about the body."""
    handler.send_response(status)
    for key, value in (headers or {}).items():
        handler.send_header(key, value)
    handler.send_header("Content-Length", str(len(body) if length is None else length))
    handler.end_headers()
    if handler.command != "HEAD":
        handler.wfile.write(body)
    if length is not None and length != len(body):
        handler.close_connection = True
