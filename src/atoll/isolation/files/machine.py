"""Files and processes of a container in a machine: the same questions as `client.py`, answered inside the guest.

Holds: `MachineFiles`, `Held` (a machine for a container that has ended). Does not hold: what answers
(`guest/files.py`), what a copy is made of (`engine/containers/copy.py`).

    this side                              keeper, in the jail              guest
    a pipe each for archive and verdict ─▶ a session of its channel ──────▶ a process for the one job
    pump ◀────────── archive ──────────────────────────────────────────────  which says on its standard error, as
    `finish` ◀────── verdict ──────────────────────────────────────────────  JSON, how it went

All that comes is a guest's: bounded in size, and in the time between two of its bytes. What a container wrote is read
by its own guest's kernel alone; the host never mounts its disk. One that has ended is looked at by a machine like its
own, in a jail like its own, which is given the same disk and runs nothing of the image (`Held`); the container's lock
is held meanwhile, so that there is one writer of that disk.
"""

from __future__ import annotations

import os
import struct
from _socket import SCM_RIGHTS, SOL_SOCKET
from select import POLLIN, POLLOUT, poll
from threading import Thread

from atoll.base import errors, files, jsontext
from atoll.base.rollback import Rollback
from atoll.guest import wire
from atoll.guest.enter import NOTE
from atoll.isolation.files.client import Stat
from atoll.isolation.vm import jailed
from atoll.isolation.vm_saving import connected
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType
    from typing import Any, Self

    from atoll.isolation.protocol import Attachment, Driver
    from atoll.monitor.requests import ContainerPlan
    from atoll.spec.runtime import Mount

WORD_MAX = 1 << 20
"""Most bytes of a verdict."""
LIST_MAX = 64 << 20
"""Most bytes of a list of changes."""
LAYER_MAX = 64 << 30
"""Most bytes of a layer."""
SILENCE_SECONDS = wire.HELLO_SECONDS
"""How long a guest may let us wait."""
END_SECONDS = 30.0
HELD = "run"
"""In the directory `held` of a container's bundle: where the machine that is held runs."""
_CHUNK = 1 << 16


