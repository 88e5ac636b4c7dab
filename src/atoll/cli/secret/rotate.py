"""`atoll secret rotate`: seal all secrets anew, under a new key."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="secret rotate",
    usage="secret rotate [OPTIONS]",
    help="Seal all secrets anew under a new key; what a secret holds stays (that is 'create --replace')",
    flags=(Flag(name="key", kind=TEXT, help="What opens them from now on: file:PATH, keyring:NAME or prompt"),),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.secrets.manage import rotate

    count = rotate(open_engine(), given.text("key"))
    sys.stdout.write(f"{count} secret{'' if count == 1 else 's'} sealed anew\n")
    return 0
