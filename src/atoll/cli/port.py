"""`atoll port`: where a container's ports are published."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given

COMMAND = Command(
    name="port",
    usage="port CONTAINER [PRIVATE_PORT[/PROTO]]",
    help="Show where a container's ports are published",
    flags=(Flag(name="explain", help="Say who can reach each port, and by which rule"),),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    if given.on("explain"):
        from atoll.engine.networks.inspect import explain

        sys.stdout.write("".join([line + "\n" for line in explain(open_engine(), given.args[0])]))
        return 0
    found: dict[str, Any] = open_engine().inspect_container(given.args[0])["NetworkSettings"]["Ports"] or {}
    if len(given.args) == 1:
        for port in sorted(found, key=_by_number):
            sys.stdout.write("".join([f"{port} -> {_address(one)}\n" for one in found[port] or ()]))
        return 0
    wanted, _, protocol = given.args[1].partition("/")
    if not wanted.isdecimal() or not 0 < int(wanted) < 65536:
        raise errors.InvalidArgument(f"Invalid port: {given.args[1]}", hint="write e.g. 80 or 53/udp")
    port = f"{int(wanted)}/{protocol or 'tcp'}"
    if not found.get(port):
        raise errors.NotFound(f"No public port '{port}' published for {given.args[0]}")
    sys.stdout.write("".join([_address(one) + "\n" for one in found[port]]))
    return 0


def _by_number(port: str) -> tuple[int, str]:
    number, _, protocol = port.partition("/")
    return int(number), protocol


def _address(binding: dict[str, str]) -> str:
    address, port = binding["HostIp"], binding["HostPort"]
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
