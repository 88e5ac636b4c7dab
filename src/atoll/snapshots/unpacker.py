"""The process that unpacks: an exec'd interpreter of its own, inside the user's id map, driven over a socket.

Holds: its entry `main` and the jobs. Does not hold: starting it (`worker.py`, which draws the protocol).
Being exec'd, it has one thread when it enters the namespace, may change umask and working directory, and a bug in
parsing hostile archives happens here and not in the command. It acts on descriptors that it is handed.
"""

from __future__ import annotations

import errno
import gc
import os

from atoll.base import errors, files
from atoll.base.value import fields
from atoll.linux import process, signals
from atoll.snapshots.channel import Channel, Ended
from atoll.spec import idmap as idmaps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

_READ = 256 << 10
_SHOWN = {
    "layer": "write what changed as a layer",
    "changes": "read what changed",
    "merged": "write the merged layers",
    "compare": "compare two images",
    "copy": "copy the layers",
    "tree": "read the directory",
}
_REPORT = 2 << 20  # bytes of the blob between two reports of progress


def main(fd: int) -> None:
    """The process. Never returns; ends when the socket does."""
    # Whatever else our maker's maker left open is not for us.
    process.close_range(fd + 1)
    # Ctrl-C reaches the whole foreground group: what it means is the command's to decide, which kills us.
    signals.ignore(signals.SIGINT)
    # Nothing here makes cycles, and pages that the collector does not touch stay shared with the children.
    gc.disable()
    channel = Channel(fd)
    status = 0
    try:
        hello, _ = channel.receive()
        _enter(hello.get("idmap"))
        channel.send({"ready": True})
        if hello.get("unpacks"):
            _preload()
        while True:
            message, fds = channel.receive()
            try:
                _job(channel, message, fds)
            finally:
                for one in fds:
                    os.close(one)
    except (Ended, BrokenPipeError, ConnectionResetError):
        pass
    except OSError as error:
        channel.send({"error": errors.from_os_error(error, "enter the user's id map").to_json()})
        status = 1
    finally:
        os._exit(status)


def _preload() -> None:
    """Load what unpacking takes, once for all layers, while the first one is still on its way."""
    from atoll.snapshots import apply, confine, stream  # noqa: F401 - used by `_unpack`

    stream.preload(b"\x1f\x8b")


def _enter(wire: Any) -> None:
    if wire is None:
        return
    from atoll.linux import userns

    userns.enter(**idmaps.from_json(wire).ways())


def _job(channel: Channel, message: dict[str, Any], fds: list[int]) -> None:
    """One job. Its failure is an answer; only the end of the other side ends the process."""
    from atoll.snapshots import differ

    jobs = {"unpack": _confined, "adopt": _adopt, "mark": _mark, "remove": _remove, **differ.JOBS}
    run = jobs.get(str(message.get("do")))
    if run is None:
        return  # a report of bytes for a job that ended meanwhile
    answer = _answer(run, channel, message, fds)
    if answer is not None:
        channel.send(answer)


def _answer(run: Callable[..., Any], channel: Channel, message: dict[str, Any], fds: list[int]) -> Any:
    try:
        return run(channel, message, fds)
    except errors.AtollError as error:
        return {"error": error.to_json()}
    except (Ended, BrokenPipeError, ConnectionResetError):
        raise
    except OSError as error:
        return {"error": errors.from_os_error(error, _SHOWN.get(message["do"], f"{message['do']} a layer")).to_json()}
    except MemoryError:
        return {"error": errors.Exhausted("no memory left to unpack the layer").to_json()}
    except Exception as error:  # noqa: BLE001 - this edge is a request handler
        last = error.__traceback__
        while last is not None and last.tb_next is not None:
            last = last.tb_next
        where = f"{os.path.basename(last.tb_frame.f_code.co_filename)}:{last.tb_lineno}" if last else "?"
        return {"error": errors.Internal(f"unpacking failed at {where}: {error!r}").to_json()}


