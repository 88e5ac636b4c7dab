"""A registry that misbehaves on purpose: each fault is a small change to one answer.

Holds: `FaultServer`, serving one image with a chosen fault. Does not hold: a correct registry (`registry`).
Faults: "none", "digest" (layer's bytes changed), "cut" (connection closed in mid-blob), "cut-once" (only the first
time, so that resuming can be seen), "slow", "500", "429-once", "401", "404", "size" (longer than promised),
"short-length" (Content-Length smaller than sent), "manifest-confusion", "not-json", "redirect-private",
"config-digest".
"""

from __future__ import annotations

import http.server
import json
import time

from kit import serving
from kit.images import Image


class FaultServer(serving.Serving):
    """Serves `image` under any name and tag with the fault named; use as a context manager."""

    def __init__(self, image: Image, fault: str = "none") -> None:
        self.image, self.fault = image, fault
        self.requests: list[tuple[str, str, dict[str, str]]] = []
        self.sent = 0
        outer = self

        class Handler(serving.Handler):
            def do_GET(self) -> None:
                outer.answer(self, body=True)

            def do_HEAD(self) -> None:
                outer.answer(self, body=False)

        super().__init__(Handler)

    def count(self, part: str) -> int:
        """How many requests had `part` in their path."""
        return sum(part in path for _, path, _ in self.requests)

    def answer(self, handler: http.server.BaseHTTPRequestHandler, *, body: bool) -> None:
        """One exchange."""
        path = handler.path.partition("?")[0]
        self.requests.append((handler.command, path, dict(handler.headers)))
        first = self.count(path) == 1
        if self.fault == "500":
            return self._send(
                handler, 500, b'{"errors":[{"code":"UNKNOWN","message":"broken on purpose"}]}', body=body
            )
        if self.fault == "401":
            return self._send(handler, 401, b'{"errors":[{"code":"UNAUTHORIZED"}]}', body=body)
        if self.fault == "429-once" and "/blobs/" in path and first:
            return self._send(handler, 429, b"{}", {"Retry-After": "0"}, body=body)
        if path in ("/v2", "/v2/"):
            return self._send(handler, 200, b"{}", body=body)
        if "/manifests/" in path and self.fault != "404":
            return self._manifest(handler, body=body)
        if "/blobs/" in path:
            return self._blob(handler, path.rsplit("/", 1)[1], first, body=body)
        return self._send(handler, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}', body=body)

    def _manifest(self, handler: http.server.BaseHTTPRequestHandler, *, body: bool) -> None:
        data, kind = self.image.manifest.read(), self.image.manifest.media_type
        if self.fault == "not-json":
            data = b"<html>a captive portal</html>"
        elif self.fault == "manifest-confusion":
            data = json.dumps({**json.loads(data), "manifests": []}).encode()
        self._send(handler, 200, data, {"Content-Type": kind}, body=body)

    def _blob(self, handler: http.server.BaseHTTPRequestHandler, digest: str, first: bool, *, body: bool) -> None:
        known = {one.digest: one for one in (self.image.config, *self.image.layers)}
        if digest not in known:
            return self._send(handler, 404, b"{}", body=body)
        data = known[digest].read()
        layer = known[digest] is not self.image.config
        if (self.fault == "digest" and layer) or (self.fault == "config-digest" and not layer):
            middle = len(data) // 2
            data = data[:middle] + bytes([data[middle] ^ 1]) + data[middle + 1 :]
        elif self.fault == "size" and layer:
            data += b"more than was promised"
        elif self.fault == "redirect-private" and layer:
            return self._send(handler, 307, b"", {"Location": "http://169.254.169.254/latest/meta-data/"}, body=body)
        start = 0
        wanted = handler.headers.get("Range", "")
        if wanted.startswith("bytes=") and self.fault != "no-range":
            start = int(wanted[6:].split("-")[0])
        extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        cut = layer and (self.fault == "cut" or (self.fault == "cut-once" and first))
        piece = data[start:]
        length = len(piece) - 10 if self.fault == "short-length" and layer else len(piece)
        sent = piece[: len(piece) // 2] if cut else piece
        self.sent += len(sent)
        pause = 0.2 if self.fault == "slow" and layer else 0.0
        self._send(handler, 206 if start else 200, sent, extra, body=body, length=length, pause=pause)
        if cut or length != len(sent):
            handler.close_connection = True

    def _send(
        self,
        handler: http.server.BaseHTTPRequestHandler,
        status: int,
        data: bytes,
        headers: dict[str, str] | None = None,
        *,
        body: bool,
        length: int | None = None,
        pause: float = 0.0,
    ) -> None:
        handler.send_response(status)
        for key, value in {"Docker-Distribution-Api-Version": "registry/2.0", **(headers or {})}.items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(data) if length is None else length))
        handler.end_headers()
        if not body:
            return
        try:
            step = 64 << 10
            for offset in range(0, len(data), step):
                handler.wfile.write(data[offset : offset + step])
                if pause:
                    time.sleep(pause)
        except OSError:
            handler.close_connection = True
