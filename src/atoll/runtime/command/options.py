"""Options as runc takes them: `--name value`, `--name=value`, one dash or two, short names, anywhere or in front.

Holds: `parse`, `Given`. Pure. `argparse` would cost 9 ms of every start.
"""

from __future__ import annotations

from atoll.base import errors

TYPE_CHECKING = False

FLAG, TEXT, NUMBER, MANY = "flag", "text", "number", "many"


class Given:
    """What was given: values by option name, and the positional words."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.words: list[str] = []
        self._values: dict[str, list[str]] = {}

    def put(self, name: str, value: str) -> None:
        """Note one more value of an option."""
        self._values.setdefault(name, []).append(value)

    def has(self, name: str) -> bool:
        """Whether the option was given at all."""
        return name in self._values

    def flag(self, name: str) -> bool:
        """Whether a flag is on: given, and not as `=false`."""
        return self._values.get(name, ["false"])[-1] == "true"

    def text(self, name: str) -> str | None:
        """The value, None if it was not given; the last one wins."""
        values = self._values.get(name)
        return values[-1] if values else None

    def number(self, name: str) -> int | None:
        """The value as an integer. Raises InvalidArgument."""
        value = self.text(name)
        if value is None:
            return None
        try:
            return int(value)
        except ValueError:
            raise errors.InvalidArgument(f'invalid value "{value}" for flag -{name}: not a number') from None

    def many(self, name: str) -> list[str]:
        """Every value, in order."""
        return self._values.get(name, [])

    def one_word(self) -> str:
        """The only positional word. Raises InvalidArgument if there is none or more."""
        if len(self.words) != 1:
            raise errors.InvalidArgument(f'atoll-runtime: "{self.command}" requires exactly 1 argument(s)')
        return self.words[0]


def parse(
    command: str, argv: list[str], kinds: dict[str, str], short: dict[str, str], *, leading: bool = False
) -> Given:
    """Sort `argv` into options (by `kinds`, short names by `short`) and words.

    `leading`: options end at the first word, and what follows is another program's. Raises InvalidArgument for an
    option that is not known, with the nearest that is.
    """
    given = Given(command)
    index = 0
    while index < len(argv):
        word = argv[index]
        index += 1
        if word == "--":
            given.words += argv[index:]
            break
        if len(word) < 2 or word[0] != "-":
            if leading:
                given.words += argv[index - 1 :]
                break
            given.words.append(word)
            continue
        if _is_number(word):  # `kill ID -9` is a word
            given.words.append(word)
            continue
        name, equals, value = word.lstrip("-").partition("=")
        name = short.get(name, name)
        kind = kinds.get(name)
        if kind is None:
            raise _unknown(command, name, kinds)
        if kind == FLAG:
            given.put(name, _truth(name, value) if equals else "true")
            continue
        if not equals:
            if index == len(argv):
                raise errors.InvalidArgument(f"flag needs an argument: -{name}")
            value = argv[index]
            index += 1
        given.put(name, value)
    return given


def _is_number(word: str) -> bool:
    return word[1:].isdecimal() and word[1] != "-"


def _truth(name: str, value: str) -> str:
    if value.lower() in ("1", "t", "true"):
        return "true"
    if value.lower() in ("0", "f", "false"):
        return "false"
    raise errors.InvalidArgument(f'invalid boolean value "{value}" for -{name}')


def _unknown(command: str, name: str, kinds: dict[str, str]) -> errors.InvalidArgument:
    from atoll.base.suggest import nearest

    near = nearest(name, sorted(kinds))
    hint = f"did you mean --{near}?" if near else f"'atoll-runtime {command} --help' lists them"
    return errors.InvalidArgument(f"flag provided but not defined: -{name}", hint=hint)
