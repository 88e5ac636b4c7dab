"""HTTP as it comes over a socket: framing, limits, and what is refused."""

from __future__ import annotations

import pytest

from atoll.images import http
from atoll.images import url as urls
from atoll.images.proxy import Proxy, find


class Stream:
    """A socket that gives prepared bytes, so many at a time."""

    def __init__(self, data: bytes, step: int = 1 << 20) -> None:
        self.data, self.step, self.sent = data, step, b""

    def recv(self, size: int) -> bytes:
        piece, self.data = self.data[: min(size, self.step)], self.data[min(size, self.step) :]
        return piece

    def sendall(self, data: bytes) -> None:
        self.sent += data

    def settimeout(self, seconds: float | None) -> None:
        return


def answer(data: bytes, method: str = "GET", step: int = 1 << 20) -> http.Response:
    return http.receive(http.Wire(Stream(data, step)), method, 5)


def body(response: http.Response) -> bytes:
    return b"".join(iter(lambda: response.read1(7), b""))


@pytest.mark.parametrize("step", [1, 3, 1 << 20])
def test_three_ways_to_frame_a_body(step: int):
    length = answer(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", step=step)
    assert (body(length), length.persistent) == (b"hello", True)
    chunked = (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4;x=y\r\nhell\r\n1\r\no\r\n0\r\nTrailer: x\r\n\r\n"
    )
    one = answer(chunked, step=step)
    assert (body(one), one.persistent) == (b"hello", True)
    ended = answer(b"HTTP/1.0 200 OK\r\n\r\nhello", step=step)
    assert (body(ended), ended.persistent) == (b"hello", False)


def test_answers_without_a_body():
    for data, method in (
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD"),
        (b"HTTP/1.1 204 No\r\n\r\n", "GET"),
    ):
        response = answer(data, method)
        assert response.ended
        assert response.persistent
    interim = answer(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\ncontent-length:0\r\nX: 1\r\nx: 2\r\n\r\n")
    assert (interim.status, interim.headers.all("X")) == (201, ["1", "2"])


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\n\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nbad name: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 20,
    ],
)
def test_what_is_no_answer(data: bytes):
    with pytest.raises(http.Malformed):
        answer(data)


@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhell",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + b"a: b\r\n" * 100,
    ],
)
def test_a_body_cut_short_is_told_from_one_that_ended(data: bytes):
    with pytest.raises(http.Malformed):
        body(answer(data))


def test_a_header_cannot_break_the_request():
    for name, value in (("X", "a\r\nY: 1"), ("X\r\nY", "1"), ("X", "\0"), ("X", "é")):
        with pytest.raises(ValueError, match="cannot be sent"):
            http.send(Stream(b""), "GET", "/", {name: value})


def test_urls():
    base = urls.parse("https://reg.example:5000/v2/a/blobs/uploads/1?x=y")
    assert (base.host, base.port, base.target) == ("reg.example", 5000, "/v2/a/blobs/uploads/1?x=y")
    assert str(urls.join(base, "/v2/b?c")) == "https://reg.example:5000/v2/b?c"
    assert str(urls.join(base, "http://[::1]:80/x")) == "http://[::1]/x"
    assert str(urls.join(base, "//o.example/x")) == "https://o.example/x"
    assert str(urls.join(base, "2")) == "https://reg.example:5000/v2/a/blobs/uploads/2"
    assert urls.query("http://x/?a=1", [("b", "c/d&e")]) == "http://x/?a=1&b=c%2Fd%26e"
    for bad in ("ftp://x", "http://", "http://u:p@x/", "http://x:0/", "http://a b/", "http://x\\y/", "javascript:x"):
        with pytest.raises(ValueError):
            urls.parse(bad)


def test_proxies_by_the_rules_that_go_has():
    env = {
        "HTTPS_PROXY": "http://u:p%40@proxy.example:3128",
        "http_proxy": "plain.example",
        "NO_PROXY": "inner.example, .below.example,10.0.0.0/8,host.example:8443,192.168.1.1",
    }

    def proxy(url: str) -> Proxy | None:
        return find(urls.parse(url), env)

    assert proxy("https://a.example/") == Proxy(host="proxy.example", port=3128, authorization="Basic dTpwQA==")
    assert proxy("http://a.example/") == Proxy(host="plain.example", port=80)
    for direct in (
        "https://inner.example/",
        "https://x.inner.example/",
        "https://x.below.example/",
        "https://10.1.2.3/",
        "https://host.example:8443/",
        "https://192.168.1.1/",
        "https://127.0.0.1/",
        "http://localhost:5000/",
    ):
        assert proxy(direct) is None, direct
    for through in (
        "https://below.example/",
        "https://11.1.2.3/",
        "https://host.example/",
        "https://notinner.example/",
    ):
        assert proxy(through) is not None, through
    assert find(urls.parse("https://a/"), {"NO_PROXY": "*", "HTTPS_PROXY": "p:1"}) is None
    assert "p%40" not in repr(proxy("https://a.example/"))
