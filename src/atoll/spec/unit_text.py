"""The text of systemd's unit files: sections of assignments, words with quotes.

Holds: `Unit` (parse, change, write), `split_words`, `quoted`, `literal`. Does not hold: what the keys mean
(`quadlet.py`). Source: systemd.syntax(7); systemd.service(5), "Command lines".
"""

from __future__ import annotations

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

MOST_BYTES = 1 << 20
_ESCAPES = {"a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v", "s": " "}


class Unit:
    """Sections in their order, each a list of (key, value, line); a key may be there again."""

    def __init__(self) -> None:
        self.sections: dict[str, list[tuple[str, str, int]]] = {}

    @staticmethod
    def parse(text: str, name: str) -> Unit:
        """A file's text; a backslash at its end joins a line to the next, comments in between left out. Raises
        InvalidArgument with the line."""
        if len(text) > MOST_BYTES:
            raise errors.InvalidArgument(f"{name}: more than {MOST_BYTES >> 20} MiB")
        if "\0" in text:
            raise errors.InvalidArgument(f"{name}: a NUL character")
        unit = Unit()
        section: str | None = None
        for number, line in _joined(text):
            if line.startswith("["):
                if not line.endswith("]") or len(line) < 3:
                    raise errors.InvalidArgument(f"{name}:{number}: {line!r} is no section")
                section = line[1:-1]
                unit.sections.setdefault(section, [])
                continue
            key, equals, value = line.partition("=")
            if not equals or not key.strip():
                raise errors.InvalidArgument(f"{name}:{number}: {line!r}", hint="write KEY=VALUE")
            if section is None:
                raise errors.InvalidArgument(f"{name}:{number}: an assignment before any section")
            unit.sections[section].append((key.strip(), value.strip(), number))
        return unit

    def merge(self, other: Unit) -> None:
        """What a drop-in adds."""
        for section, lines in other.sections.items():
            self.sections.setdefault(section, []).extend(lines)

    def values(self, section: str, key: str) -> list[str]:
        """All values of a key in force: an empty one takes back those before it."""
        found: list[str] = []
        for name, value, _ in self.sections.get(section, ()):
            if name == key:
                found = [*found, value] if value else []
        return found

    def last(self, section: str, key: str) -> str | None:
        """The value in force of a key that has one; None if it is not given, or taken back."""
        found = self.values(section, key)
        return found[-1] if found else None

    def add(self, section: str, key: str, value: str) -> None:
        """One assignment more."""
        self.sections.setdefault(section, []).append((key, value, 0))

    def write(self) -> str:
        """The text."""
        blocks = []
        for section, lines in self.sections.items():
            blocks.append("\n".join([f"[{section}]", *[f"{key}={value}" for key, value, _ in lines]]))
        return "\n\n".join(blocks) + "\n"


def _joined(text: str) -> Iterable[tuple[int, str]]:
    """Logical lines with the number of their first."""
    waiting, first = "", 0
    # systemd ends a line at a carriage return, too, and at nothing else that Python's splitlines knows.
    for number, raw in enumerate(text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), 1):
        line = raw.strip()
        if line.startswith(("#", ";")) or (not line and not waiting):
            continue
        first = first or number
        if line.endswith("\\"):
            waiting += line[:-1].strip() + " "
            continue
        joined = (waiting + line).strip()
        if joined:
            yield first, joined
        waiting, first = "", 0
    if waiting.strip():
        yield first, waiting.strip()


def split_words(text: str, where: str) -> list[str]:
    """Words as systemd splits them: quotes hold spaces, C's escapes. Raises InvalidArgument for a quote that is not
    closed."""
    words: list[str] = []
    word, quote, started, at = "", "", False, 0
    while at < len(text):
        char = text[at]
        if char == "\\" and quote != "'" and at + 1 < len(text):
            taken, value = _escape(text, at)
            word, started, at = word + value, True, at + taken
            continue
        if quote:
            if char == quote:
                quote = ""
            else:
                word += char
        elif char in "\"'" and not word:
            quote, started = char, True
        elif char.isspace():
            if started:
                words.append(word)
            word, started = "", False
        else:
            word, started = word + char, True
        at += 1
    if quote:
        raise errors.InvalidArgument(f"{where}: a quote is not closed in {text!r}")
    return [*words, word] if started else words


def _escape(text: str, at: int) -> tuple[int, str]:
    """The length of an escape and what it stands for; one that is none is itself."""
    kind = text[at + 1]
    if kind in _ESCAPES:
        return 2, _ESCAPES[kind]
    digits = text[at + 2 : at + 4]
    if kind == "x" and len(digits) == 2 and all(c in "0123456789abcdefABCDEF" for c in digits) and int(digits, 16):
        return 4, chr(int(digits, 16))
    if kind in "\\\"' ":
        return 2, kind
    return 1, "\\"


def quoted(word: str) -> str:
    """A word of a command line in which `%` and `$` mean what systemd makes of them; quoted if need be."""
    if word and all(c.isalnum() or c in "-_./:=,@%+${}~^" for c in word):
        return word
    for special, written in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        word = word.replace(special, written)
    return f'"{word}"'


def literal(word: str) -> str:
    """A word as it is: `%` and `$` are nothing special."""
    return quoted(word.replace("%", "%%").replace("$", "$$"))


def truth(value: str, where: str) -> bool:
    """systemd's words for yes and no. Raises InvalidArgument."""
    word = value.lower()
    if word in ("1", "yes", "y", "true", "t", "on"):
        return True
    if word in ("0", "no", "n", "false", "f", "off"):
        return False
    raise errors.InvalidArgument(f"{where}: {value!r}", hint="true or false")
