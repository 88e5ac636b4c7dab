"""The flags of `run` and `create` about networks, but for the daily --network and -p.

Holds: `FLAGS`, and `read`, which gives the request's field. Does not hold: what they mean (`engine/networks`).
"""

from __future__ import annotations

from atoll.base import units
from atoll.cli.options import LIST, TEXT, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given

FLAGS = (
    Flag(name="add-host", kind=LIST, help="A line for /etc/hosts: NAME:ADDRESS, or NAME:host-gateway"),
    Flag(name="dns", kind=LIST, help="A name server to ask instead of the host's"),
    Flag(name="dns-option", kind=LIST, help="An option for /etc/resolv.conf"),
    Flag(name="dns-opt", kind=LIST, help="The same", hidden=True),
    Flag(name="dns-search", kind=LIST, help="A search domain"),
    Flag(name="egress", kind=LIST, help="What it may reach outside: none, deny-private, or allow=NAME|CIDR[:PORT],…"),
    Flag(name="expose", kind=LIST, help="A port that -P publishes, too"),
    Flag(name="ip", kind=TEXT, help="Its IPv4 address, e.g. 10.90.0.7"),
    Flag(name="ip6", kind=TEXT, help="Its IPv6 address"),
    Flag(name="mac-address", kind=TEXT, help="Its MAC address"),
    Flag(name="net", kind=LIST, help="The same as --network", hidden=True),
    Flag(name="net-alias", kind=LIST, help="The same as --network-alias", hidden=True),
    Flag(name="network-alias", kind=LIST, help="A further name for it on its network"),
    Flag(name="network-rate-in", kind=TEXT, what="bytes", help="Most bytes a second that it receives"),
    Flag(name="network-rate-out", kind=TEXT, what="bytes", help="Most bytes a second that it sends"),
    Flag(name="publish-all", short="P", help="Publish all exposed ports, on any free ports of the host"),
)


def read(given: Given) -> dict[str, Any]:
    """`networking`, if one of the flags was given, and `network` for --net. Raises InvalidArgument."""
    networks = (*given.texts("network"), *given.texts("net"))
    found: dict[str, Any] = {}
    if given.has("net") and not given.has("network"):
        found["network"] = networks[0]
    if not (given.has("publish") or len(networks) > 1 or any(given.has(flag.name) for flag in FLAGS)):
        return found
    from atoll.engine.networks.records import NetworkOptions

    options = NetworkOptions(
        publish=given.texts("publish"),
        publish_all=given.on("publish-all"),
        expose=given.texts("expose"),
        networks=networks[1:],
        aliases=(*given.texts("network-alias"), *given.texts("net-alias")),
        address=given.text("ip"),
        address6=given.text("ip6"),
        mac=given.text("mac-address"),
        dns=given.texts("dns"),
        dns_search=given.texts("dns-search"),
        dns_options=(*given.texts("dns-option"), *given.texts("dns-opt")),
        hosts=given.texts("add-host"),
        egress=given.texts("egress"),
        rate_in=_rate(given, "network-rate-in"),
        rate_out=_rate(given, "network-rate-out"),
    )
    return {**found, "networking": options}


def _rate(given: Given, name: str) -> int:
    text = given.text(name)
    return units.parse_size(text, f"value for --{name}") if text is not None else 0
