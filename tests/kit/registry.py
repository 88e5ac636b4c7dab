"""Debian's docker-registry on the loopback, and pushing images to it.

Holds: `Registry` (start, push, stop). Does not hold: a registry that misbehaves (`faults`).
"""

from __future__ import annotations

import http.client
import os
import socket
import subprocess
import time

from kit.images import Blob, Image

_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    """A running registry; `host` is what image references begin with."""

    def __init__(self, folder: str) -> None:
        self.port = free_port()
        self.host = f"127.0.0.1:{self.port}"
        os.makedirs(folder, exist_ok=True)
        config = os.path.join(folder, "config.yml")
        with open(config, "w") as stream:
            stream.write(_CONFIG.format(root=os.path.join(folder, "data"), port=self.port))
        self._log = open(os.path.join(folder, "log"), "w")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", config], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        self._wait()

    def _wait(self) -> None:
        deadline = time.monotonic() + 15
        while time.monotonic() < deadline:
            try:
                self.request("GET", "/v2/")
                return
            except OSError:
                if self.process.poll() is not None:
                    break
                time.sleep(0.05)
        raise RuntimeError(f"docker-registry did not come up; its words are in {self._log.name}")

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """One HTTP exchange: status, headers in lower case, body."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
        finally:
            connection.close()

    def push(self, image: Image, name: str, tag: str = "latest") -> str:
        """Upload config, layers and manifest; returns the whole reference."""
        for one in (image.config, *image.layers):
            self._push_blob(one, name)
        status, _, text = self.request(
            "PUT", f"/v2/{name}/manifests/{tag}", image.manifest.read(), {"Content-Type": image.manifest.media_type}
        )
        assert status == 201, (status, text)
        return f"{self.host}/{name}:{tag}"

    def _push_blob(self, one: Blob, name: str) -> None:
        if self.request("HEAD", f"/v2/{name}/blobs/{one.digest}")[0] == 200:
            return
        status, headers, text = self.request("POST", f"/v2/{name}/blobs/uploads/")
        assert status == 202, (status, text)
        place = headers["location"].split(str(self.port), 1)[-1]
        joint = "&" if "?" in place else "?"
        kind = {"Content-Type": "application/octet-stream"}
        status, _, text = self.request("PUT", f"{place}{joint}digest={one.digest}", one.read(), kind)
        assert status == 201, (status, text)

    def stop(self) -> None:
        """End it and wait."""
        self.process.terminate()
        self.process.wait(10)
        self._log.close()
