"""restore --import: a container of an archive's machine, with the rights that this request gives it.

Holds: `import_`. Does not hold: the archive's form and its bounds (`archive.py`).
Of the archive come what an image could say as well (command, environment, user), the disk, volumes with what is in
them, and the machine's memory and devices, which a jailed VMM takes in. Networks, ports, limits, capabilities,
filters, mounts of the host's, policies, names and labels come from the request, as do the size of the machine and its
isolation: what was saved must fit them.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, ids, jsontext
from atoll.base.rollback import Rollback
from atoll.engine.checkpoints import archive, copies, volumes
from atoll.engine.checkpoints.archive import Manifest, Reader
from atoll.engine.checkpoints.volumes import Wishes
from atoll.engine.events import note as events
from atoll.engine.locks import lock_container
from atoll.vm.checkpoint import SHAPE

_PATIENCE_MAX = 3600
_AS_THEY_ARE = Wishes()
TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.engine.volumes.imported import Imported


def import_(engine: Engine, source: str, request: RunRequest, wishes: Wishes = _AS_THEY_ARE) -> str:
    """Make the container that was saved in the archive `source` ("-": standard input) and let it go on, or start it
    anew if its memory is not there. `request` says all but what to run; what it mounts stands for the archive's
    volume at that place, and `wishes` say what becomes of the others. Returns its id; what is not there is said in
    `engine.warnings`.

    Raises NotFound without its image, Corrupt for an archive that is none, FailedPrecondition for a machine that
    would be another, Conflict for a volume that is here already, and what `create` raises. On failure, and where the
    command is killed before the container is made, nothing of the container or its volumes stays.
    """
    if request.isolation not in (None, "vm"):
        raise errors.Unsupported(f"a saved machine is of the isolation level 'vm', not {request.isolation!r}")
    if request.pod:
        raise errors.Unsupported("a saved machine is a container's own, and in no pod")
    with Rollback() as held, Rollback() as undo:
        # A directory that no container has: if we are killed, the next command that meets it removes it.
        place = engine.paths.container(ids.new_id())
        try:
            os.mkdir(place, 0o700)
            held.push(files.remove_tree, place)
            held.push(lock_container(place).release)
            fd = os.dup(0) if source == "-" else os.open(source, os.O_RDONLY | os.O_CLOEXEC)
            held.push(os.close, fd)
            reader = Reader(fd)
            manifest = reader.manifest
            chosen, lacking = volumes.choose(engine, manifest, request, wishes)
            reader.extract(place)
        except OSError as error:
            raise errors.from_os_error(error, f"read {source}") from error
        _have_image(engine, manifest, place)
        if manifest.machine is not None:
            files.write_atomic(f"{place}/{SHAPE}", jsontext.dumps(manifest.machine.to_json()))
        try:
            ready = volumes.unpack(engine, manifest, chosen, place, held=held, undo=undo)
        except OSError as error:
            raise errors.from_os_error(error, "make the volumes") from error
        try:
            wanted = _with_volumes(_completed(request, manifest), ready)
            made = copies.make(engine, wanted, place, memory=manifest.machine is not None)
        except errors.FailedPrecondition as error:
            raise errors.FailedPrecondition(error.message, hint=_hint(manifest) or error.hint) from error
        undo.release()
    engine.warnings += [f"nothing is in the archive for {one}: -v says what is to be there" for one in lacking]
    events.container(engine, made, "restore")
    return made


def _with_volumes(request: RunRequest, ready: tuple[Imported, ...]) -> RunRequest:
    if not ready:
        return request
    from atoll.engine.containers.mount_flags import Storage

    return request.replace(storage=(request.storage or Storage()).replace(imported=ready))


def _have_image(engine: Engine, manifest: Manifest, place: str) -> None:
    """The image is here, or comes out of the archive: without a name, so that no other loses its own."""
    path = f"{place}/{archive.IMAGE}"
    if engine.store.image(manifest.image) is not None:
        return
    if not os.path.exists(path):
        raise errors.NotFound(
            f"No such image: {manifest.image}", hint="pull it, or export with --with-image where the container was"
        )
    from atoll.engine.images.load import load

    loaded = [one.id for one in load(engine, path, named=False, platform=manifest.platform or None)]
    if manifest.image not in loaded:
        raise errors.Corrupt(f"a damaged archive: its image is {', '.join(loaded)}, and should be {manifest.image}")


def _completed(request: RunRequest, manifest: Manifest) -> RunRequest:
    """With what to run. What the request says itself counts."""
    known = manifest.container
    whole = request.entrypoint is None and not request.command
    entrypoint, command = known.entrypoint, known.cmd
    return request.replace(
        image=manifest.image,
        entrypoint=(entrypoint[0] if entrypoint else "") if whole else request.entrypoint,
        command=(*entrypoint[1:], *command) if whole else request.command,
        env=(*[one for one in known.env if "=" in one], *request.env),
        workdir=request.workdir or known.workdir,
        user=known.user if request.user is None else request.user,
        terminal=known.terminal,
        stdin=known.stdin,
        stop_signal=request.stop_signal or _signal(known.stop_signal),
        stop_timeout=_patience(known.stop_timeout) if request.stop_timeout is None else request.stop_timeout,
        isolation="vm",
        pull="never",
        detach=True,
    )


def _signal(name: str) -> str:
    from atoll.linux import signals

    try:
        signals.number_of(name)
    except ValueError:
        raise errors.Corrupt("a damaged archive: a signal that is none") from None
    return name


def _patience(seconds: int) -> int | None:
    """How long a stop waits; an archive does not make it wait for ever."""
    return seconds if 0 <= seconds <= _PATIENCE_MAX else None


def _hint(manifest: Manifest) -> str:
    """The flags that the container was made with, where they decide of the machine."""
    known = manifest.container
    words = [f"-m {known.memory >> 20}m"] if known.memory > 0 else []
    words += [f"--cpus {known.cpus / 10**9:g}"] if known.cpus > 0 else []
    words += ["--rm"] if "disk.img" not in manifest.parts else []
    return f"it was made with {' '.join(words)}" if words else ""
