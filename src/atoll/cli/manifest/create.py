"""`atoll manifest create`: a list of manifests, one a platform, to be pushed under one name."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="manifest create",
    usage="manifest create [OPTIONS] LIST [MANIFEST...]",
    help="Make a manifest list of images at registries",
    flags=(
        Flag(name="amend", short="a", help="Add to a list that is there"),
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="insecure", help="As --tls-verify=false"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.manifests import create

    engine, (name, *members) = open_engine(), given.args
    chosen = options(engine, given, members[0] if members else name)
    made = create(engine, name, members, amend=given.on("amend"), options=chosen)
    sys.stdout.write(f"Created manifest list {made}\n")
    return 0
