"""Debian's docker-registry on the loopback, and pushing images to it.

Holds: `Registry` (start, push, stop). Does not hold: a registry that misbehaves (`faults`).
"""

from __future__ import annotations

import base64
import http.client
import os
import socket
import ssl
import subprocess
import time

from kit.images import Blob, Image

_CONFIG = """version: 0.1
log: {{level: error, accesslog: {{disabled: true}}}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"{tls}}}
{auth}"""
USER, PASSWORD = "user", "secret"
_HTPASSWD = USER + ":$2y$05$abcdefghijklmnopqrstuuOQiyCxlgf/oeuTqixKmWdcYUh4Hjl0a\n"  # bcrypt of the password


def free_port() -> int:
    """A port nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Registry:
    """A running registry; `host` is what image references begin with. `secured`: over TLS, with a certificate that
    signs itself (`certificate`), and only for USER with PASSWORD."""

    def __init__(self, folder: str, *, secured: bool = False) -> None:
        self.port = free_port()
        self.secured = secured
        self.certificate = os.path.join(folder, "cert.pem")
        self.host = f"127.0.0.1:{self.port}"
        os.makedirs(folder, exist_ok=True)
        config = os.path.join(folder, "config.yml")
        with open(config, "w") as stream:
            tls, auth = self._secure(folder) if secured else ("", "")
            stream.write(_CONFIG.format(root=os.path.join(folder, "data"), port=self.port, tls=tls, auth=auth))
        self._log = open(os.path.join(folder, "log"), "w")
        self.process = subprocess.Popen(
            ["docker-registry", "serve", config], stdout=self._log, stderr=self._log, stdin=subprocess.DEVNULL
        )
        self._wait()

    def _secure(self, folder: str) -> tuple[str, str]:
        key, passwords = os.path.join(folder, "key.pem"), os.path.join(folder, "htpasswd")
        subject = ["-subj", "/CN=registry", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        how = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        files = ["-keyout", key, "-out", self.certificate]
        subprocess.run(["openssl", "req", "-x509", *how, *files, *subject], check=True, capture_output=True)
        with open(passwords, "w") as stream:
            stream.write(_HTPASSWD)
        tls = f", tls: {{certificate: {self.certificate}, key: {key}}}"
        return tls, f"auth: {{htpasswd: {{realm: tests, path: {passwords}}}}}\n"

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
        given = dict(headers or {})
        if self.secured:
            context = ssl.create_default_context(cafile=self.certificate)
            connection = http.client.HTTPSConnection("127.0.0.1", self.port, timeout=60, context=context)
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            given["Authorization"] = f"Basic {pair}"
        try:
            connection.request(method, path, body, given)
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
