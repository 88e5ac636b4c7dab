"""`atoll network policy ls`: list policies between containers."""

from __future__ import annotations

import sys

from atoll.cli import display
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network policy ls",
    usage="network policy ls [OPTIONS] [NETWORK]",
    help="List policies between containers",
    flags=(
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="quiet", short="q", help="Only NETWORK/NAME"),
    ),
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks import netpolicies, rows

    engine = open_engine()
    network = rows.find(engine.store, given.args[0]).id if given.args else None
    found = [
        {
            "Network": one.policy.network,
            "Name": one.policy.name,
            "Directions": ",".join([word for word, rules in (("in", one.policy.ingress), ("out", one.policy.egress))
                                    if rules is not None]),
            "Selects": netpolicies.words_of(one.policy.selector),
        }
        for one in netpolicies.known(engine, network)
    ]  # fmt: skip
    if given.on("quiet"):
        sys.stdout.write("".join([f"{one['Network']}/{one['Name']}\n" for one in found]))
        return 0
    columns = ("Network", "Name", "Directions", "Selects")
    headings = {"Directions": "CLOSES", "Selects": "WHOM"}
    sys.stdout.write(display.listed(given.text("format"), found, columns, headings))
    return 0
