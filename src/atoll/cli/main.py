"""The entry of the command line: find the command, run it, turn errors into words and exit codes.

Holds: `main`, the dispatch, the table of exit codes. Does not hold: any command.
"""

from __future__ import annotations

import os
import sys

from atoll.base import errors, timing
from atoll.cli.commands import COMMANDS, find, module_of
from atoll.cli.options import UsageError, help_text, parse
from atoll.linux import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import ModuleType

# Docker's: 125 the engine's own failure (and any wrong flag), 126 and 127 as a shell's, 1 elsewhere.
USAGE = 125
ENGINE_OF_RUN = 125
ELSEWHERE = 1
EXIT_CODES: dict[str, int] = {
    "command-not-found": 127,
    "command-not-executable": 126,
    "cancelled": 130,
}
_RUNS = frozenset(("run", "create"))
_RUNS_ALL = ("pod ", "kube ")  # Podman's codes


def main(argv: list[str]) -> int:
    """Run one command line (without the program's name). Returns the exit code; prints errors itself."""
    timing.mark("python and first imports")
    words, debug = list(argv), False
    while words and words[0].startswith("-"):
        option = words.pop(0)
        if option in ("-D", "--debug"):
            debug = True
        elif option in ("-h", "--help"):
            return _print(_overview())
        elif option in ("-v", "--version"):
            from atoll import __version__

            return _print(f"Atoll version {__version__}\n")
        else:
            return _fail(UsageError(f"unknown flag: {option}", ""), USAGE)
    if not words or words == ["help"]:
        return _print(_overview())
    if words[0] == "help":
        words = [*words[1:], "--help"]
    name, rest = find(words)
    if name in COMMANDS:
        return _run(name, rest, debug=debug)
    return _no_such(name, rest)


def _no_such(name: str, rest: list[str]) -> int:
    from atoll.base import suggest
    from atoll.cli.commands import overview, subcommands

    seconds = subcommands(name)
    if seconds and (not rest or rest[0] in ("-h", "--help")):
        return _print(overview(name))
    known = [f"{name} {second}" for second in seconds] if seconds else list(COMMANDS)
    wrong = f"{name} {rest[0]}" if seconds else name
    guess = suggest.nearest(wrong, known)
    hint = f"did you mean 'atoll {guess}'?" if guess else f"see 'atoll {name + ' ' if seconds else ''}--help'"
    return _fail(errors.InvalidArgument(f"'{_safe(wrong)}' is not an atoll command", hint=hint), ELSEWHERE)


def _run(name: str, words: list[str], *, debug: bool) -> int:
    module = _load(module_of(name))
    fallback = ENGINE_OF_RUN if name in _RUNS or name.startswith(_RUNS_ALL) else ELSEWHERE
    try:
        signals.interruptible()  # from here on an interrupt undoes what was begun
        given = parse(module.COMMAND, words)
        if given.help:
            return _print(help_text(module.COMMAND))
        timing.mark("command line")
        code: int = module.main(given)
        _flush()
        timing.report()
        return code
    except UsageError as error:
        return _fail(error, USAGE)
    except errors.AtollError as error:
        return _fail(error, EXIT_CODES.get(error.kind, fallback), debug=debug)
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return _broken_pipe()
    except OSError as error:
        if debug:
            raise
        return _fail(errors.from_os_error(error, f"run 'atoll {name}'"), fallback)


def _load(module_name: str) -> ModuleType:
    __import__(f"atoll.cli.{module_name}")
    return sys.modules[f"atoll.cli.{module_name}"]


def _overview() -> str:
    from atoll.cli.commands import overview

    return overview()


def _print(text: str) -> int:
    sys.stdout.write(text)
    return 0


def _flush() -> None:
    sys.stdout.flush()
    sys.stderr.flush()


def _fail(error: errors.AtollError, code: int, *, debug: bool = False) -> int:
    if debug:
        import traceback

        traceback.print_exception(error)
    try:
        sys.stdout.flush()
        see = f"\nSee 'atoll {error.command} --help'." if isinstance(error, UsageError) and error.command else ""
        notes = "".join([f"\n  {_safe(note)}" for note in getattr(error, "__notes__", ())]) if debug else ""
        sys.stderr.write(f"atoll: {_safe(str(error))}{notes}{see}\n")
        sys.stderr.flush()
    except (OSError, ValueError):
        pass
    return code


def _broken_pipe() -> int:
    # The reader of our output has gone: say nothing more, also not when the streams are flushed at the end.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    return 141


def _safe(text: str) -> str:
    from atoll.cli.display import printable

    return printable(text, keep="\n\t")