class MachineFiles:
    """A container's files, as `client.Files`. `held`: what the guest is to mount, where the container does not run.
    Raises AtollError."""

    def __init__(self, run: str, *, bare: bool = False, held: dict[str, Any] | None = None) -> None:
        known = state.read(run)
        if state.status_of(run, known) == state.PAUSED:
            raise errors.FailedPrecondition("a machine that is paused does not answer", hint="atoll unpause it first")
        self._pid, self._bare, self._held = known.pid, bare, held
        self._job: _Job | None = None

    @classmethod
    def of_running(cls, run: str, *, bare: bool = False) -> Self:
        """Of a container with processes; `bare` without what is mounted on its root. Raises NotFound when it has
        ended, Unsupported for one of a pod."""
        try:
            note = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
        except FileNotFoundError:
            raise errors.NotFound("the container has ended meanwhile") from None
        if "in" in note:
            raise errors.Unsupported("isolation level 'vm' cannot look into a container of a pod: use exec")
        return cls(run, bare=bare)

    def stat(self, path: str, *, follow: bool) -> Stat:
        """What is there. Raises NotFound."""
        self._begin({"do": "stat", "path": path, "follow": follow})
        told = self.finish()
        try:
            found = Stat(**told)
            return found.replace(mode=int(found.mode), size=int(found.size), mtime=int(found.mtime))
        except (TypeError, ValueError) as error:
            raise errors.Denied(f"the guest's answer is none: {error}") from None

    def send_get(self, path: str, out: int, *, arcname: str, follow: bool, one_mount: bool = False) -> None:
        """Ask for an archive of `path` into the descriptor `out`; `finish` waits for its end."""
        request = {"do": "get", "path": path, "arcname": arcname, "follow": follow, "one_mount": one_mount}
        self._begin(request, out=out)

    def send_put(self, path: str, source: int, *, about: dict[str, Any] | None, archive: bool) -> None:
        """Ask for the archive in the descriptor `source` to be written at `path`. `finish` waits."""
        self._begin({"do": "put", "path": path, "source": about, "archive": archive}, source=source)

    def send_layer(self, out: int, skip: frozenset[str], *, pause: bool) -> None:
        """Ask for what the container has written, as a layer, into the descriptor `out`; with `pause` its processes
        stand still meanwhile. `finish` waits."""
        pause = pause and self._held is None
        self._begin({"do": "layer", "skip": sorted(skip), "pause": pause}, out=out, most=LAYER_MAX)

    def changes(self, skip: frozenset[str]) -> list[tuple[str, str]]:
        """(kind, path) of what the container has changed of its image, as `snapshots/diff.py` has them."""
        out = os.memfd_create("changes", os.MFD_CLOEXEC)
        try:
            self._begin({"do": "changes", "skip": sorted(skip)}, out=out, most=LIST_MAX)
            self.finish()
            os.lseek(out, 0, os.SEEK_SET)
            with open(os.dup(out), "rb") as lines:
                return [_change(line) for line in lines]
        finally:
            os.close(out)

    def top(self) -> list[tuple[str, ...]]:
        """The container's processes, as `runtime/processes.py` has them; ids are the guest's."""
        self._begin({"do": "top"})
        rows = self.finish().get("rows")
        if not isinstance(rows, list) or not all(isinstance(row, list) and len(row) == 8 for row in rows):
            raise errors.Denied("the guest's answer is none")
        return [tuple([_plain(str(word)) for word in row]) for row in rows]

    def kill(self, seconds: float) -> None:
        """Have the guest kill all of the container's processes."""
        self._begin({"do": "kill"}, seconds=seconds)
        self.finish()

    def finish(self) -> dict[str, Any]:
        """The end of what was asked for: numbers of entries and bytes."""
        job, self._job = self._job, None
        assert job is not None
        done = job.finish()
        for name in ("entries", "size"):
            if not isinstance(done.get(name, 0), int):
                raise errors.Denied("the guest's answer is none")
        return done

    def _begin(
        self,
        request: dict[str, Any],
        *,
        source: int = -1,
        out: int = -1,
        most: int = 0,
        seconds: float = SILENCE_SECONDS,
    ) -> None:
        request = {**request, "bare": self._bare}
        if self._held is not None:
            request["held"] = self._held
        self._job = _Job(self._pid, request, source, out, most, seconds)

    def close(self) -> None:
        """Give up what is under way."""
        job, self._job = self._job, None
        if job is not None:
            job.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Job:
    """One job: three descriptors at the keeper's door, and where there is an archive a pump beside us."""

    def __init__(self, pid: int, request: dict[str, Any], source: int, out: int, most: int, seconds: float) -> None:
        self._seconds = seconds
        self._failed: errors.AtollError | None = None
        self._pump: Thread | None = None
        self._peer = connected(pid)
        with Rollback() as undo, Rollback() as theirs:
            undo.push(self._peer.close)
            null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
            theirs.push(os.close, null)
            self._verdict, word = os.pipe2(os.O_CLOEXEC)
            undo.push(os.close, self._verdict)
            theirs.push(os.close, word)
            given = [null, null, word]
            if source >= 0 or out >= 0:
                ends = os.pipe2(os.O_CLOEXEC)
                side = 0 if source >= 0 else 1
                given[side] = ends[side]
                theirs.push(os.close, ends[side])
                undo.push(os.close, ends[1 - side])
            rights = [(SOL_SOCKET, SCM_RIGHTS, struct.pack("3i", *given))]
            try:
                self._peer.sendmsg([jsontext.dumps({"files": request}).encode()], rights)
            except OSError as error:
                raise errors.FailedPrecondition(f"the machine does not answer: {error.strerror}") from None
            undo.release()
        # Ours by then: the caller closes his own as soon as we return.
        if source >= 0:
            ours = os.dup(source)
            self._start(lambda: _push(ours, ends[1]))
        elif out >= 0:
            ours = os.dup(out)
            self._start(lambda: _pull(ends[0], ours, most))

    def _start(self, carry: Callable[[], None]) -> None:
        def run() -> None:
            try:
                carry()
            except errors.AtollError as error:
                self._failed = error
            except OSError:  # the other side has gone, and says why
                pass

        self._pump = Thread(target=run, daemon=True)
        self._pump.start()

    def finish(self) -> dict[str, Any]:
        """Wait for the verdict. Raises what it says; Timeout for a guest that lets us wait."""
        try:
            if self._pump is not None:
                self._pump.join()
            if self._failed is not None:
                raise self._failed
            return _judged(self._word())
        finally:
            self.close()

    def _word(self) -> bytes:
        found = bytearray()
        while True:
            _await(self._verdict, POLLIN, self._seconds)
            data = os.read(self._verdict, _CHUNK)
            if not data:
                return bytes(found)
            found += data
            if len(found) > WORD_MAX:
                raise errors.Denied("the guest's answer is too long")

    def close(self) -> None:
        """The keeper ends what is not done."""
        if self._verdict >= 0:
            os.close(self._verdict)
            self._verdict = -1
            self._peer.close()


