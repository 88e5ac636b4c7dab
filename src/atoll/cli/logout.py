"""`atoll logout`: forget the credentials for a registry."""

from __future__ import annotations

import sys

from atoll.cli.options import Command

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="logout",
    usage="logout [SERVER]",
    help="Log out from a registry (without SERVER: Docker Hub)",
    least=0,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.login import host_of, logout

    host = host_of(given.args[0] if given.args else None)
    there, others = logout(open_engine(), host)
    sys.stdout.write(f"Removing login credentials for {host}\n" if there else f"Not logged in to {host}\n")
    for path in others:
        sys.stderr.write(f"{path} still has credentials for {host}, of another tool\n")
    return 0
