"""`atoll kube down`: remove what 'kube play' made of documents."""

from __future__ import annotations

import sys

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="kube down",
    usage="kube down [OPTIONS] FILE|-",
    help="Remove the pods and secrets that 'kube play' made of documents",
    flags=(Flag(name="force", help="Remove the volumes of claims, too"),),
    least=1,
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    return take_down(given, force=given.on("force"))


def take_down(given: Given, *, force: bool) -> int:
    """Remove, and say what."""
    from atoll.cli.kube.play import content
    from atoll.cli.wiring import open_engine
    from atoll.engine.kube.down import down

    name, data = content(given.args[0])
    gone = down(open_engine(), name, data, force=force)
    blocks = (
        ("Pods stopped:", gone.stopped),
        ("Pods removed:", gone.removed),
        ("Secrets removed:", gone.secrets),
        ("Volumes removed:", gone.volumes),
    )
    for heading, names in blocks:
        sys.stdout.write("".join([line + "\n" for line in (heading, *names)]))
    return 0
