"""A registry in memory, the whole distribution-spec as far as a client sees it, with faults to switch on.

Holds: `Memory`. Does not hold: real ones (`kit/registry.py`), one that only serves (`kit/faults.py`).
Faults: "cut-put" (the first upload breaks off in the middle), "no-status" (an upload's progress is not told), "limit"
(413 above 1 MiB a request), "wrong-digest" (what is stored is called something else), "no-referrers" (API absent),
"no-mount", "busy" (503 to the first of each method), "bad-list".
"""

from __future__ import annotations

import hashlib
import http.server
import json
from urllib.parse import parse_qs, urlsplit

from kit import serving

_INDEX = "application/vnd.oci.image.index.v1+json"
_LIMIT = 1 << 20


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


class Memory(serving.Serving):
    """Use as a context manager; `host` is what references begin with. `blobs` and `manifests` are by repository."""

    def __init__(self, *faults: str, page: int = 100) -> None:
        self.faults, self.page = set(faults), page
        self.blobs: dict[str, dict[str, bytes]] = {}
        self.manifests: dict[str, dict[str, tuple[str, bytes]]] = {}
        self.uploads: dict[str, bytes] = {}
        self.seen: list[tuple[str, str]] = []
        self.received = 0
        outer = self

        class Handler(serving.Handler):
            def handle_any(self) -> None:
                outer.seen.append((self.command, self.path))
                outer.serve(self)

            do_GET = do_HEAD = do_PUT = do_POST = do_PATCH = do_DELETE = handle_any

        super().__init__(Handler)
        self.server.handle_error = lambda *_: None  # type: ignore[method-assign] # a connection that a fault closed

    def count(self, method: str, part: str = "") -> int:
        """How many such requests came."""
        return sum(one == method and part in path for one, path in self.seen)

    def serve(self, handler: http.server.BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = parts.path.removeprefix("/v2/")
        if "busy" in self.faults and self.count(handler.command) == 1 and path:
            self.body(handler)
            return self.answer(handler, 503)
        for part, act in (("/blobs/uploads/", self.upload), ("/blobs/", self.blob), ("/manifests/", self.manifest),
                          ("/referrers/", self.referrers), ("/tags/", self.tags)):  # fmt: skip
            if part in path:
                name, _, rest = path.partition(part)
                return act(handler, name, rest, query)
        if path.startswith("_catalog"):
            return self.listed(handler, "repositories", sorted(self.manifests), query)
        return self.answer(handler, 200 if not path else 404)

    def body(self, handler: http.server.BaseHTTPRequestHandler) -> bytes:
        data = handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
        self.received += len(data)
        return data

    def upload(self, handler, name: str, rest: str, query: dict[str, str]) -> None:
        if handler.command == "POST":
            self.body(handler)
            origin = self.blobs.get(query.get("from", ""), {})
            if query.get("mount") in origin and "no-mount" not in self.faults:
                self.blobs.setdefault(name, {})[query["mount"]] = origin[query["mount"]]
                return self.answer(handler, 201)
            key = f"u{len(self.uploads)}"
            self.uploads[key] = b""
            return self.answer(handler, 202, headers={"Location": f"/v2/{name}/blobs/uploads/{key}?state=1"})
        if rest not in self.uploads:
            self.body(handler)
            return self.answer(handler, 404)
        here = {"Location": f"/v2/{name}/blobs/uploads/{rest}?state=2"}
        if handler.command == "GET":
            told = {"Range": f"0-{max(0, len(self.uploads[rest]) - 1)}"}
            return self.answer(handler, 404 if "no-status" in self.faults else 204, headers={**here, **told})
        length = int(handler.headers.get("Content-Length") or 0)
        if "limit" in self.faults and length > _LIMIT:
            handler.close_connection = True
            return self.answer(handler, 413)
        if "cut-put" in self.faults and length > 1000:
            self.faults.discard("cut-put")
            self.uploads[rest] += handler.rfile.read(length // 2)
            self.received += length // 2
            handler.close_connection = True
            handler.connection.close()
            return None
        self.uploads[rest] += self.body(handler)
        if handler.command == "PATCH":
            return self.answer(handler, 202, headers=here)
        data = self.uploads.pop(rest)
        if sha256(data) != query["digest"]:
            words = {"code": "DIGEST_INVALID", "message": "provided digest did not match uploaded content"}
            return self.answer(handler, 400, json.dumps({"errors": [words]}).encode())
        self.blobs.setdefault(name, {})[query["digest"]] = data
        return self.answer(handler, 201)

    def blob(self, handler, name: str, digest: str, query: dict[str, str]) -> None:
        data = self.blobs.get(name, {}).get(digest)
        if handler.command == "DELETE" and data is not None:
            del self.blobs[name][digest]
            return self.answer(handler, 202)
        if data is None:
            return self.answer(handler, 404)
        wanted = handler.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        extra = {"Content-Range": f"bytes {start}-{len(data) - 1}/{len(data)}"} if start else {}
        return self.answer(handler, 206 if start else 200, data[start:], extra)

    def manifest(self, handler, name: str, at: str, query: dict[str, str]) -> None:
        here = self.manifests.setdefault(name, {})
        if handler.command == "PUT":
            data = self.body(handler)
            digest = sha256(data)
            here[digest] = here[at] = (handler.headers["Content-Type"], data)
            told = {"Docker-Content-Digest": sha256(b"x") if "wrong-digest" in self.faults else digest}
            subject = json.loads(data).get("subject")
            if subject and "no-referrers" not in self.faults:
                told["OCI-Subject"] = subject["digest"]
            return self.answer(handler, 201, headers=told)
        found = here.get(at)
        if found is None:
            return self.answer(handler, 404, b'{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}')
        if handler.command == "DELETE":
            del here[at]
            return self.answer(handler, 202)
        told = {"Content-Type": found[0], "Docker-Content-Digest": sha256(found[1])}
        return self.answer(handler, 200, found[1], told)

    def referrers(self, handler, name: str, digest: str, query: dict[str, str]) -> None:
        if "no-referrers" in self.faults:
            return self.answer(handler, 404)
        entries = []
        for key, (kind, data) in self.manifests.get(name, {}).items():
            document = json.loads(data)
            if key == sha256(data) and (document.get("subject") or {}).get("digest") == digest:
                entries.append({"mediaType": kind, "digest": key, "size": len(data),
                                "artifactType": document.get("artifactType", "")})  # fmt: skip
        index = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": entries}
        return self.answer(handler, 200, json.dumps(index).encode(), {"Content-Type": _INDEX})

    def tags(self, handler, name: str, rest: str, query: dict[str, str]) -> None:
        found = sorted(key for key in self.manifests.get(name, {}) if ":" not in key)
        return self.listed(handler, "tags", found, query, name=name)

    def listed(self, handler, key: str, names: list[str], query: dict[str, str], **more: str) -> None:
        after = [one for one in names if one > query.get("last", "")]
        page = after[: self.page]
        headers = {}
        if len(after) > len(page):
            headers["Link"] = f'<{handler.path.partition("?")[0]}?last={page[-1]}>; rel="next"'
        if "bad-list" in self.faults:
            headers["Link"] = '<http://elsewhere.example/v2/_catalog>; rel="next"'
        return self.answer(handler, 200, json.dumps({key: page, **more}).encode(), headers)

    def answer(self, handler, status: int, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        handler.send_response(status)
        for key, value in (headers or {}).items():
            handler.send_header(key, value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if handler.command != "HEAD":
            handler.wfile.write(body)
