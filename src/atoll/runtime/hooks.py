"""Hooks: programs of the caller's at six points of a container's life, with the state on their standard input.

Holds: `run`, `document`. Does not hold: when (`sync.py` shows it). Source: config.md "POSIX-platform Hooks".

    prestart, createRuntime   by the creator, in its own namespaces, when those of the container stand (P4)
    createContainer           by the init, in the container's namespaces, before pivot_root (C4)
    startContainer            by the init, after start, before the program (C7)
    poststart                 by start, when the program runs
    poststop                  by delete, when the container is gone
"""

from __future__ import annotations

import os
import select
import time

from atoll.base import errors, files, jsontext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.state import State
    from atoll.spec.runtime import Hook

_OUTPUT_MOST = 4096


def document(
    *, version: str, container_id: str, status: str, pid: int, bundle: str, annotations: tuple[tuple[str, str], ...]
) -> bytes:
    """The state that a hook reads: runtime.md "State"."""
    wire: dict[str, Any] = {"ociVersion": version, "id": container_id, "status": status, "pid": pid, "bundle": bundle}
    if annotations:
        wire["annotations"] = dict(annotations)
    return jsontext.dumps(wire).encode()


def of_record(record: State, status: str) -> bytes:
    """The same for a container that was created: its record, and the status that the hook is to read."""
    return document(
        version=record.oci_version,
        container_id=record.id,
        status=status,
        pid=0 if status == "stopped" else record.pid,
        bundle=record.bundle,
        annotations=record.annotations,
    )


def recorded(record: State, kind: str) -> tuple[Hook, ...]:
    """The hooks of a kind that the record keeps for later (`poststart`, `poststop`). Raises InvalidArgument."""
    from atoll.spec.codec import list_of
    from atoll.spec.codec import record as record_of
    from atoll.spec.runtime import Hook

    found: tuple[Hook, ...] = list_of(record_of(Hook))(record.hooks[kind], f"hooks.{kind}")
    return found


def run(kind: str, hooks: tuple[Hook, ...], state: bytes) -> None:
    """Run hooks in their order. Raises FailedPrecondition or Timeout at the first that fails, with its words."""
    for index, hook in enumerate(hooks):
        what = f"{kind} hook #{index} ({hook.path})"
        if not hook.path.startswith("/"):
            raise errors.InvalidArgument(f"hooks.{kind}[{index}].path: {hook.path!r} is not an absolute path")
        try:
            _run_one(what, hook, state)
        except OSError as error:
            raise errors.from_os_error(error, f"run {what}") from error


def run_all(kind: str, hooks: tuple[Hook, ...], state: bytes) -> list[errors.AtollError]:
    """Run every hook whatever becomes of the others (poststop); returns what went wrong."""
    failed = []
    for hook in hooks:
        try:
            run(kind, (hook,), state)
        except errors.AtollError as error:
            failed.append(error)
    return failed


def _run_one(what: str, hook: Hook, state: bytes) -> None:
    deadline = time.monotonic() + hook.timeout if hook.timeout else None
    stdin = os.memfd_create("state", os.MFD_CLOEXEC)  # a file: a hook need not read it, however long it is
    output, inside = os.pipe2(os.O_CLOEXEC)
    try:
        files.write_all(stdin, state)
        os.lseek(stdin, 0, os.SEEK_SET)
        actions = [
            (os.POSIX_SPAWN_DUP2, stdin, 0),
            (os.POSIX_SPAWN_DUP2, inside, 1),
            (os.POSIX_SPAWN_DUP2, inside, 2),
        ]
        arguments = list(hook.args) or [hook.path]
        environment = dict([entry.partition("=")[::2] for entry in hook.env])
        pid = os.posix_spawn(hook.path, arguments, environment, file_actions=actions, setsigmask=())
        os.close(inside)
        inside = -1
        words, status = _await(pid, output, deadline)
    finally:
        os.close(stdin)
        os.close(output)
        if inside >= 0:
            os.close(inside)
    if status is None:
        raise errors.Timeout(f"{what} did not end within {hook.timeout} seconds and was killed")
    code = os.waitstatus_to_exitcode(status)
    if code != 0:
        how = f"exit status {code}" if code > 0 else f"signal {-code}"
        said = f": {words}" if words else ""
        raise errors.FailedPrecondition(f"error running {what}: {how}{said}")


def _await(pid: int, output: int, deadline: float | None) -> tuple[str, int | None]:
    """Its output (the first part) and wait status; None when the time was up and it was killed."""
    pidfd = os.pidfd_open(pid)
    kept = b""
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    poller.register(output, select.POLLIN)
    try:
        while True:
            left = None if deadline is None else max(0.0, (deadline - time.monotonic()) * 1000)
            ready = dict(poller.poll(left))
            if not ready:
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                return "", None
            if output in ready:
                data = os.read(output, 65536)
                kept = (kept + data)[:_OUTPUT_MOST]
                if not data:
                    poller.unregister(output)
                continue  # what it wrote before its end comes first
            return kept.decode("utf-8", "replace").strip(), os.waitpid(pid, 0)[1]
    finally:
        os.close(pidfd)
