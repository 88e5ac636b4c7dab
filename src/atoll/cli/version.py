"""`atoll version`."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="version",
    usage="version [OPTIONS]",
    help="Show version information",
    flags=(Flag(name="format", short="f", kind=TEXT, help="json, or a Go template"),),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.document import show
    from atoll.cli.wiring import open_engine

    document = open_engine().version()
    style = given.text("format")
    if style is not None:
        sys.stdout.write(show(document, style))
        return 0
    client = document["Client"]
    lines = ["Client: Atoll"]
    for key, label in (
        ("Version", "Version"),
        ("PythonVersion", "Python version"),
        ("OciVersion", "OCI runtime-spec"),
    ):
        if key in client:
            lines.append(f" {label + ':':<18}{client[key]}")
    lines.append(f" {'OS/Arch:':<18}{client['Os']}/{client['Arch']}")
    lines.append(f" {'Kernel:':<18}{client['KernelVersion']}")
    sys.stdout.write("\n".join(lines) + "\n")
    return 0
