"""cp: files into and out of a container, whether it runs or not.

Holds: `open_files`, `copy_out`, `copy_in`, `stream_out`, `stream_in`. Does not hold: what happens in the container's
root (`runtime/files`), which words name which side (`cli/cp.py`). Both ends act on descriptors.
"""

from __future__ import annotations

import os
import stat

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine.containers import bundle, machine
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.base.rollback import Rollback
    from atoll.engine.engine import Engine
    from atoll.isolation.files.client import Files
    from atoll.isolation.files.machine import MachineFiles


class Copied(Value):
    """How many entries were copied, and bytes of content."""

    entries: int
    size: int


def open_files(engine: Engine, name: str, undo: Rollback, *, bare: bool = False) -> Files | MachineFiles:
    """The files of a container, for as long as `undo` is not run; one that does not run cannot be started meanwhile.
    `bare`: without what is mounted on its root. Raises NotFound, Unsupported."""
    from atoll.isolation.files.client import Files

    row = engine.store.container(name)
    if machine.is_in_one(row):
        from atoll.engine.containers import machine_files

        return machine_files.open_files(engine, row, undo, bare=bare)
    run, place = engine.paths.container_run(row.id), engine.paths.container(row.id)
    if not is_up(state_of(engine, row.id)):
        lock = lock_container(place)
        undo.push(lock.release)
        if not is_up(state_of(engine, row.id)):
            if row.image is None:
                raise errors.Unsupported(
                    f"container {row.name} has ended, and with it its files: it was made of the host's own root",
                    hint="copy while it runs, or into a volume",
                )
            engine.snapshots.ensure_writable(row.id)  # after a reboot nobody has mounted it
            plan = bundle.load(place)
            found = Files.of_plan(plan, engine.idmap, engine.paths.containers_run, bare=bare)
            undo.push(found.close)
            return found
        lock.release()
    found = Files.of_running(run, bare=bare)
    undo.push(found.close)
    return found


def copy_out(
    engine: Engine, name: str, source: str, target: str, *, follow: bool = False, archive: bool = False
) -> Copied:
    """Copy `source` of the container to the path `target` here, by the rules of `runtime/files/destination.py`.
    `follow`: a link as source stands for what it leads to; `archive`: keep uid and gid. Raises NotFound, Conflict."""
    from atoll.base.rollback import Rollback
    from atoll.linux.root import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS
    from atoll.runtime.files import destination, unpack

    with Rollback() as undo:
        files = open_files(engine, name, undo)
        about = describe(source, lambda: files.stat(source, follow=follow or source.endswith("/")).mode)
        try:
            base, rename = destination.settle(_open_here, target, about)
        except OSError as error:
            raise errors.from_os_error(error, f"copy to {target}") from error
        undo.push(os.close, base)
        rules = unpack.Rules(
            owner=None if archive else (-1, -1),
            resolve=RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
            rename=None if rename is None else (about.name, rename),
        )

        def take(fd: int) -> None:
            with open(fd, "rb", buffering=0) as stream:
                unpack.unpack(stream, base, rules)

        def ask(fd: int) -> None:
            # A name that ends in a slash or a dot is followed to its end in any case: path_resolution(7).
            ends = follow or source.endswith(("/", "/."))
            files.send_get(source, fd, arcname="" if about.contents else about.name, follow=ends)

        done = _through_pipe(files, ask, take, reads=True, what=f"copy to {target}")
    events.container(engine, name, "archive-path", path=source)
    return done


