"""`start`, `kill`, `delete`, `pause`, `resume`: what moves a container from state to state.

Holds: the verbs, with the words for wrong states that engines look for in runc's errors.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.runtime import state
from atoll.runtime.command.options import FLAG, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context

KILL = {"all": FLAG}
DELETE = {"force": FLAG}


def start(context: Context, argv: list[str]) -> int:
    """Let a created container run its program."""
    from atoll.runtime import start as starting

    run_dir = context.existing(parse("start", argv, {}, {}).one_word())
    status = state.status_of(run_dir, state.read(run_dir))
    if status == state.STOPPED:
        raise errors.FailedPrecondition("cannot start a container that has stopped")
    if status != state.CREATED:
        raise errors.FailedPrecondition("cannot start an already running container")
    starting.start(run_dir, wait=True)
    return 0


def kill(context: Context, argv: list[str]) -> int:
    """Send a signal, SIGTERM unless one is named."""
    from atoll.linux import signals
    from atoll.runtime import kill as killing

    given = parse("kill", argv, KILL, {"a": "all"})
    if not given.words:
        raise errors.InvalidArgument('atoll-runtime: "kill" requires a minimum of 1 argument(s)')
    run_dir = context.existing(given.words[0])
    name = given.words[1] if len(given.words) > 1 else "TERM"
    try:
        number = signals.number_of(name.removeprefix("-"))
    except ValueError:
        raise errors.InvalidArgument(f"unknown signal {name!r}") from None
    try:
        killing.kill(run_dir, number, all=given.flag("all"))
    except errors.FailedPrecondition:
        raise errors.FailedPrecondition("container not running") from None
    return 0


def delete(context: Context, argv: list[str]) -> int:
    """Remove a stopped container; with `--force` any, and one that is not there is fine."""
    from atoll.runtime import delete as removal

    given = parse("delete", argv, DELETE, {"f": "force"})
    name = given.one_word()
    force = given.flag("force")
    if force and not os.path.isdir(context.run_of(name)):
        return 0
    run_dir = context.existing(name)
    if not force:
        status = state.status_of(run_dir, state.read(run_dir))
        if status != state.STOPPED:
            raise errors.FailedPrecondition(f"cannot delete container {name} that is not stopped: {status}")
    removal.delete(run_dir, force=force)
    return 0


def pause(context: Context, argv: list[str]) -> int:
    """Freeze every process of a container."""
    from atoll.runtime import pause as pausing

    pausing.pause(context.existing(parse("pause", argv, {}, {}).one_word()))
    return 0


def resume(context: Context, argv: list[str]) -> int:
    """Let a paused container go on."""
    from atoll.runtime import pause as pausing

    pausing.resume(context.existing(parse("resume", argv, {}, {}).one_word()))
    return 0
