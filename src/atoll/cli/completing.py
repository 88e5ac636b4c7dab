"""What may come next on a command line, for the shells' completion.

Holds: `candidates` and what it asks the engine for. Does not hold: the shells' scripts (`completion.py`). Commands
and flags come from the same tables as the help; what an argument is, from the words of the usage line.
"""

from __future__ import annotations

import sys

from atoll.cli.commands import COMMANDS, OWN, SPELLINGS, find, module_of, subcommands
from atoll.cli.options import SWITCH, Command, Flag, all_flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.engine import Engine

    Words = list[tuple[str, str]]

FILES = ":files"
"""Stands for "names of files": the shell knows best."""
_GLOBAL = (("--debug", "Show where an unexpected error came from"), ("--help", "Show help"), ("--version", "Version"))
_VALUES: dict[str, tuple[str, ...]] = {
    "restart": ("no", "always", "unless-stopped", "on-failure"),
    "pull": ("missing", "always", "never"),
    "network": ("none", "host"),
    "signal": ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM"),
    "stop-signal": ("HUP", "INT", "QUIT", "KILL", "USR1", "USR2", "TERM"),
    "format": ("json", "table"),
    "isolation": ("container",),
    "log-driver": ("json-file", "k8s-file", "journald", "none"),
    "type": ("container", "image", "volume", "network"),
    "condition": ("not-running", "next-exit", "removed", "running", "paused", "created"),
}
_UP = frozenset(("attach", "exec", "kill", "pause", "port", "restart", "stats", "stop", "top"))


def candidates(words: list[str]) -> Words:
    """(word, what it is) for the last of `words`, which may be empty; those before it are complete. A word `FILES`
    asks for names of files. Never raises for what is on the line."""
    *before, prefix = words or [""]
    while before and before[0].startswith("-"):
        before = before[1:]
    return [one for one in _all(before, prefix) if one[0] == FILES or one[0].startswith(prefix)]


def _all(before: list[str], prefix: str) -> Words:
    if not before:
        return list(_GLOBAL) if prefix.startswith("-") else _first_words()
    if len(before) == 1 and subcommands(before[0]) and before[0] not in COMMANDS:
        return _second_words(before[0])
    name, rest = find(before)
    if name not in COMMANDS:
        return []
    command = _load(name)
    flags = all_flags(command)
    if command.stops and _positional(flags, rest):
        return [(FILES, "")]
    waiting = _waits_for_value(flags, rest)
    if waiting is not None:
        return _values(waiting)
    if prefix.startswith("-"):
        return [(f"--{flag.name}", flag.help) for flag in flags if not flag.hidden] + [("--help", "Show help")]
    return _arguments(name, command, len(_positional(flags, rest)))


def _load(name: str) -> Command:
    module = f"atoll.cli.{module_of(name)}"
    __import__(module)
    command: Command = sys.modules[module].COMMAND
    return command


def _first_words() -> Words:
    found = {name: text for name, text in COMMANDS.items() if " " not in name and name not in OWN}
    nouns = {name.partition(" ")[0] for name in (*COMMANDS, *SPELLINGS) if " " in name}
    for noun in nouns - found.keys():
        found[noun] = f"Commands: {', '.join(subcommands(noun))}"
    return sorted(found.items())


def _second_words(noun: str) -> Words:
    return [(second, COMMANDS[find([noun, second])[0]]) for second in subcommands(noun)]


def _flag(flags: tuple[Flag, ...], word: str) -> Flag | None:
    """The flag that a word ends with and whose value may be the next word."""
    if word.startswith("--"):
        return next((flag for flag in flags if word == f"--{flag.name}"), None)
    if word.startswith("-") and len(word) > 1:
        return next((flag for flag in flags if flag.short == word[-1]), None)
    return None


def _waits_for_value(flags: tuple[Flag, ...], rest: list[str]) -> Flag | None:
    flag = _flag(flags, rest[-1]) if rest else None
    return flag if flag is not None and flag.kind != SWITCH else None


def _positional(flags: tuple[Flag, ...], rest: list[str]) -> list[str]:
    found, skip = [], False
    for word in rest:
        if skip:
            skip = False
        elif word.startswith("-") and word != "-":
            flag = _flag(flags, word)
            skip = flag is not None and flag.kind != SWITCH
        else:
            found.append(word)
    return found


def _values(flag: Flag) -> Words:
    known = [(value, "") for value in _VALUES.get(flag.name, ())]
    if flag.name in ("volumes-from",):
        return _ask(_containers)
    return known or [(FILES, "")]


def _arguments(name: str, command: Command, given: int) -> Words:
    """By the usage line's words in capitals: `CONTAINER`, `IMAGE`, `VOLUME`, …; the last one stands for all after."""
    line = command.usage.split("\n")[0].removeprefix(name)
    kinds = [word.strip("[].|") for word in line.split() if word.strip("[].|") not in ("", "OPTIONS")]
    if not kinds:
        return []
    kind = kinds[min(given, len(kinds) - 1)]
    found: Words = []
    for word, ask in _SOURCES.items():
        if word in kind or (word == "CONTAINER" and kind == "NAME|ID") or (word == "IMAGE" and kind == "NAME|ID"):
            found += _ask(ask, up=name in _UP)
    return found or [(FILES, "")]


def _ask(source: Callable[[Engine, bool], Words], *, up: bool = False) -> Words:
    from atoll.base import errors
    from atoll.cli.wiring import open_engine

    try:
        return source(open_engine(), up)
    except errors.AtollError:
        return []


def _containers(engine: Engine, up: bool = False) -> Words:
    from atoll.engine.containers.list import list_containers

    return [(view.name, f"{view.image}, {view.state}") for view in list_containers(engine, all=not up)]


def _images(engine: Engine, up: bool) -> Words:
    return [(f"{view.repository}:{view.tag}", view.id[7:19]) for view in engine.images() if view.repository]


def _volumes(engine: Engine, up: bool) -> Words:
    import os

    try:
        return [(name, "") for name in sorted(os.listdir(engine.paths.volumes))]
    except OSError:
        return []


def _networks(engine: Engine, up: bool) -> Words:
    from atoll.engine.networks.inspect import listed

    return [(str(one["Name"]), str(one.get("Driver", ""))) for one in listed(engine)]


def _pods(engine: Engine, up: bool) -> Words:
    from atoll.engine.pods import rows

    return [(row.name, "pod") for row in rows.every(engine.store)]


_SOURCES: dict[str, Callable[[Engine, bool], Words]] = {
    "CONTAINER": _containers,
    "IMAGE": _images,
    "VOLUME": _volumes,
    "NETWORK": _networks,
    "POD": _pods,
}
