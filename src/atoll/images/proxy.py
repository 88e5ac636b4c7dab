"""Proxies, as the environment names them: HTTP_PROXY, HTTPS_PROXY, ALL_PROXY, NO_PROXY, in either case.

Holds: `Proxy`, `find`. Does not hold: speaking to one (`connection.py`). The rules are Go's (golang.org/x/net
/http/httpproxy), so that what works for docker and podman works here: loopback is never proxied, a name in NO_PROXY
also stands for the names below it, `.name` for those alone, and addresses may be networks.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value
from atoll.images import url as urls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.images.url import Url


class Proxy(Value):
    """A proxy; `authorization` is the value of its header, if it has a name and password. Never printed."""

    host: str
    port: int
    authorization: str | None = None

    def __repr__(self) -> str:
        return f"Proxy(host={self.host!r}, port={self.port})"


def find(url: Url, environ: Mapping[str, str] | None = None) -> Proxy | None:
    """The proxy for a URL, None for a direct connection. Raises InvalidArgument, Unsupported for a kind of proxy
    that is not HTTP."""
    env = os.environ if environ is None else environ
    name = f"{url.scheme}_proxy"
    text = env.get(name) or env.get(name.upper()) or env.get("all_proxy") or env.get("ALL_PROXY")
    if not text or urls.loopback(url.host) or _excepted(url, env.get("no_proxy") or env.get("NO_PROXY") or ""):
        return None
    return parse(text, name.upper())


def parse(text: str, name: str) -> Proxy:
    """`http://name:password@host:port`; the scheme may be left out."""
    scheme, colon, rest = text.partition("://")
    if not colon:
        scheme, rest = "http", text
    if scheme.lower() != "http":
        raise errors.Unsupported(f"{name}: a proxy of kind {scheme}: only http:// proxies are spoken to")
    user, at, authority = rest.partition("/")[0].rpartition("@")
    try:
        place = urls.parse(f"http://{authority}")
    except ValueError as error:
        raise errors.InvalidArgument(f"{name} is no address of a proxy: {error}") from None
    port = place.port if urls.split_port(authority)[1] else 80
    return Proxy(host=place.host, port=port, authorization=_basic(user) if at else None)


def _basic(user: str) -> str:
    import base64
    from urllib.parse import unquote

    return "Basic " + base64.b64encode(unquote(user).encode()).decode("ascii")


def _excepted(url: Url, listed: str) -> bool:
    return any(_matches(url, one.strip().lower()) for one in listed.split(",") if one.strip())


def _matches(url: Url, rule: str) -> bool:
    if rule == "*":
        return True
    if "/" in rule:
        return _inside(url.host, rule)
    # A bare IPv6 address has colons and no port; everything else may have one.
    host, port = (rule, "") if rule.count(":") > 1 and not rule.startswith("[") else urls.split_port(rule)
    if port and port != str(url.port):
        return False
    host = host.strip("[]").removeprefix("*")
    if host.startswith("."):
        return url.host.endswith(host)
    return url.host == host or url.host.endswith("." + host)


def _inside(host: str, network: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host) in ipaddress.ip_network(network, strict=False)
    except ValueError:
        return False
