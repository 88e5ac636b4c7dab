"""The table of commands: name, one line of help, and the module that holds it.

Holds: the table. Does not hold: flags (each command's module has its own `COMMAND`, so that starting one command
loads one). Help, and later completion and man pages, are made from this table and those.
"""

from __future__ import annotations

from atoll.base.value import Value


class Entry(Value):
    """One row: the module below `atoll.cli`, and what the overview says."""

    module: str
    help: str
    group: str = "Commands"


COMMANDS: dict[str, Entry] = {
    "run": Entry(module="run", help="Create and run a new container from an image"),
    "exec": Entry(module="exec", help="Execute a command in a running container"),
    "ps": Entry(module="ps", help="List containers"),
    "logs": Entry(module="logs", help="Show what a container has written"),
    "stop": Entry(module="stop", help="Stop one or more running containers"),
    "kill": Entry(module="kill", help="Send a signal to one or more running containers"),
    "rm": Entry(module="rm", help="Remove one or more containers"),
    "wait": Entry(module="wait", help="Wait until containers stop, then print their exit codes"),
    "inspect": Entry(module="inspect", help="Show all that is known of containers or images"),
    "pull": Entry(module="pull", help="Download an image from a registry", group="Images"),
    "images": Entry(module="images", help="List images", group="Images"),
    "rmi": Entry(module="rmi", help="Remove one or more images", group="Images"),
    "info": Entry(module="info", help="Tell what this host and this installation can do", group="System"),
    "version": Entry(module="version", help="Show version information", group="System"),
    "system": Entry(module="system", help="Check and repair the store: system check [--repair]", group="System"),
    "internal": Entry(module="internal", help="For Atoll's own processes", group=""),
}

# `container ls` and the like: Docker's longer spellings.
_CONTAINER = "run exec logs stop kill rm wait inspect".split()
SPELLINGS: dict[tuple[str, str], str] = {
    **{("container", verb): verb for verb in _CONTAINER},
    ("container", "ls"): "ps",
    ("container", "list"): "ps",
    ("container", "ps"): "ps",
    ("image", "ls"): "images",
    ("image", "list"): "images",
    ("image", "rm"): "rmi",
    ("image", "remove"): "rmi",
    ("image", "pull"): "pull",
    ("image", "inspect"): "inspect",
}


def overview() -> str:
    """What `atoll --help` prints."""
    lines = ["Usage:  atoll [OPTIONS] COMMAND", "", "A complete container stack: images, containers, isolation.", ""]
    for group in dict.fromkeys(entry.group for entry in COMMANDS.values() if entry.group):
        lines.append(f"{group}:")
        lines += [f"  {name:<10}{e.help}" for name, e in COMMANDS.items() if e.group == group]
        lines.append("")
    lines += [
        "Options:",
        "  -D, --debug     Show where an unexpected error came from",
        "  -h, --help      Show this help",
        "  -v, --version   Show the version",
        "",
        "Run 'atoll COMMAND --help' for more on a command.",
    ]
    return "\n".join(lines) + "\n"
