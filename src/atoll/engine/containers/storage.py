"""Which mounts a container gets: the flags, other containers' and the image's volumes together; and their making.

Holds: `gather` (what to mount), `image_steps` (images among them), `make` (volumes, and sources that are not there).
Does not hold: the grammars (`volumes.py`, `mount_flags.py`). Loaded only for a container that has such a mount.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.containers import volumes
from atoll.engine.containers.record import MountPoint, Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.files import FileLock
    from atoll.engine.containers.mount_flags import Wanted
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.spec.rootfs import Overlay, RootStep


def gather(engine: Engine, request: RunRequest, image_volumes: tuple[str, ...]) -> tuple[MountPoint, ...]:
    """All mounts. What the flags say goes over other containers' volumes, and those over the image's. Raises
    InvalidArgument, NotFound, Unsupported."""
    places = {"cwd": engine.cwd if request.volumes or request.storage else "/", "volumes": engine.paths.volumes}
    asked = [volumes.parse(one, **places) for one in request.volumes]
    inherited: list[MountPoint] = []
    if request.storage is not None:
        from atoll.engine.containers import mount_flags

        if request.storage.volume_driver not in (None, "local"):
            raise errors.Unsupported(
                f"volume driver {request.storage.volume_driver!r} is not there", hint="there is 'local'"
            )
        asked += [mount_flags.parse_mount(one, **places).mount for one in request.storage.mounts]
        asked += [mount_flags.parse_tmpfs(one) for one in request.storage.tmpfs]
        asked += [mount for one in request.storage.imported for mount in one.mounts]
        for one in request.storage.volumes_from:
            name, read_only = mount_flags.split_volumes_from(one)
            other = Record.from_text(engine.store.container(name).record)
            inherited += mount_flags.volumes_from(other.mounts, read_only=read_only)
    volumes.check_unique(asked)
    taken = {mount.destination for mount in asked}
    for mount in inherited:
        if mount.destination not in taken:
            taken.add(mount.destination)
            asked.append(mount)
    # A place below /proc, /sys or /dev never comes here: `spec/image.py` refuses such an image.
    asked += [volumes.anonymous(path, engine.paths.volumes) for path in image_volumes if path not in taken]
    for mount in asked:
        if mount.idmap and engine.uid != 0:
            raise errors.Denied(
                f"cannot mount {mount.source} with idmap: the kernel refuses it to an ordinary user",
                hint="--userns=keep-id shows your own files as yours",
            )
    return tuple([_settled(engine, mount) for mount in asked])


def _settled(engine: Engine, mount: MountPoint) -> MountPoint:
    """With what is known of a volume that is there, and with an image by its id."""
    if mount.type == "image":
        from atoll.engine.images.resolve import check_admitted, need

        image = need(engine, mount.source)
        check_admitted(engine, image)
        return mount.replace(source=image.id)
    if mount.type == "volume" and not mount.anonymous and mount.name:
        from atoll.engine.volumes import options, store

        if os.path.exists(f"{engine.paths.volumes}/{mount.name}/{store.FACTS}"):
            return options.as_mount(store.find(engine, mount.name), mount)
    return mount


def image_steps(engine: Engine, mounts: tuple[MountPoint, ...]) -> tuple[RootStep, ...]:
    """The steps of the root that show images, read-only. Raises NotFound for layers that are not unpacked."""
    from atoll.spec.rootfs import Bind

    found: list[RootStep] = []
    for mount in mounts:
        if mount.type != "image":
            continue
        overlay = engine.snapshots.plan(engine.store.chain_ids(mount.source))
        if len(overlay.lower) > 1 and mount.subpath:
            raise errors.Unsupported(
                f"subpath {mount.subpath!r} of an image of several layers", hint="mount the whole image"
            )
        if mount.subpath:
            source = f"{overlay.lower[0]}/{mount.subpath}"
            if os.path.realpath(source) != source:
                raise errors.InvalidArgument(f"subpath {mount.subpath!r} of {mount.name} leads through a link")
            found.append(Bind(source=source, target=mount.destination, read_only=True))
        else:
            found.append(_shown(engine, overlay, mount.destination))
    return tuple(found)


def _shown(engine: Engine, overlay: Overlay, target: str) -> RootStep:
    """One layer is bound as it is; of several an overlay is made, by whoever makes them here."""
    from atoll.spec.rootfs import FuseOverlay

    if len(overlay.lower) > 1 and engine.snapshots.driver() == "fuse-overlayfs":
        return FuseOverlay(lower=overlay.lower, target=target)
    return overlay.replace(target=target)


def make(engine: Engine, request: RunRequest, mounts: tuple[MountPoint, ...]) -> FileLock | None:
    """Make the volumes, and those sources of `-v` that are not there. Returns the held lock of volumes, if there are
    any: to be given back when the container's row is written. Raises InvalidArgument for a bind without a source."""
    from atoll.engine.volumes import store

    held = None
    if any(mount.type == "volume" for mount in mounts):
        held = store.lock(engine)
        held.acquire(shared=True)
    try:
        wanted = _wanted(engine, request)
        ready = [one.name for one in request.storage.imported] if request.storage is not None else []
        for mount in mounts:
            if mount.type == "volume" and mount.name in ready:
                continue  # `volumes/imported.py` makes it
            if mount.type == "volume" and mount.name:
                asked = wanted.get(mount.destination)
                store.ensure(
                    engine,
                    mount.name,
                    labels=asked.labels if asked else (),
                    options=asked.options if asked else (),
                    anonymous=mount.anonymous,
                )
            if mount.type == "bind" or (mount.type == "volume" and not mount.filesystem):
                _source(mount)
            if mount.relabel:
                from atoll.engine.containers import selinux

                selinux.relabel(mount.source, shared=mount.relabel == "z")
    except BaseException:
        if held is not None:
            held.release()
        raise
    return held


def _wanted(engine: Engine, request: RunRequest) -> dict[str, Wanted]:
    if request.storage is None or not request.storage.mounts:
        return {}
    from atoll.engine.containers import mount_flags

    found = [
        mount_flags.parse_mount(one, cwd=engine.cwd, volumes=engine.paths.volumes) for one in request.storage.mounts
    ]
    return {one.mount.destination: one for one in found if one.labels or one.options}


def _source(mount: MountPoint) -> None:
    if os.path.lexists(mount.source):
        return
    if not mount.create:
        raise errors.InvalidArgument(
            f'invalid mount config for type "{mount.type}": bind source path does not exist: {mount.source}',
            hint="make it first, or use -v, which makes a directory",
        )
    try:
        os.makedirs(mount.source, 0o755, exist_ok=True)
    except OSError as error:
        raise errors.from_os_error(error, f"make the directory for the volume on {mount.destination}") from error
