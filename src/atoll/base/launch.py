"""Starting Atoll lean, and starting it again from inside.

Holds: the one line that `bin/atoll` and every re-invocation hand to `python3 -SI -c`, `argv` that builds such a
command, `enter` that it ends in. Does not hold: what the commands do, the sealing of the interpreter.

`-S` leaves out `site` and `-I` the environment's and the user's settings: together more than half of a start
(docs/startup.md has the figures). So `sys.path` is the standard library and the one directory that Atoll lies in;
whatever else is asked for (a dependency elsewhere, an editable tree) brings `site` in late.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from atoll.base.pack import Pack

# An interrupt while the first modules load ends the process without a traceback; `cli.main` handles later ones.
# Arguments: DIRECTORY (that holds the package, or empty: ask `site`), MODULE (whose `main` is called), then its own.
BOOT = """\
import sys, _signal
if _signal.getsignal(2) is _signal.default_int_handler:
    _signal.signal(2, _signal.SIG_DFL)
directory = sys.argv.pop(1)
if directory:
    sys.path.append(directory)
try:
    from atoll.base.launch import enter
except ModuleNotFoundError:
    import site
    site.main()
    from atoll.base.launch import enter
enter(sys.argv.pop(1))"""

CLI = "atoll.cli.main"
COLD = CLI + ":cold"
"""The same, for a command that the door has declined or that is not for it (`cli/thin`)."""
RUNTIME = "atoll.runtime.main"
_PACKED = (["run"], ["pull"])
"""The commands that have a pack of their modules; the others read `run`'s and add nothing to it."""
_QUICK = frozenset((CLI, RUNTIME))
"""The commands with a `quick.py` beside their `main.py`: its `first` is called before anything else is loaded."""


def argv(*args: str, module: str = CLI, python: str | None = None) -> list[str]:
    """The command that runs this very Atoll with `args`: same interpreter, same package, without `site`.

    `module` is the module whose `main(argv) -> int` gets them. Element 0 is the path to execute.
    """
    return [python or sys.executable, "-SI", "-c", BOOT, directory(), module, *args]


def directory() -> str:
    """The directory that the running package was loaded from, absolute."""
    path = __file__
    if not path.startswith("/"):
        import os

        path = os.path.abspath(path)
    return path.removesuffix("/atoll/base/launch.py")


def enter(module: str) -> NoReturn:
    """Call `module.main(arguments)` and end the process with what it returns.

    Ends by `os._exit` after flushing: taking the interpreter apart costs 1-2 ms and nothing of Atoll relies on it.
    A SystemExit or an exception is left to the interpreter, so that its traceback is printed as ever.
    """
    if sys.flags.no_site:
        find_late()
    if module == COLD:
        module = CLI
    elif module in _QUICK:
        beside = module.removesuffix("main") + "quick"
        __import__(beside)
        sys.modules[beside].first(sys.argv[1:], argv(*sys.argv[1:], module=module))
    command = "runtime" if module == RUNTIME else sys.argv[1] if sys.argv[1:2] in _PACKED else "run"
    packed = _use_pack(command)
    sys.argv[0] = "atoll-runtime" if module == RUNTIME else "atoll"
    __import__(module)
    status = sys.modules[module].main(sys.argv[1:])
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the program closed it: nobody is left to tell
            pass
    if packed.missed and (module == RUNTIME or sys.argv[1:2] in _PACKED):
        keep_pack()
    import posix

    posix._exit(status)


def find_late() -> None:
    """Let an interpreter that was started without `site` find what pip installed, once something is missing."""
    sys.meta_path.append(_LateSite())


_packed: list[Pack] = []


def _use_pack(name: str) -> Pack:
    from atoll.base.pack import Pack

    packed = Pack(directory(), name)
    # After the built-in and frozen finders, before the path's.
    sys.meta_path.insert(2, packed)
    _packed.append(packed)
    return packed


def keep_pack() -> None:
    """Write what had to be looked for into the pack, so that the next start need not; where one is in use."""
    from atoll.base.pack import save

    for packed in _packed:
        save(packed)
        packed.missed.clear()


class _LateSite:
    """A last finder: the first module that cannot be found brings in `site`, and with it all that pip installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> Any:
        """Once, for a top-level name: run `site` and look again (importlib's protocol)."""
        if path is not None or self not in sys.meta_path:
            return None
        sys.meta_path.remove(self)
        import site
        from importlib.machinery import PathFinder

        site.main()
        return PathFinder.find_spec(name, None, target)
