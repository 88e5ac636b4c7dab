"""Options of the local driver: `type`, `device` and `o` as mount(8) takes them, `size`. Pure but for `prepare`.

Holds: `check`, `as_mount`, `prepare`. Does not hold: mounting: the container's init does that, in the container's own
mount namespace, so that nothing stays mounted on the host; a volume that is a tmpfs is each container's own.
Source: docs.docker.com, "docker volume create", "Driver-specific options".
"""

from __future__ import annotations

from atoll.base import errors, units
from atoll.engine.containers.record import MountPoint

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.volumes.store import Volume

_KNOWN = ("type", "device", "o", "size")
_NETWORK = frozenset(("nfs", "nfs4", "cifs", "smb3", "ceph", "9p"))


def check(options: tuple[tuple[str, str], ...], uid: int) -> None:
    """Raises InvalidArgument in Docker's words, Denied for what the kernel refuses to an ordinary user."""
    given = dict(options)
    for key, value in options:
        if key not in _KNOWN:
            raise errors.InvalidArgument(f'invalid option: "{key}"', hint="known are " + ", ".join(_KNOWN))
        if any(c in value for c in "\0\n"):
            raise errors.InvalidArgument(f'invalid option: "{key}" holds a control character')
    if "size" in given:
        units.parse_size(given["size"], "size of the volume")
        if len(given) > 1:
            raise errors.InvalidArgument(
                "size cannot go together with type, device or o", hint="o=size=… for a tmpfs"
            )
    words = _words(given)
    is_bind = "bind" in words or "rbind" in words
    if is_bind and not given.get("device", "").startswith("/"):
        raise errors.InvalidArgument('missing required option: "device"', hint="device=/an/absolute/path")
    if not is_bind and ("o" in given or "device" in given) and not given.get("type"):
        raise errors.InvalidArgument('missing required option: "type"')
    kind = given.get("type", "")
    if kind and not is_bind:
        if not all(c.isalnum() or c in "._-" for c in kind):
            raise errors.InvalidArgument(f"invalid file system type {kind!r}")
        if kind != "tmpfs" and not given.get("device"):
            raise errors.InvalidArgument('missing required option: "device"')
        if uid != 0 and kind not in ("tmpfs", "overlay", "fuse"):
            where = "a network file system" if kind in _NETWORK else f"a file system of type {kind}"
            raise errors.Denied(
                f"cannot mount {where} as an ordinary user: the kernel refuses it in a user namespace",
                hint="mount it on the host and bind it: --opt type=none --opt o=bind --opt device=/mnt/…",
            )


def _words(given: dict[str, str]) -> list[str]:
    return [word for word in given.get("o", "").split(",") if word]


def as_mount(volume: Volume, mount: MountPoint) -> MountPoint:
    """How a container mounts a volume that has options: what `o=bind` names, or the file system itself."""
    given = dict(volume.options)
    if not given or "size" in given:
        return mount
    words = _words(given)
    read_only = mount.read_only or "ro" in words
    if "bind" in words or "rbind" in words:
        return mount.replace(source=given["device"], read_only=read_only, copy=False)
    flags = tuple([word for word in words if word not in ("ro", "rw")])
    if given["type"] == "tmpfs":
        flags = ("nosuid", "nodev", *flags)
    return mount.replace(
        filesystem=given["type"], device=given.get("device", ""), options=(*flags, *mount.options),
        read_only=read_only, copy=False,
    )  # fmt: skip


def prepare(engine: Engine, volume: Volume, place: str) -> None:
    """Carry out what its making takes: a bound on the directory `place` for a `size`. Raises Unsupported for an
    ordinary user, to whom the kernel grants none."""
    given = dict(volume.options)
    check(volume.options, engine.uid)
    if "size" not in given:
        return
    if engine.uid != 0:
        raise errors.Unsupported(
            f"a size for the volume {volume.name}: the kernel grants no quotas to an ordinary user",
            hint="type=tmpfs with o=size=… is bounded",
        )
    import os

    from atoll.snapshots import quota

    folder, key = os.path.split(place)
    quota.bound(folder, key, place, units.parse_size(given["size"], "size of the volume"), mode=0o755)
