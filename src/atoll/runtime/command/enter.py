"""`exec`: one more process in a running container.

Holds: the verb, and how its flags make a process of the bundle's own. Does not hold: entering (`../exec.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.linux import process
from atoll.runtime import exec as entry
from atoll.runtime import state
from atoll.runtime.command import handing
from atoll.runtime.command.context import load_process, load_spec
from atoll.runtime.command.options import FLAG, MANY, NUMBER, TEXT, parse
from atoll.runtime.conversation import await_program
from atoll.spec.runtime import Capabilities, Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context
    from atoll.runtime.command.options import Given
    from atoll.runtime.plan import Created

EXEC = {
    "console-socket": TEXT,
    "pidfd-socket": TEXT,
    "cwd": TEXT,
    "env": MANY,
    "tty": FLAG,
    "user": TEXT,
    "additional-gids": MANY,
    "process": TEXT,
    "detach": FLAG,
    "pid-file": TEXT,
    "process-label": TEXT,
    "apparmor": TEXT,
    "no-new-privs": FLAG,
    "cap": MANY,
    "preserve-fds": NUMBER,
    "cgroup": MANY,
    "ignore-paused": FLAG,
    "no-subreaper": FLAG,
}
SHORT = {"e": "env", "t": "tty", "u": "user", "g": "additional-gids", "p": "process", "d": "detach", "c": "cap"}


def exec_(context: Context, argv: list[str]) -> int:
    """Run a program in a container; without `--detach` wait for it and return its exit code."""
    given = parse("exec", argv, EXEC, SHORT, leading=True)
    if not given.words:
        raise errors.InvalidArgument('atoll-runtime: "exec" requires a minimum of 1 argument(s)')
    run_dir = context.existing(given.words[0])
    wanted = _process(given, run_dir)
    detach = given.flag("detach")
    console = handing.console_of(given, terminal=wanted.terminal, detach=detach)
    if not detach:
        from atoll.runtime.command.console import attend, hold_signals

        hold_signals()
    made = entry.exec_process(
        run=run_dir,
        process_spec=handing.with_listeners(wanted),
        ignore_paused=given.flag("ignore-paused"),
        preserve_fds=handing.kept_descriptors(given),
        below=_cgroup(given),
    )
    for warning in made.warnings:
        context.log.warning(warning)
    try:
        await_program(made)
        made = handing.hand_out(made, given, console)
    except BaseException:
        _end(made)
        raise
    return 0 if detach else attend(made)


def _end(made: Created) -> None:
    try:
        process.pidfd_send_signal(made.pidfd, process.SIGKILL)
    except ProcessLookupError:
        pass


def _cgroup(given: Given) -> str:
    """`--cgroup [controller:]path`: only one path for all controllers is taken."""
    paths = {word.rpartition(":")[2] for word in given.many("cgroup")}
    if len(paths) > 1:
        raise errors.Unsupported("exec --cgroup: different cgroups for different controllers")
    return paths.pop() if paths else ""


def _process(given: Given, run_dir: str) -> Process:
    """The document of `--process`, or the container's own process with what the flags change."""
    path = given.text("process")
    if path is not None:
        return load_process(path)
    if len(given.words) < 2:
        raise errors.InvalidArgument("process args cannot be empty")
    own = load_spec(state.read(run_dir).bundle).process or Process(cwd="/")
    user = own.user
    if (text := given.text("user")) is not None:
        uid, _, gid = text.partition(":")
        user = user.replace(uid=_id("user", uid), gid=_id("group", gid) if gid else user.gid)
    extra = tuple([_id("group", one) for text in given.many("additional-gids") for one in text.split(",")])
    return own.replace(
        args=tuple(given.words[1:]),
        terminal=given.flag("tty"),
        console_size=None,
        cwd=given.text("cwd") or own.cwd,
        env=(*own.env, *given.many("env")),
        user=user.replace(additional_gids=(*user.additional_gids, *extra)),
        capabilities=_capabilities(own.capabilities, given.many("cap")),
        no_new_privileges=given.flag("no-new-privs") if given.has("no-new-privs") else own.no_new_privileges,
        apparmor_profile=given.text("apparmor") or own.apparmor_profile,
        selinux_label=given.text("process-label") or own.selinux_label,
    )


def _capabilities(own: Capabilities | None, added: list[str]) -> Capabilities | None:
    if not added:
        return own
    own = own or Capabilities()
    return own.replace(
        bounding=(*own.bounding, *added), effective=(*own.effective, *added), permitted=(*own.permitted, *added)
    )


def _id(what: str, text: str) -> int:
    from atoll.spec.codec import user_id

    if not (text.isascii() and text.isdecimal()):
        raise errors.InvalidArgument(f"parsing {text!r} as {what} id failed: not a number")
    number: int = user_id(int(text), f"--{what}")
    return number
