"""`create` and `run`: a bundle becomes a container.

Holds: the two verbs. Does not hold: the creation itself (`../create.py`), reading options.
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.base.rollback import Rollback
from atoll.linux import process
from atoll.runtime import create as creation
from atoll.runtime import delete as removal
from atoll.runtime.command.context import filter_cache, load_spec
from atoll.runtime.command.handing import console_of, hand_out, kept_descriptors, with_listeners
from atoll.runtime.command.options import FLAG, NUMBER, TEXT, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context
    from atoll.runtime.command.options import Given
    from atoll.runtime.plan import Created
    from atoll.spec.runtime import Spec

CREATE = {
    "bundle": TEXT,
    "console-socket": TEXT,
    "pidfd-socket": TEXT,
    "pid-file": TEXT,
    "no-pivot": FLAG,
    "no-new-keyring": FLAG,
    "preserve-fds": NUMBER,
}
RUN = {**CREATE, "detach": FLAG, "keep": FLAG, "no-subreaper": FLAG}
SHORT = {"b": "bundle", "d": "detach"}


def create(context: Context, argv: list[str]) -> int:
    """Make a container that waits for `start`."""
    given = parse("create", argv, CREATE, SHORT)
    _make(context, given, detach=True, start=False)
    return 0


def run(context: Context, argv: list[str]) -> int:
    """Make a container and start it; without `--detach` wait for its end, remove it, return its exit code."""
    given = parse("run", argv, RUN, SHORT)
    detach = given.flag("detach")
    if not detach:
        from atoll.runtime.command.console import attend, hold_signals

        hold_signals()
        if not given.flag("no-subreaper"):
            process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    made, name = _make(context, given, detach=detach, start=True)
    if detach:
        return 0
    code = attend(made)
    if not given.flag("keep"):
        removal.delete(context.run_of(name), force=True)
    return code


def _make(context: Context, given: Given, *, detach: bool, start: bool) -> tuple[Created, str]:
    name = given.one_word()
    bundle = os.path.abspath(given.text("bundle") or ".")
    context.run_of(name)
    spec = load_spec(bundle)
    terminal = spec.process is not None and spec.process.terminal
    console = console_of(given, terminal=terminal, detach=detach)
    with Rollback() as undo:
        run_dir = context.make_run(name)
        undo.push(files.remove_tree, run_dir)
        made = _create(context, given, name, spec, bundle, run_dir, start=start)
        undo.push(discard, run_dir)
        made = hand_out(made, given, console)
        if start and spec.hooks is not None and spec.hooks.poststart:
            _poststart(run_dir)
        undo.release()
    return made, name


def _poststart(run_dir: str) -> None:
    """What `start` does for a container that was created before (runtime.md, step 9)."""
    from atoll.runtime import hooks, state

    record = state.read(run_dir)
    hooks.run("poststart", hooks.recorded(record, "poststart"), hooks.of_record(record, state.RUNNING))


def discard(run_dir: str) -> None:
    """Undo of a creation that was whole."""
    removal.delete(run_dir, force=True)


def _create(
    context: Context, given: Given, name: str, spec: Spec, bundle: str, run_dir: str, *, start: bool
) -> Created:
    if spec.process is not None:
        spec = spec.replace(process=with_listeners(spec.process))
    made = creation.create(
        container_id=name,
        spec=spec,
        root=None,
        bundle=bundle,
        run=run_dir,
        start=start,
        cache=filter_cache() if spec.linux is not None and spec.linux.seccomp is not None else None,
        preserve_fds=kept_descriptors(given),
        keyring=not given.flag("no-new-keyring"),
        pivot=not given.flag("no-pivot"),
        rootless=context.rootless,
        systemd=context.systemd_cgroup,
    )
    for warning in made.warnings:
        context.log.warning(warning)
    if start:
        try:
            creation.await_program(made)
        except BaseException:
            discard(run_dir)
            raise
    return made