def _confined(channel: Channel, message: dict[str, Any], fds: list[int]) -> dict[str, Any] | None:
    """Unpack in a child of ours that is shut into the directory. It answers itself; None then."""
    _preload()  # for this child and all later ones

    child = os.fork()
    if child:
        _, status = os.waitpid(child, 0)
        if status == 0:
            return None
        code = os.waitstatus_to_exitcode(status)
        hint = "the kernel may have been out of memory" if code == -9 else None
        return {"error": errors.Internal(f"unpacking ended early (status {code})", hint=hint).to_json()}
    try:
        answer = _answer(_unpack, channel, message, fds)
        channel.send(answer)
        os._exit(0)
    except BaseException:  # noqa: BLE001 - nothing of the parent may go on here
        os._exit(70)


def _unpack(channel: Channel, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Unpack the blob `fds[0]` into the directory `fds[1]`, as far as its bytes have come in, to its end. `fds[2]` is
    the directory's lock: open as long as the job runs."""
    from atoll.snapshots import apply, confine, stream
    from atoll.snapshots.policy import ApplyPolicy

    job, size = message["job"], message["size"]
    # Opened anew, so that it is for reading only: the descriptor of a blob that comes in can write.
    blob_fd = os.open(f"/proc/self/fd/{fds[0]}", os.O_RDONLY | os.O_CLOEXEC)
    state = {"at": 0, "available": message["available"], "reported": 0}

    def read() -> bytes:
        while state["at"] >= state["available"] and state["at"] < size:
            news, _ = channel.receive()
            if news.get("job") == job:
                state["available"] = news["available"]
        data = os.pread(blob_fd, min(_READ, state["available"] - state["at"]), state["at"])
        state["at"] += len(data)
        if state["at"] - state["reported"] >= _REPORT:
            state["reported"] = state["at"]
            channel.send({"progress": state["at"]})
        return data

    # What is imported later would not be found in there.
    first = read()
    stream.preload(first)
    parts = [first]
    root_fd = confine.confine(message["path"], fds[1], (channel.socket.fileno(), blob_fd))
    plain = stream.Plain(lambda: parts.pop() if parts else read(), blob=message.get("blob"))
    ahead = stream.Ahead(plain.chunks())
    try:
        result = apply.apply(ahead.next, root_fd, ApplyPolicy(**message["policy"]))
    except BaseException:
        # The thread may wait on the socket for bytes; a broken job is the end of this process anyway.
        ahead.abandon()
        raise
    if plain.taken != size:
        raise errors.Corrupt(f"the layer's data ends after {plain.taken} of {size} bytes")
    facts = {name: getattr(result, name) for name in fields(result)}
    for name in ("implicit", "marks"):  # lists may be longer than a message
        for part in _parts(facts.pop(name)):
            channel.send({"more": name, "items": part})
    return {"done": facts, "diff_id": plain.digest()}


def _parts(items: tuple[str, ...]) -> Iterator[list[str]]:
    """Pieces that fit into a message each: a path has 4096 bytes at most, six times that in JSON."""
    for start in range(0, len(items), 40):
        yield list(items[start : start + 40])


def _mark(channel: Channel, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Set the marks of opaque directories that the confined process may not (`trusted.` wants CAP_SYS_ADMIN)."""
    from atoll.linux.root import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2

    for path in message["paths"]:
        try:
            fd = openat2(fds[0], path, os.O_RDONLY | os.O_DIRECTORY, resolve=RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            continue  # a later entry replaced it, or a link above it; what came after hides all below by itself
        try:
            os.setxattr(fd, message["attribute"], b"y")
        finally:
            os.close(fd)
    return {"done": {}}


def _adopt(channel: Channel, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    """Give directories that no entry described the attributes they have in the layers below (topmost first)."""
    from atoll.snapshots import adopt

    adopt.adopt(fds[0], fds[1:], message["paths"], single=message["single"])
    return {"done": {}}


def _remove(channel: Channel, message: dict[str, Any], fds: list[int]) -> dict[str, Any]:
    for path in message["paths"]:
        files.remove_tree(path)
    return {"done": {}}
