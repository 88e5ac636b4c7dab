"""The command `atoll-runtime`: an OCI runtime with runc's command line.

Holds: `main`: global options, the table of verbs, sealing, errors and exit codes. Does not hold: the verbs
(`command/`). Start reading at `main`.

Sealing (CVE-2019-5736): the verbs that fork a process into a container are executed again from an interpreter on a
read-only mount. `quick.py` has done that before this module is loaded, or `seal.py` does it here, with words for what
goes wrong, and for an ordinary user.
"""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.runtime import quick

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.runtime.command.context import Context
    from atoll.runtime.command.report import Log

# verb: (module below `command`, function, what its usage line names, what it does)
VERBS = {
    "create": ("make", "create", "CONTAINER-ID", "make a container that waits for start"),
    "start": ("life", "start", "CONTAINER-ID", "run the program of a created container"),
    "run": (
        "make",
        "run",
        "CONTAINER-ID",
        "create and start a container; without --detach wait for its end and remove it",
    ),
    "state": ("look", "state_", "CONTAINER-ID", "print the state of a container as JSON"),
    "kill": ("life", "kill", "CONTAINER-ID [SIGNAL]", "send a signal (default: TERM) to a container"),
    "delete": ("life", "delete", "CONTAINER-ID", "remove a stopped container"),
    "exec": ("enter", "exec_", "CONTAINER-ID COMMAND [ARGUMENT...]", "run a further program in a running container"),
    "ps": ("look", "ps", "CONTAINER-ID [PS-OPTION...]", "show the processes of a container"),
    "list": ("look", "list_", "", "show the containers below the root"),
    "pause": ("life", "pause", "CONTAINER-ID", "freeze all processes of a container"),
    "resume": ("life", "resume", "CONTAINER-ID", "let a paused container go on"),
    "update": ("update", "update", "CONTAINER-ID", "change the limits of a container"),
    "events": ("events", "events", "CONTAINER-ID", "print statistics and out-of-memory events of a container"),
    "spec": ("template", "spec", "", "write a config.json to start from"),
    "features": ("features", "features", "", "print what this runtime supports as JSON"),
    "checkpoint": ("checkpoint", "checkpoint", "CONTAINER-ID", "save a running container by CRIU"),
    "restore": ("checkpoint", "restore", "CONTAINER-ID", "bring a saved container back"),
}
GLOBAL = {
    "root": "text",
    "log": "text",
    "log-format": "text",
    "criu": "text",
    "rootless": "text",
    "systemd-cgroup": "flag",
    "debug": "flag",
    "help": "flag",
    "version": "flag",
}
_SHORT = {"h": "help", "v": "version"}
_FAILED_TO_EXEC = 255


def main(argv: list[str]) -> int:
    """Run one command; its exit code (1 for an error, 255 for one of exec, otherwise what the verb returns)."""
    if quick.verb_of(argv) in quick.FORKING and not quick.is_sealed():
        try:
            _seal(argv)
        except errors.AtollError as error:
            _complain(_log_of(argv), argv, error)
            return 1
    from atoll.runtime.command.report import Log

    log = Log()
    verb = ""
    try:
        from atoll.runtime.command.options import parse

        given = parse("", argv, GLOBAL, _SHORT, leading=True)
        log = Log(given.text("log"), given.text("log-format") or "text", debug=given.flag("debug"))
        if given.flag("version"):
            return _say_version()
        if given.flag("help") or not given.words or given.words[0] in ("help", "h"):
            return _help(given.words[1:] if given.words else [])
        verb, *rest = given.words
        if "--help" in rest[:1] or "-h" in rest[:1]:
            return _help([verb])
        function = _function(verb)
        from atoll.runtime.command.context import Context, default_root

        context = Context(
            root=os.path.abspath(given.text("root") or default_root()),
            log=log,
            systemd_cgroup=given.flag("systemd-cgroup"),
            rootless=_tristate(given.text("rootless")),
            criu=given.text("criu"),
        )
        try:
            return function(context, rest)
        finally:
            quick.reap()
    except errors.AtollError as error:
        _complain(log, [verb], error)
    except OSError as error:
        _complain(log, [verb], errors.from_os_error(error, f"{verb or 'run'} the container"))
    return _FAILED_TO_EXEC if verb == "exec" else 1


def _seal(argv: list[str]) -> None:
    """Execute this command again from the sealed interpreter. Returns only by an error."""
    from atoll.base import launch
    from atoll.linux import process
    from atoll.runtime import seal

    fd = seal.sealed_python()
    try:
        process.execveat(fd, launch.argv(*argv, module=launch.RUNTIME), os.environ)
    except OSError as error:
        raise errors.from_os_error(error, "execute the sealed interpreter") from error
    finally:
        os.close(fd)


def _function(verb: str) -> Callable[[Context, list[str]], int]:
    if verb not in VERBS:
        from atoll.base.suggest import nearest

        near = nearest(verb, sorted(VERBS))
        raise errors.InvalidArgument(f"unknown command {verb!r}", hint=f"did you mean {near}?" if near else None)
    module, name, _, _ = VERBS[verb]
    path = f"atoll.runtime.command.{module}"
    __import__(path)
    function: Callable[[Context, list[str]], int] = getattr(sys.modules[path], name)
    return function


def _tristate(text: str | None) -> bool | None:
    if text in (None, "auto", ""):
        return None
    if text not in ("true", "false"):
        raise errors.InvalidArgument(f"--rootless: {text!r} is none of auto, true, false")
    return text == "true"


def _complain(log: Log, verbs: list[str], error: errors.AtollError) -> None:
    """The error in runc's form: `runc create failed: ...`; callers look for known words in it, not for the hint."""
    message = str(error)
    verb = next((word for word in verbs if word in ("create", "run", "exec", "restore")), None)
    if isinstance(error, errors.CommandNotFound | errors.CommandNotExecutable):
        message = f"unable to start container process: {message}"
    if verb == "exec":
        message = f"exec failed: {message}"
    elif verb is not None:
        message = f"atoll-runtime {verb} failed: {message}"
    log.error(message)


def _log_of(argv: list[str]) -> Log:
    from atoll.runtime.command.options import parse
    from atoll.runtime.command.report import Log

    try:
        given = parse("", argv, GLOBAL, _SHORT, leading=True)
        return Log(given.text("log"), given.text("log-format") or "text")
    except errors.AtollError:
        return Log()


def _say_version() -> int:
    from atoll import __version__
    from atoll.runtime.command.look import write
    from atoll.spec.runtime import VERSION

    write(f"atoll-runtime version {__version__}\nspec: {VERSION}\n")
    return 0


def _help(verbs: list[str]) -> int:
    from atoll.runtime.command.help import text
    from atoll.runtime.command.look import write

    write(text(verbs[0] if verbs else ""))
    return 0