def copy_in(
    engine: Engine, name: str, source: str, target: str, *, follow: bool = False, archive: bool = False
) -> Copied:
    """Copy `source` here to the path `target` in the container. What is made belongs to its root user, with `archive`
    to the same uid and gid as here. Raises NotFound, Conflict, Denied for a root that is read-only."""
    from atoll.base.rollback import Rollback
    from atoll.runtime.files import pack

    ends = follow or source.endswith(("/", "/."))
    try:
        about = describe(source, lambda: (os.stat if ends else os.lstat)(source).st_mode)
    except OSError as error:
        raise errors.from_os_error(error, "copy") from error
    _refuse_read_only(engine, name)
    with Rollback() as undo:
        files = open_files(engine, name, undo)
        parent, local = _local(source, follow=ends)
        where = os.open(parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        undo.push(os.close, where)

        def give(fd: int) -> None:
            with open(fd, "wb", buffering=0) as stream:
                pack.pack(stream, where, local, arcname="" if about.contents else about.name)

        def ask(fd: int) -> None:
            wire = {"name": about.name, "directory": about.directory, "contents": about.contents}
            files.send_put(target, fd, about=wire, archive=archive)

        done = _through_pipe(files, ask, give, reads=False, what=f"copy {source}")
    events.container(engine, name, "extract-to-dir", path=target)
    return done


def stream_out(engine: Engine, name: str, source: str, out: int, *, follow: bool = False) -> Copied:
    """An archive of `source` of the container into the descriptor `out`."""
    from atoll.base.rollback import Rollback

    with Rollback() as undo:
        files = open_files(engine, name, undo)
        about = describe(source, lambda: files.stat(source, follow=follow or source.endswith("/")).mode)
        ends = follow or source.endswith(("/", "/."))
        files.send_get(source, out, arcname="." if about.contents else about.name, follow=ends)
        done = files.finish()
    return Copied(entries=done["entries"], size=done["size"])


def stream_in(engine: Engine, name: str, target: str, source: int, *, archive: bool = False) -> Copied:
    """The archive in the descriptor `source`, compressed or not, into the directory `target` of the container. Owners
    are the archive's: it names them."""
    from atoll.base.rollback import Rollback

    _refuse_read_only(engine, name)
    with Rollback() as undo:
        files = open_files(engine, name, undo)
        files.send_put(target, source, about=None, archive=True)
        done = files.finish()
    return Copied(entries=done["entries"], size=done["size"])


def describe(path: str, mode_of: Callable[[], int]) -> Any:
    """What is copied (`destination.Source`), by its path and kind. Raises InvalidArgument for a file with a final
    slash, and what `mode_of` raises."""
    from atoll.runtime.files.destination import Source

    directory = stat.S_ISDIR(mode_of())
    contents = path.endswith("/.") or path == "."
    if not directory and (contents or path.endswith("/")):
        raise errors.InvalidArgument(f"{path} is not a directory")
    name = os.path.basename(os.path.normpath(path)) if path.strip("/") else ""
    if name in ("", ".", ".."):  # nothing to be named after: what is in it goes
        return Source(name=".", directory=directory, contents=True)
    return Source(name=name, directory=directory, contents=contents)


def _refuse_read_only(engine: Engine, name: str) -> None:
    """For one that does not run: its root is mounted for the copy alone, and not read-only."""
    row = engine.store.container(name)
    if Record.from_text(row.record).read_only and not is_up(state_of(engine, row.id)):
        raise errors.Denied("container rootfs is marked read-only")


def _local(source: str, *, follow: bool) -> tuple[str, str]:
    """(directory, name) that `pack` begins at; with `follow` those of what a link leads to."""
    place = os.path.realpath(source) if follow else source.rstrip("/")
    parent, name = os.path.split(place)
    if name in ("", ".", ".."):
        return place or "/", "."
    return parent or ".", name


def _open_here(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_CLOEXEC)


def _through_pipe(
    files: Files | MachineFiles, ask: Callable[[int], None], work: Callable[[int], None], *, reads: bool, what: str
) -> Copied:
    """Run `work` on our end of a pipe whose other end goes with `ask`. The error that came first, on whichever side,
    is the one that is raised: a broken pipe is never it."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    theirs, ours = (write_end, read_end) if reads else (read_end, write_end)
    try:
        ask(theirs)
    finally:
        os.close(theirs)
    failed: BaseException | None = None
    try:
        work(ours)
    except BrokenPipeError:
        pass  # the other side gave up and says why
    except OSError as error:
        failed = errors.from_os_error(error, what)
    except errors.AtollError as error:
        failed = error
    try:
        done = files.finish()
    except errors.AtollError:
        if failed is None or not reads:
            raise
        raise failed from None
    if failed is not None:
        raise failed
    return Copied(entries=done["entries"], size=done["size"])
