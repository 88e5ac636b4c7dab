"""`atoll manifest inspect`: a manifest list made here, or what a registry has under a name."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="manifest inspect",
    usage="manifest inspect [OPTIONS] [LIST] MANIFEST",
    help="Show a manifest or manifest list",
    flags=(
        Flag(name="creds", kind=TEXT, what="name:password", help="Credentials instead of those kept by login"),
        Flag(name="insecure", help="As --tls-verify=false"),
        Flag(name="tls-verify", help="false: plain HTTP and unverified TLS are allowed this once"),
    ),
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import jsontext
    from atoll.cli.registry_flags import options
    from atoll.cli.wiring import open_engine
    from atoll.engine.images.manifests import inspect

    engine, name = open_engine(), given.args[-1]
    sys.stdout.write(jsontext.pretty(inspect(engine, name, options(engine, given, name))) + "\n")
    return 0
