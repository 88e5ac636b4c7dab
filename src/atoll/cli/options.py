"""Flags as Docker's users type them.

Holds: `Flag`, `Command`, `Given`, and the parser. Does not hold: which commands there are (`commands.py`).
Long flags take `--flag value` and `--flag=value`, switches also `--flag=false`; short ones can be bundled (`-it`) and
carry their value (`-eKEY=1`, `-e KEY=1`). `--` ends them. The `argparse` module would take 9 ms of every start.
"""

from __future__ import annotations

import sys

from atoll.base import errors
from atoll.base.value import Value

SWITCH, TEXT, LIST, NUMBER = "switch", "text", "list", "number"


class Flag(Value):
    """One flag. `what` is its value's name in the help; `kind` one of SWITCH, TEXT, LIST (may be given again),
    NUMBER (a whole number)."""

    name: str
    help: str
    kind: str = SWITCH
    short: str | None = None
    what: str = "string"
    hidden: bool = False


class Command(Value):
    """A command: what it takes and says of itself. With `stops` the flags end at the first argument (`run`). `rare`
    names a module of `cli` whose `FLAGS` are read when one of them is given; `all_flags` has all."""

    name: str
    usage: str
    help: str
    flags: tuple[Flag, ...] = ()
    rare: str | None = None
    least: int = 0
    most: int | None = 0
    stops: bool = False
    aliases: tuple[str, ...] = ()


class UsageError(errors.InvalidArgument):
    """The command line itself is wrong; the door says where the help is."""

    def __init__(self, message: str, command: str, *, hint: str | None = None) -> None:
        super().__init__(message, hint=hint)
        self.command = command


class Given:
    """What was given: flags by their long name, and arguments."""

    def __init__(self, command: Command) -> None:
        self.command = command
        self.args: list[str] = []
        self.help = False
        self.rare = False  # whether one of the command's rare flags may have been given
        self._values: dict[str, object] = {}

    def has(self, name: str) -> bool:
        """Whether the flag was given at all."""
        return name in self._values

    def on(self, name: str) -> bool:
        """A switch."""
        return self._values.get(name) is True

    def text(self, name: str) -> str | None:
        """A text, None if not given."""
        value = self._values.get(name)
        return value if isinstance(value, str) else None

    def number(self, name: str) -> int | None:
        """A whole number, None if not given."""
        value = self._values.get(name)
        return value if isinstance(value, int) else None

    def texts(self, name: str) -> tuple[str, ...]:
        """All values of a flag that may be given again."""
        value = self._values.get(name)
        return tuple(value) if isinstance(value, list) else ()

    def words(self, *without: str) -> tuple[str, ...]:
        """What was given, but for some flags, in words that mean the same."""
        found: list[str] = []
        for name, value in self._values.items():
            if name in without:
                continue
            if value is True or value is False:
                found.append(f"--{name}" if value else f"--{name}=false")
            else:
                found += [f"--{name}={one}" for one in (value if isinstance(value, list) else (value,))]
        return (*found, "--", *self.args)

    def put(self, flag: Flag, value: str | None) -> None:
        """Record one occurrence. Raises UsageError for a value of the wrong kind."""
        shown = f"--{flag.name}"
        if flag.kind == SWITCH:
            known = {None: True, "true": True, "1": True, "false": False, "0": False}
            if value not in known:
                raise UsageError(f"invalid value {value!r} for {shown}: true or false", self.command.name)
            self._values[flag.name] = known[value]
            return
        if value is None:
            raise UsageError(f"flag needs an argument: {shown}", self.command.name)
        if flag.kind == LIST:
            found = self._values.setdefault(flag.name, [])
            assert isinstance(found, list)
            found.append(value)
        elif flag.kind == NUMBER:
            try:
                self._values[flag.name] = int(value)
            except ValueError:
                raise UsageError(
                    f"invalid argument {value!r} for {shown}: a whole number", self.command.name
                ) from None
        else:
            self._values[flag.name] = value


def parse(command: Command, words: list[str]) -> Given:
    """The flags and arguments of a command. Raises UsageError, with a guess for an unknown flag."""
    given = Given(command)
    known = _Known(given)
    at = 0
    while at < len(words):
        word = words[at]
        at += 1
        if word == "--":
            given.args.extend(words[at:])
            break
        if not word.startswith("-") or word == "-":
            given.args.append(word)
            if command.stops:
                given.args.extend(words[at:])
                break
            continue
        if word == "--help" or (word == "-h" and "h" not in known.short):
            given.help = True
            return given
        at = _long(given, known, word, words, at) if word.startswith("--") else _short(given, known, word, words, at)
    _check_count(command, len(given.args))
    return given


