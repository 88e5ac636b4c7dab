"""`atoll vm kernel install`: the kernel that virtual machines boot, from a file."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="vm kernel install",
    usage="vm kernel install --from FILE [OPTIONS]",
    help="Install the kernel that virtual machines boot",
    flags=(
        Flag(
            name="from",
            kind=TEXT,
            help="A vmlinux or bzImage, a .deb with one, libkrunfw, or the wheel of 'microsandbox'",
        ),
        Flag(name="digest", kind=TEXT, help="The SHA-256 that the kernel must have"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.vm.kernel import install

    source = given.text("from")
    if not source:
        raise UsageError("say where the kernel is: --from FILE", given.command.name)
    kernel = install(open_engine(), source, digest=given.text("digest"))
    sys.stdout.write(f"sha256:{kernel.digest}\n")
    return 0
