"""`atoll volume create`: make a volume."""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.cli.options import LIST, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="volume create",
    usage="volume create [OPTIONS] [VOLUME]",
    help="Create a volume",
    flags=(
        Flag(name="driver", short="d", kind=TEXT, help="There is 'local'"),
        Flag(name="label", kind=LIST, help="Set a label"),
        Flag(name="opt", short="o", kind=LIST, help="Of the driver: type=…, device=…, o=…, or size=BYTES"),
    ),
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.volumes.create import create

    name = create(
        open_engine(),
        given.args[0] if given.args else None,
        driver=given.text("driver") or "local",
        labels=pairs(given.texts("label")),
        options=pairs(given.texts("opt")),
    )
    sys.stdout.write(name + "\n")
    return 0


def pairs(entries: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    """`key=value` entries, the later over the earlier. Raises InvalidArgument for one without a name."""
    found = {}
    for entry in entries:
        key, _, value = entry.partition("=")
        if not key:
            raise errors.InvalidArgument(f"invalid argument {entry!r}", hint="write KEY=VALUE")
        found[key] = value
    return tuple(found.items())
