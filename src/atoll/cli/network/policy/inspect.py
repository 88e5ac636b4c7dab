"""`atoll network policy inspect`: policies as documents, and whom they select now."""

from __future__ import annotations

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="network policy inspect",
    usage="network policy inspect [OPTIONS] NETWORK/NAME [NETWORK/NAME...]",
    help="Show policies between containers, and whom they are about now",
    flags=(Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"),),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.inspecting import inspect_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.networks.netpolicies import inspect

    engine = open_engine()
    return inspect_each(given.args, lambda name: inspect(engine, *split(name)), given.text("format"))


def split(name: str) -> tuple[str, str]:
    """NETWORK/NAME. Raises InvalidArgument."""
    network, slash, policy = name.rpartition("/")
    if not slash or not network or not policy:
        raise errors.InvalidArgument(f"invalid policy name: {name!r}", hint="write NETWORK/NAME")
    return network, policy
