"""`checkpoint` and `restore` through CRIU.

Holds: the two verbs and their options, as runc's. Does not hold: the work (`../criu/`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.linux import process
from atoll.runtime import delete as removal
from atoll.runtime import state
from atoll.runtime.command import handing, make
from atoll.runtime.command.context import load_spec
from atoll.runtime.command.options import FLAG, MANY, NUMBER, TEXT, parse
from atoll.runtime.criu import dump, rpc
from atoll.runtime.criu.dump import Wanted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context
    from atoll.runtime.command.options import Given

_BOTH = {
    "image-path": TEXT,
    "work-path": TEXT,
    "tcp-established": FLAG,
    "ext-unix-sk": FLAG,
    "shell-job": FLAG,
    "lazy-pages": FLAG,
    "file-locks": FLAG,
    "link-remap": FLAG,
    "manage-cgroups-mode": TEXT,
    "empty-ns": MANY,
    "auto-dedup": FLAG,
    "tcp-skip-in-flight": FLAG,
}
CHECKPOINT = {
    **_BOTH,
    "parent-path": TEXT,
    "leave-running": FLAG,
    "status-fd": NUMBER,
    "page-server": TEXT,
    "pre-dump": FLAG,
}
RESTORE = {
    **_BOTH,
    "tcp-close": FLAG,
    "console-socket": TEXT,
    "pidfd-socket": TEXT,
    "bundle": TEXT,
    "detach": FLAG,
    "pid-file": TEXT,
    "no-subreaper": FLAG,
    "no-pivot": FLAG,
    "lsm-profile": TEXT,
    "lsm-mount-context": TEXT,
}
_NAMESPACES = {"network": process.CLONE_NEWNET}
_DEFAULT = "checkpoint"


def checkpoint(context: Context, argv: list[str]) -> int:
    """Save a container; it is gone after, but with `--leave-running` or `--pre-dump`."""
    given = parse("checkpoint", argv, CHECKPOINT, {})
    run_dir = context.existing(given.one_word())
    wanted = _wanted(given)
    record = state.read(run_dir)
    if wanted.parent is not None and wanted.parent.startswith("/"):
        raise errors.InvalidArgument("--parent-path must be relative")
    dump.checkpoint(run_dir, load_spec(record.bundle), wanted, context.criu)
    if not (wanted.leave_running or wanted.pre_dump):
        removal.delete(run_dir, force=True)
    return 0


def restore(context: Context, argv: list[str]) -> int:
    """Bring a container back; without `--detach` wait for its end, remove it, return its exit code."""
    from atoll.runtime.criu.restore import restore as bring_back

    given = parse("restore", argv, RESTORE, {"b": "bundle", "d": "detach"})
    name, detach = given.one_word(), given.flag("detach")
    bundle = os.path.abspath(given.text("bundle") or ".")
    context.run_of(name)
    spec = load_spec(bundle)
    wanted = _wanted(given)
    if not os.path.isdir(wanted.images):
        raise errors.NotFound(f"no checkpoint in {wanted.images}")
    console = handing.console_of(given, terminal=spec.process is not None and spec.process.terminal, detach=detach)
    if not detach:
        from atoll.runtime.command.console import attend, hold_signals

        hold_signals()
        if not given.flag("no-subreaper"):
            process.prctl(process.PR_SET_CHILD_SUBREAPER, 1)
    with Rollback() as undo:
        run_dir = context.make_run(name)
        undo.push(files.remove_tree, run_dir)
        made = bring_back(
            container_id=name, spec=spec, bundle=bundle, run=run_dir, wanted=wanted, program=context.criu
        )
        undo.push(make.discard, run_dir)
        made = handing.hand_out(made, given, console)
        undo.release()
    if detach:
        return 0
    code = attend(made)
    removal.delete(run_dir, force=True)
    return code


def _wanted(given: Given) -> Wanted:
    images = os.path.abspath(given.text("image-path") or _DEFAULT)
    return Wanted(
        images=images,
        work=os.path.abspath(given.text("work-path") or images),
        parent=given.text("parent-path"),
        leave_running=given.flag("leave-running"),
        pre_dump=given.flag("pre-dump"),
        tcp_established=given.flag("tcp-established"),
        tcp_close=given.flag("tcp-close"),
        tcp_skip_in_flight=given.flag("tcp-skip-in-flight"),
        ext_unix_sk=given.flag("ext-unix-sk"),
        shell_job=given.flag("shell-job"),
        file_locks=given.flag("file-locks"),
        link_remap=given.flag("link-remap"),
        lazy_pages=given.flag("lazy-pages"),
        status_fd=given.number("status-fd"),
        page_server=_page_server(given.text("page-server")),
        auto_dedup=given.flag("auto-dedup"),
        empty_ns=_empty(given.many("empty-ns")),
        cgroup_mode=_mode(given.text("manage-cgroups-mode")),
        lsm_profile=given.text("lsm-profile"),
        lsm_mount_context=given.text("lsm-mount-context"),
    )


def _page_server(text: str | None) -> tuple[str, int] | None:
    if text is None:
        return None
    address, colon, port = text.rpartition(":")
    if not (colon and address and port.isdecimal()):
        raise errors.InvalidArgument("Use --page-server ADDRESS:PORT to specify page server")
    return address, int(port)


def _empty(kinds: list[str]) -> int:
    flags = 0
    for kind in kinds:
        if kind not in _NAMESPACES:
            raise errors.InvalidArgument(f"namespace {kind!r} is not supported", hint="network")
        flags |= _NAMESPACES[kind]
    return flags


def _mode(text: str | None) -> int | None:
    if text is None:
        return None
    if text not in rpc.MODES:
        raise errors.InvalidArgument(
            f"Invalid manage-cgroups-mode value {text!r}", hint="one of " + ", ".join(rpc.MODES)
        )
    return rpc.MODES[text]
