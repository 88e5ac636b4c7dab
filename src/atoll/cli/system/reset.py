"""`atoll system reset`: remove everything."""

from __future__ import annotations

import sys

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="system reset",
    usage="system reset [OPTIONS]",
    help="Remove all containers, networks, volumes, secrets and images",
    flags=(Flag(name="force", short="f", help="Do not ask"),),
)

_WARNING = """This will remove:
  - all containers, running ones too
  - all networks
  - all volumes, with what is in them
  - all secrets
  - all images
  - whatever else lies in {data} and {run}
"""


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.confirm import confirmed
    from atoll.cli.wiring import open_engine
    from atoll.engine.system.reset import reset

    engine = open_engine()
    if not given.on("force") and not confirmed(_WARNING.format(data=engine.paths.data, run=engine.paths.run)):
        return 1
    gone = reset(engine)
    sys.stdout.write(
        f"Removed {gone.containers} containers, {gone.networks} networks, {gone.volumes} volumes, "
        f"{gone.secrets} secrets and {gone.images} images\n"
    )
    return 0