def all_flags(command: Command) -> tuple[Flag, ...]:
    """Every flag of a command, the rare ones too, by name."""
    if command.rare is None:
        return command.flags
    __import__(f"atoll.cli.{command.rare}")
    further: tuple[Flag, ...] = sys.modules[f"atoll.cli.{command.rare}"].FLAGS
    return tuple(sorted((*command.flags, *further), key=lambda flag: flag.name))


class _Known:
    """The flags by their names; the rare ones only once a name is not found."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._take(given.command.flags)

    def _take(self, flags: tuple[Flag, ...]) -> None:
        self.long = {flag.name: flag for flag in flags}
        self.short = {flag.short: flag for flag in flags if flag.short is not None}

    def _all(self) -> bool:
        given = self._given
        if given.rare or given.command.rare is None:
            return False
        given.rare = True
        self._take(all_flags(given.command))
        return True

    def named(self, name: str) -> Flag | None:
        found = self.long.get(name)
        return found if found is not None or not self._all() else self.long.get(name)

    def lettered(self, letter: str) -> Flag | None:
        found = self.short.get(letter)
        return found if found is not None or not self._all() else self.short.get(letter)


def _long(given: Given, known: _Known, word: str, words: list[str], at: int) -> int:
    name, equals, value = word[2:].partition("=")
    flag = known.named(name)
    if flag is None:
        raise _unknown(given.command, f"--{name}", [f"--{one}" for one in known.long])
    if equals:
        given.put(flag, value)
    elif flag.kind == SWITCH:
        given.put(flag, None)
    else:
        given.put(flag, words[at] if at < len(words) else None)
        at += 1
    return at


def _short(given: Given, known: _Known, word: str, words: list[str], at: int) -> int:
    rest = word[1:]
    while rest:
        letter, rest = rest[0], rest[1:]
        flag = known.lettered(letter)
        if flag is None:
            raise _unknown(given.command, f"-{letter}", [f"-{one}" for one in known.short], inside=word)
        if flag.kind == SWITCH:
            given.put(flag, None)
            continue
        if rest:
            given.put(flag, rest.removeprefix("="))
            return at
        given.put(flag, words[at] if at < len(words) else None)
        return at + 1
    return at


def _unknown(command: Command, word: str, known: list[str], *, inside: str | None = None) -> UsageError:
    from atoll.base import suggest

    guess = suggest.nearest(word, known) if word.startswith("--") else None
    where = f" in {inside}" if inside and inside != word else ""
    kind = "flag" if word.startswith("--") else "shorthand flag"
    return UsageError(
        f"unknown {kind}: {word}{where}", command.name, hint=f"did you mean {guess}?" if guess else None
    )


def _check_count(command: Command, count: int) -> None:
    if count < command.least or (command.most is not None and count > command.most):
        if command.most == 0:
            need = "no arguments"
        elif command.most is None:
            need = f"at least {command.least} argument{'s' if command.least > 1 else ''}"
        elif command.least == command.most:
            need = f"exactly {command.least} argument{'s' if command.least > 1 else ''}"
        else:
            need = f"{command.least} to {command.most} arguments"
        raise UsageError(f"'atoll {command.name}' takes {need}, {count} given", command.name)


def help_text(command: Command) -> str:
    """The page that `--help` prints."""
    lines = [f"Usage:  atoll {command.usage}", "", command.help, ""]
    if command.aliases:
        lines += ["Aliases:", "  " + ", ".join([f"atoll {one}" for one in (command.name, *command.aliases)]), ""]
    shown = [flag for flag in all_flags(command) if not flag.hidden]
    if shown:
        lines.append("Options:")
        left = [_left(flag) for flag in shown]
        width = max(map(len, left)) + 3
        lines += [f"  {one:<{width}}{flag.help}" for one, flag in zip(left, shown, strict=True)]
    return "\n".join(lines).rstrip() + "\n"


def _left(flag: Flag) -> str:
    head = f"-{flag.short}, " if flag.short else "    "
    what = "" if flag.kind == SWITCH else f" {'list' if flag.kind == LIST else flag.what}"
    return f"{head}--{flag.name}{what}"