def _pull(source: int, out: int, most: int) -> None:
    """The guest's bytes to where they are wanted; both descriptors are closed."""
    carried = 0
    try:
        while True:
            _await(source, POLLIN)
            data = os.read(source, _CHUNK)
            if not data:
                return
            carried += len(data)
            if most and carried > most:
                raise errors.Exhausted(f"the guest sends more than {most >> 20} MiB")
            files.write_all(out, data)
    finally:
        os.close(source)
        os.close(out)


def _push(source: int, out: int) -> None:
    """Ours to the guest; both descriptors are closed."""
    try:
        os.set_blocking(out, False)
        while data := os.read(source, _CHUNK):
            while data:
                _await(out, POLLOUT)
                data = data[os.write(out, data) :]
    finally:
        os.close(source)
        os.close(out)


def _await(fd: int, event: int, seconds: float = SILENCE_SECONDS) -> None:
    poller = poll()
    poller.register(fd, event)
    if not poller.poll(seconds * 1000):
        raise errors.Timeout("the guest does not answer")


def _judged(word: bytes) -> dict[str, Any]:
    try:
        told = wire.parse(word)
        if "error" in told:
            raise wire.parse_error(word)
    except wire.Malformed:
        raise errors.Unavailable("the machine ended before it was done, or its guest talks nonsense") from None
    done = told.get("done")
    if not isinstance(done, dict):
        raise errors.Denied("the guest's answer is none")
    return done


def _change(line: bytes) -> tuple[str, str]:
    try:
        kind, path = jsontext.loads(line)
        found = os.fsdecode(bytes.fromhex(path))
    except (ValueError, TypeError, RecursionError):
        raise errors.Denied("the guest's answer is none") from None
    if kind not in ("A", "C", "D") or not found.startswith("/"):
        raise errors.Denied("the guest's answer is none")
    return kind, found


def _plain(text: str) -> str:
    return "".join([c if c.isprintable() else "?" for c in text[:4096]])


class Held:
    """A machine like the one of a container that has ended, with its disk, in which nothing of the image runs."""

    def __init__(self, driver: Driver, plan: ContainerPlan, data_root: str, run: str, *, bare: bool) -> None:
        if plan.machine is None or plan.machine.pod or plan.machine.disk is None:
            raise errors.Unsupported("isolation level 'vm' cannot look into what this container has left")
        self._driver, self._run, self._bundle = driver, run, f"{plan.bundle}/held"
        self._undo = Rollback()
        kept = [one for one in plan.spec.mounts if _stays(one, plan.bundle, bare=bare)]
        wanted = plan.replace(
            machine=plan.machine.replace(resume=""),
            run=run, spec=plan.spec.replace(mounts=tuple(kept)), stdin=True, terminal=False, on_exit=(), events=None,
            health=None, log=None,
        )  # fmt: skip
        try:
            for place in (run, self._bundle):
                os.mkdir(place, 0o700)
                self._undo.push(files.remove_tree, place)
            files.write_atomic(f"{self._bundle}/{HELD}", run)
            jail = jailed(wanted, data_root).replace(bundle=self._bundle)
            note = jsontext.loads(files.read_bytes(f"{run}/{NOTE}"))
            files.write_atomic(f"{run}/{NOTE}", jsontext.dumps({**note, "hold": True}))
            attachment = driver.create(jail)
            self._undo.push(lambda: driver.delete(run, self._bundle, force=True))
            self._undo.push(self._end, attachment)
            attachment.start()
            guest = note["container"]
            binds = [one for one in guest["spec"].get("mounts", []) if one.get("type") == "bind"]
            self.files = MachineFiles(run, bare=bare, held={"root": guest["root"], "mounts": binds})
        except BaseException:
            self._undo.run()
            raise

    def _end(self, attachment: Attachment) -> None:
        """The end of its keeper's input is its end: the guest writes what it has not, and stops."""
        attachment.close()
        self._driver.wait(self._run, self._bundle, END_SECONDS)

    def close(self) -> None:
        """End the machine; what was written is on the disk."""
        self.files.close()
        self._undo.run()


def end_held(driver: Driver, bundle: str) -> None:
    """End a machine that was held by a command that has been killed, under the container's lock: there is one writer
    of its disk."""
    place = f"{bundle}/held"
    try:
        run = files.read_text(f"{place}/{HELD}")
    except FileNotFoundError:
        run = ""
    if run and os.path.isdir(run):
        driver.delete(run, place, force=True)
        files.remove_tree(run)
    files.remove_tree(place)


def _stays(entry: Mount, bundle: str, *, bare: bool) -> bool:
    """What is mounted in a machine that is held: not what only a start makes."""
    if entry.type != "bind" and not {"bind", "rbind"} & set(entry.options):
        return True
    return not bare and os.path.exists(os.path.join(bundle, entry.source or ""))
