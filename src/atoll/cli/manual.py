"""Manual pages, made of the tables that the help is made of.

Holds: `pages`, roff for man(7). Does not hold: where they are installed (`tools/man_pages.py` writes them).
"""

from __future__ import annotations

import sys

from atoll.cli.commands import COMMANDS, GROUPS, OWN, SPELLINGS, module_of
from atoll.cli.options import LIST, SWITCH, Command, Flag, all_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_EXIT = (
    ("0", "all went well"),
    ("1", "the request was refused or failed"),
    ("125", "the command line is wrong, or Atoll itself failed before the container's program began (run)"),
    ("126, 127", "the program cannot be run, or is not there (run, exec, start -a)"),
    ("130", "interrupted"),
    ("other", "of run, exec, attach and start -a: the program's own; 128 + n if signal n ended it"),
)
_FILES = (
    ("/etc/atoll/atoll.toml, ~/.config/atoll/atoll.toml", "settings"),
    ("/var/lib/atoll, $XDG_DATA_HOME/atoll", "images, containers, volumes"),
    ("/run/atoll, $XDG_RUNTIME_DIR/atoll", "what goes with the boot"),
)
_VARIABLES = (
    ("ATOLL_DATA_ROOT, ATOLL_RUN_ROOT, ATOLL_CONFIG", "other places than those"),
    ("NO_COLOR", "no colours; Atoll uses none of its own anyway"),
)


def pages() -> dict[str, str]:
    """File names (`atoll-run.1`) and their roff."""
    found = {"atoll.1": _overview()}
    for name in COMMANDS:
        if name not in OWN:
            found[f"atoll-{name.replace(' ', '-')}.1"] = _page(name)
    return found


def _page(name: str) -> str:
    module = f"atoll.cli.{module_of(name)}"
    __import__(module)
    command: Command = sys.modules[module].COMMAND
    title = f"atoll-{name.replace(' ', '-')}"
    others = [f"atoll {one}" for one, other in SPELLINGS.items() if other == name]
    first, _, more = command.help.partition("\n")
    lines = [*_head(title, COMMANDS[name]), ".SH SYNOPSIS"]
    for number, usage in enumerate(command.usage.split("\n")):
        lines += [*([".br"] if number else []), f".B {_text('atoll ' + usage.strip().removeprefix('atoll '))}"]
    lines += [".SH DESCRIPTION", *_paragraphs(first if first.endswith(".") else first + ".", more)]
    if others:
        lines += [".PP", _text(f"Also: {', '.join(others)}.")]
    flags = [flag for flag in all_flags(command) if not flag.hidden]
    if flags:
        lines += [".SH OPTIONS", *_definitions([(_flag(flag), flag.help) for flag in flags])]
    return "\n".join([*lines, ".SH EXIT STATUS", *_definitions(_EXIT), *_see_also()]) + "\n"


def _overview() -> str:
    lines = [*_head("atoll", "containers without a daemon"), ".SH SYNOPSIS", ".B atoll [OPTIONS] COMMAND [ARG...]"]
    lines += [".SH DESCRIPTION", "A complete container stack: images, containers, isolation; with Docker's words."]
    for group, commands in GROUPS.items():
        lines += [f".SS {_text(group)}", *_definitions([(f"atoll {name}", text) for name, text in commands.items()])]
    lines += [".SH FILES", *_definitions(_FILES), ".SH ENVIRONMENT", *_definitions(_VARIABLES)]
    return "\n".join([*lines, ".SH EXIT STATUS", *_definitions(_EXIT)]) + "\n"


def _head(title: str, text: str) -> list[str]:
    from atoll import __version__

    return [
        f'.TH "{title.upper()}" 1 "" "Atoll {__version__}" "Atoll"',
        ".SH NAME",
        f"{_text(title)} \\- {_text(text)}",
    ]


def _see_also() -> list[str]:
    return [".SH SEE ALSO", ".BR atoll (1)"]


def _flag(flag: Flag) -> str:
    short = f"-{flag.short}, " if flag.short else ""
    what = "" if flag.kind == SWITCH else f" {'list' if flag.kind == LIST else flag.what}"
    return f"{short}--{flag.name}{what}"


def _definitions(rows: Iterable[tuple[str, str]]) -> list[str]:
    lines: list[str] = []
    for term, text in rows:
        lines += [".TP", f".B {_text(term)}", _text(text)]
    return lines


def _paragraphs(first: str, more: str) -> list[str]:
    lines = [_text(first)]
    for line in more.splitlines():
        lines += [".br", _text(line.strip())]
    return lines


def _text(text: str) -> str:
    """Text that roff takes as it stands: a hyphen is a minus, a leading dot or quote is no request,
    what is not ASCII has its number."""
    shown = text.replace("\\", "\\e").replace("-", "\\-")
    shown = "".join([c if c.isascii() else f"\\[u{ord(c):04X}]" for c in shown])
    return "\\&" + shown if shown[:1] in (".", "'") else shown
