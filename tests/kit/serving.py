"""An HTTP server on the loopback, in a thread of the test's.

Holds: `Serving`, for those that misbehave (`faults.py`) or are scripted. Does not hold: what is answered.
"""

from __future__ import annotations

import http.server
import threading
from typing import Self


class Handler(http.server.BaseHTTPRequestHandler):
    """Keeps connections open, and quiet."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        return


class Serving:
    """For a `with` block; `host` is what references begin with."""

    def __init__(self, handler: type[Handler]) -> None:
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.host = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.server.shutdown()
        self._thread.join(5)
        self.server.server_close()
