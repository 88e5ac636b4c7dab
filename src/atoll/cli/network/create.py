"""`atoll network create`: make a network."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network create",
    usage="network create [OPTIONS] NETWORK",
    help="Create a network",
    flags=(
        Flag(name="attachable", help="As in Docker; every network here is", hidden=True),
        Flag(name="aux-address", kind=LIST, help="An address that no container gets: NAME=ADDRESS"),
        Flag(name="disable-dns", help="Containers on it do not know one another by name"),
        Flag(name="driver", short="d", kind=TEXT, help="bridge or macvlan"),
        Flag(name="gateway", kind=LIST, help="The subnet's gateway, i.e. this host's address in it"),
        Flag(name="internal", help="No way out of it, and none in"),
        Flag(name="ip-range", kind=LIST, help="The part of the subnet that containers get addresses from"),
        Flag(name="ipam-driver", kind=TEXT, help="There is 'default'", hidden=True),
        Flag(name="ipv6", help="Addresses of IPv6, too"),
        Flag(name="label", kind=LIST, help="Set a label"),
        Flag(name="opt", short="o", kind=LIST, help="Of the driver: mtu=…, parent=…, macvlan_mode=…"),
        Flag(name="subnet", kind=LIST, help="A subnet, e.g. 10.90.0.0/24 or fd00:90::/64"),
    ),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.volume.create import pairs
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.create import CreateRequest, create

    if given.text("ipam-driver") not in (None, "default", "host-local"):
        raise errors.NotFound(f'plugin "{given.text("ipam-driver")}" not found', hint="the IPAM driver is 'default'")
    request = CreateRequest(
        name=given.args[0],
        driver=given.text("driver") or "bridge",
        subnets=given.texts("subnet"),
        gateways=given.texts("gateway"),
        ranges=given.texts("ip-range"),
        reserved=pairs(given.texts("aux-address")),
        internal=given.on("internal"),
        ipv6=given.on("ipv6"),
        names=not given.on("disable-dns"),
        labels=pairs(given.texts("label")),
        options=pairs(given.texts("opt")),
    )
    sys.stdout.write(create(open_engine(), request) + "\n")
    return 0
