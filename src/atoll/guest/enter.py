"""exec into a guest: a process of the jail that stands for one in the guest, and how it is started.

Holds: `entering` (the process that the runtime executes in the jail), `main` (that process), the last word of those
that stand for a container (`leave_word`, `last_word`). Does not hold: the other side (`keeper.py`).
It hands its standard streams to the keeper, says on descriptor 3 whether the guest's program was executed
(`runtime/init.py`, C7), passes signals on, and ends as that program does. If it is killed, the keeper kills the
guest's process.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import os
import struct
import sys
import time
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_CLOEXEC, SOCK_SEQPACKET, SOL_SOCKET, socket
from select import POLLIN, poll

from atoll.base import errors, jsontext
from atoll.guest.wire import ANSWER_SECONDS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from atoll.spec.runtime import Process

NOTE = "machine.json"
"""In a container's run directory: it is a machine, and this is what its keeper was told."""
LAST = "last.json"
"""Beside it: what its keeper, or the stand-in of a pod's container, says of the end that no exit code says."""
LAST_MAX, WHY_MAX = 1 << 14, 1 << 10
DOOR = "/run/atoll/keeper.sock"
SAID = 3
"""The descriptor on which a stand-in says whether its program was executed."""
PACKET_MAX = 1 << 17
LIBRARY = "/usr/lib/atoll"
_CODE = "import sys; sys.path.append({library!r}); from atoll.guest.{module} import main; main()"
FORWARDED = tuple([n for n in range(1, 65) if n not in (9, 17, 19, 32, 33)])


def command(python: str, module: str, *args: str) -> tuple[str, ...]:
    """The command line of a module of this room, in a jail."""
    return (python, "-SI", "-c", _CODE.format(library=LIBRARY, module=module), *args)


def entering(process: Process, run: str) -> Process:
    """The process that the runtime is to execute in the jail of `run` in place of `process`, which is the guest's.
    Raises Corrupt."""
    from atoll.base import files
    from atoll.spec.runtime import Capabilities, Spec, User

    try:
        note = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
        python = str(note["python"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise errors.Corrupt(f"damaged record {run}/{NOTE}: {error}") from None
    wire = Spec(process=process).to_json()["process"]
    # In a pod's machine there are several containers to enter.
    wanted = jsontext.dumps({"pod": {"process": wire, "in": note["in"]}} if "in" in note else wire)
    return process.replace(
        args=command(python, "enter", wanted),
        env=(),
        cwd="/",
        user=User(),
        capabilities=Capabilities(),
        rlimits=(),
        no_new_privileges=True,
        apparmor_profile=None,
        selinux_label=None,
        oom_score_adj=None,
        scheduler=None,
        io_priority=None,
        exec_cpu_affinity=None,
    )


def main() -> NoReturn:
    """Stand for a process of the guest until it ends. Never returns."""
    code = 125
    try:
        code = _stand(sys.argv[1])
    finally:
        os._exit(code)


def _stand(wanted: str) -> int:
    end = socket(AF_UNIX, SOCK_SEQPACKET, 0, SAID)
    os.set_inheritable(SAID, False)
    door = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
    try:
        door.connect(DOOR)
        rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("3i", 0, 1, 2))]
        door.sendmsg([wanted.encode()], rights)
    except OSError as error:
        return refused(end, errors.FailedPrecondition(f"the machine does not answer: {error.strerror}"))
    return serve(end, door)


def serve(end: socket, door: socket, last: int = -1) -> int:
    """Stand for what was asked for at the door until it ends; the exit code. `end` is where an init says how it
    went, `last` the file of its last word (-1: it has none). A guest that says neither that it runs nor why not is
    not waited for longer than ANSWER_SECONDS: the keeper has it killed there, should it come to run yet."""
    for number in FORWARDED:
        _signal.signal(number, lambda number, _: _pass_on(door, number))
    poller, until = poll(), time.monotonic() + ANSWER_SECONDS
    poller.register(door, POLLIN)
    while True:
        if end.fileno() >= 0 and not poller.poll(max(0.0, until - time.monotonic()) * 1000):
            return refused(end, errors.Timeout("the guest does not answer"))
        data = door.recv(PACKET_MAX)
        if not data:
            leave_word(last, {"error": None if end.fileno() >= 0 else "its machine has ended"})
            return refused(end, errors.FailedPrecondition("the machine has ended"))
        told = jsontext.loads(data)
        if told["is"] == "started":
            end.close()
        elif told["is"] == "failed":
            return refused(end, errors.from_json(told["error"]))
        elif told["is"] == "ended":
            leave_word(last, told)
            return int(told["code"])


def _pass_on(door: socket, number: int) -> None:
    try:
        door.send(b"%d" % number)
    except OSError:
        pass


def leave_word(fd: int, known: dict[str, Any]) -> None:
    """Write what is `known` of an end ("oom", "signal", "error") into the file that came with the note; -1, or a run
    root that is full, costs the word."""
    word = {name: known[name] for name in ("oom", "signal", "error") if known.get(name)}
    if fd < 0 or not word:
        return
    try:
        os.pwrite(fd, jsontext.dumps(word).encode()[:LAST_MAX], 0)
    except OSError:
        pass


def last_word(run: str) -> tuple[bool, int | None, str | None]:
    """Of the end of the container of `run`: whether its guest's kernel killed a process of it for want of memory, the
    signal that it died of there, and why where its keeper knows. (False, None, None) for what is no machine. The
    keeper had this of a guest, and may itself have been taken over: so no more is believed than its shape."""
    try:
        fd = os.open(f"{run}/{LAST}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return False, None, None
    try:
        told = jsontext.loads(os.read(fd, LAST_MAX))
    except (OSError, ValueError, RecursionError):
        return False, None, None
    finally:
        os.close(fd)
    if not isinstance(told, dict):
        return False, None, None
    signal, why = told.get("signal"), told.get("error")
    shown = "".join([c if c.isprintable() else "?" for c in why[:WHY_MAX]]) if isinstance(why, str) else ""
    return told.get("oom") is True, signal if type(signal) is int and 1 <= signal <= 64 else None, shown or None


def refused(end: socket, error: errors.AtollError) -> int:
    """Say why it does not run; the exit code."""
    try:
        end.send(jsontext.dumps({"error": error.to_json()}).encode())
    except OSError:  # it runs already: then this is its end
        return 137
    return {"command-not-found": 127, "command-not-executable": 126}.get(error.kind, 125)
