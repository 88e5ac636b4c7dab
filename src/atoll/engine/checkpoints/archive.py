"""The form of a checkpoint's archive: a tar(5) archive of a fixed order, read as hostile input.

Holds: `Manifest`, `Part`, `write`, `Reader`. Does not hold: what is exported (`export.py`), what becomes of what was
imported (`import_.py`), what is in the archives of volumes (`volumes.py`).

    checkpoint.json   what the other members are, with digests; configuration; what the machine was made of
    memory, state     the guest's memory and its devices, if they were asked for
    disk.img          what the container had written
    volume-0.tar, …   what is in its volumes, if it has any
    image.tar         the image (an OCI archive), if it was asked for

Files with holes are told as extents, and their member has the data alone. The reader takes ustar headers of exactly
these names in this order, and nothing else: no path, link, owner, mode or extension of the archive's is looked at.
Every number is bounded before anything is allocated or written for it, and every byte is below a digest. Nothing of
it grants a right: there is no field for one (CVE-2026-94603, CVE-2026-53492).
"""

from __future__ import annotations

import os

from atoll.base import errors, files, ids, jsontext
from atoll.base.value import Value
from atoll.spec import codec
from atoll.spec.codec import flag, int64, list_of, record, text
from atoll.vm.checkpoint import Shape

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FORMATS = (1, 2)
"""The second one has volumes: an archive without any is still of the first."""
MANIFEST, IMAGE = "checkpoint.json", "image.tar"
VOLUMES_MAX, MOUNTS_MAX = 128, 1024
VOLUMES = tuple([f"volume-{number}.tar" for number in range(VOLUMES_MAX)])
MEMBERS = ("memory", "state", "disk.img", *VOLUMES, IMAGE)
MANIFEST_MAX = 8 << 20
LENGTH_MAX = {"memory": 1 << 40, "state": 64 << 20, "disk.img": 1 << 44, IMAGE: 1 << 40}
LENGTH_MAX |= dict.fromkeys(VOLUMES, 1 << 44)
"""Bytes of a file at most, holes included."""
EXTENTS_MAX = 1 << 17
_GAP = 1 << 16
"""Holes that are shorter are written as zeros."""
_BLOCK = 512
_CHUNK = 1 << 20
_texts = list_of(text)


class Part(Value):
    """A file: its `length` with holes, where its data is ((offset, bytes), ascending), their SHA-256 (hex)."""

    length: int
    extents: tuple[tuple[int, int], ...]
    digest: str

    @property
    def size(self) -> int:
        """Bytes of data."""
        return sum(count for _, count in self.extents)


class Container(Value):
    """What travels of a container's configuration: what its image could say as well. `memory` and `cpus` are what it
    had asked for, to be told, not granted."""

    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = ""
    terminal: bool = False
    stdin: bool = False
    stop_signal: str = "SIGTERM"
    stop_timeout: int = 10
    memory: int = 0
    cpus: int = 0
    WIRE = {
        "entrypoint": _texts,
        "cmd": _texts,
        "env": _texts,
        "workdir": text,
        "user": text,
        "terminal": flag,
        "stdin": flag,
        "stop_signal": text,
        "stop_timeout": int64,
        "memory": int64,
        "cpus": int64,
    }


class VolumeMount(Value):
    """Where a volume is seen, and what of it. `options` are restrictions (`nosuid`, `nodev`, `noexec`)."""

    destination: str
    read_only: bool = False
    copy: bool = False
    subpath: str = ""
    options: tuple[str, ...] = ()
    WIRE = {"destination": text, "read_only": flag, "copy": flag, "subpath": text, "options": _texts}

    def check(self) -> None:
        """Raises Corrupt for what no `-v` could say."""
        from atoll.engine.containers.mount_flags import check_subpath
        from atoll.engine.containers.volumes import inside

        try:
            known = inside(self.destination, self.destination) == self.destination
            known = known and check_subpath(self.subpath) == self.subpath and set(self.options) <= set(RESTRICTIONS)
        except errors.InvalidArgument:
            known = False
        if not known or "\n" in self.destination + self.subpath:
            raise errors.Corrupt("a damaged archive: a volume that is mounted in no known way")


RESTRICTIONS = ("nosuid", "nodev", "noexec")


class VolumeFacts(Value):
    """A volume: its `name`, "" for one that nobody has named, and where the container sees it. Its options, labels
    and size are those of the store that it is in, and stay there."""

    name: str
    mounts: tuple[VolumeMount, ...]
    WIRE = {"name": text, "mounts": list_of(record(VolumeMount))}


class Manifest(Value):
    """The first member. `image` is the image's id, `platform` its platform; `machine` is None without memory. The
    content of `volumes` is in the members of their order; `left` are places in the container whose content is not in
    the archive, mounts of the host's among them."""

    image: str
    platform: str
    container: Container
    machine: Shape | None
    parts: dict[str, Part]
    volumes: tuple[VolumeFacts, ...] = ()
    left: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The document."""
        found = {"volumes": [codec.dump(one) for one in self.volumes], "left": list(self.left)}
        more = found if self.volumes or self.left else {}
        return {
            "atollCheckpoint": FORMATS[1] if more else FORMATS[0],
            "image": self.image,
            "platform": self.platform,
            "container": codec.dump(self.container),
            "machine": self.machine.to_json() if self.machine is not None else None,
            "parts": {
                name: {"length": one.length, "extents": [list(pair) for pair in one.extents], "sha256": one.digest}
                for name, one in self.parts.items()
            },
            **more,
        }

    @staticmethod
    def from_json(wire: Any) -> Manifest:
        """Parse. Raises Corrupt, Unsupported for a form of another version."""
        if not isinstance(wire, dict) or not isinstance(wire.get("atollCheckpoint"), int):
            raise errors.Corrupt("this is no archive of a checkpoint")
        if wire["atollCheckpoint"] not in FORMATS:
            raise errors.Unsupported(
                f"an archive of form {wire['atollCheckpoint']}: this Atoll reads the forms up to {FORMATS[-1]}"
            )
        try:
            machine, parts = wire["machine"], wire["parts"]
            shape = Shape.from_json(machine) if machine is not None else None
            made = Manifest(
                image=_digest(wire["image"], "sha256:"),
                platform=text(wire["platform"], "platform"),
                container=codec.parse(Container, wire["container"], "container"),
                machine=shape,
                parts={name: _part(name, one) for name, one in parts.items()},
                volumes=list_of(record(VolumeFacts))(wire.get("volumes") or [], "volumes"),
                left=_texts(wire.get("left") or [], "left"),
            )
        except (KeyError, TypeError, ValueError, AttributeError, errors.InvalidArgument) as error:
            raise errors.Corrupt(f"a damaged archive: {error}") from None
        made.check()
        return made

    def check(self) -> None:
        """What the parts must be to one another. Raises Corrupt."""
        unknown = set(self.parts) - set(MEMBERS)
        saved = {"memory", "state"} & set(self.parts)
        if unknown or len(saved) == 1 or (len(saved) == 2) != (self.machine is not None):
            raise errors.Corrupt("a damaged archive: its parts are not those of a checkpoint")
        if self.machine is not None and self.parts["memory"].length != self.machine.memory << 20:
            raise errors.Corrupt("a damaged archive: its memory is not of its machine's size")
        if "memory" not in self.parts and "disk.img" not in self.parts:
            raise errors.Corrupt("a damaged archive: it holds neither memory nor disk")
        self._check_volumes()

    def _check_volumes(self) -> None:
        known = {*VOLUMES[: len(self.volumes)]} == {*VOLUMES} & set(self.parts)
        if not known or len(self.volumes) > VOLUMES_MAX or not all(one.mounts for one in self.volumes):
            raise errors.Corrupt("a damaged archive: its volumes are not those that it tells of")
        if any(self.parts[name].size != self.parts[name].length for name in VOLUMES[: len(self.volumes)]):
            raise errors.Corrupt("a damaged archive: a volume's archive that has holes")
        if self.volumes and self.machine is not None:
            raise errors.Corrupt("a damaged archive: the memory of a machine with volumes")
        mounts = [mount for one in self.volumes for mount in one.mounts]
        for mount in mounts:
            mount.check()
        if len({one.destination for one in mounts}) != len(mounts) or len(mounts) + len(self.left) > MOUNTS_MAX:
            raise errors.Corrupt("a damaged archive: volumes at one place, or too many")
        named = [one.name for one in self.volumes if one.name]
        if len(set(named)) != len(named) or not all(ids.valid_name(name) for name in named):
            raise errors.Corrupt("a damaged archive: names of volumes that are none, or twice the same")


def _digest(value: Any, prefix: str = "") -> str:
    if not isinstance(value, str) or not value.startswith(prefix):
        raise errors.Corrupt("a damaged archive: a digest that is none")
    digits = value[len(prefix) :]
    if len(digits) != 64 or not set(digits) <= set("0123456789abcdef"):
        raise errors.Corrupt("a damaged archive: a digest that is none")
    return value


def _part(name: str, wire: Any) -> Part:
    length, extents = wire["length"], wire["extents"]
    numbers = [length, *[number for pair in extents for number in pair]]
    if any(type(number) is not int for number in numbers) or any(len(pair) != 2 for pair in extents):
        raise errors.Corrupt(f"a damaged archive: {name} has extents that are none")
    if name not in LENGTH_MAX or not 0 <= length <= LENGTH_MAX[name] or len(extents) > EXTENTS_MAX:
        raise errors.Corrupt(f"a damaged archive: {name} is too large")
    end = 0
    for offset, count in extents:
        if offset < end or count <= 0 or offset + count > length:
            raise errors.Corrupt(f"a damaged archive: {name} has extents that lie outside, or over one another")
        end = offset + count
    return Part(length=length, extents=tuple([(one[0], one[1]) for one in extents]), digest=_digest(wire["sha256"]))


def part_of(path: str, *, holes: bool = True) -> Part:
    """What a file comes to; without `holes` they are zeros, as in a volume's archive. Raises OSError."""
    import hashlib

    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        length = os.fstat(fd).st_size
        extents = _extents(fd, length) if holes else [(0, length)] if length else []
        digest = hashlib.sha256()
        for chunk in _data(fd, extents):
            digest.update(chunk)
        return Part(length=length, extents=tuple(extents), digest=digest.hexdigest())
    finally:
        os.close(fd)


def _extents(fd: int, length: int) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    end = 0
    while end < length:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: holes up to the end
            break
        end = os.lseek(fd, start, os.SEEK_HOLE)
        if found and start - sum(found[-1]) < _GAP:
            start = found.pop()[0]
        found.append((start, end - start))
    return found


def _data(fd: int, extents: Any) -> Any:
    for offset, count in extents:
        at = offset
        while at < offset + count:
            chunk = os.pread(fd, min(_CHUNK, offset + count - at), at)
            if not chunk:
                raise errors.Unavailable("a file became shorter while it was read")
            at += len(chunk)
            yield chunk


def write(out: int, manifest: Manifest, place: str) -> None:
    """Write the archive of the files in `place`. Raises OSError."""
    document = jsontext.dumps(manifest.to_json()).encode()
    if len(document) > MANIFEST_MAX:
        raise errors.Exhausted("the machine's memory is in too many pieces for an archive")
    files.write_all(out, _header(MANIFEST, len(document)) + document + bytes(-len(document) % _BLOCK))
    for name in MEMBERS:
        part = manifest.parts.get(name)
        if part is None:
            continue
        files.write_all(out, _header(name, part.size))
        fd = os.open(f"{place}/{name}", os.O_RDONLY | os.O_CLOEXEC)
        try:
            for chunk in _data(fd, part.extents):
                files.write_all(out, chunk)
        finally:
            os.close(fd)
        files.write_all(out, bytes(-part.size % _BLOCK))
    files.write_all(out, bytes(2 * _BLOCK))


def _header(name: str, size: int) -> bytes:
    """A ustar header (POSIX.1-2001, pax(1)); a size that octal digits cannot say in base 256, as GNU tar does."""
    field = b"%011o\0" % size if size < 8**11 else b"\x80" + size.to_bytes(11, "big")
    head = name.encode().ljust(100, b"\0") + b"0000600\0" + b"0000000\0" * 2 + field + b"00000000000\0"
    tail = b"0" + bytes(100) + b"ustar\x0000" + bytes(32 + 32) + b"0000000\0" * 2
    blank = (head + b" " * 8 + tail).ljust(_BLOCK, b"\0")
    return (head + b"%06o\0 " % sum(blank) + tail).ljust(_BLOCK, b"\0")


class Reader:
    """Reads an archive from a descriptor, forward only. `manifest` is read at once. Raises Corrupt, OSError."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        size = self._expect(MANIFEST)
        if not 0 < size <= MANIFEST_MAX:
            raise errors.Corrupt("this is no archive of a checkpoint")
        document = self._take(size)
        self._take(-size % _BLOCK)
        try:
            self.manifest = Manifest.from_json(jsontext.loads(document))
        except (ValueError, RecursionError) as error:
            raise errors.Corrupt(f"a damaged archive: {error}") from None

    def extract(self, place: str) -> None:
        """The members, checked, as files of `place`, a directory of ours that is empty."""
        for name in MEMBERS:
            part = self.manifest.parts.get(name)
            if part is None:
                continue
            if self._expect(name) != part.size:
                raise errors.Corrupt(f"a damaged archive: {name} is not of the size that was told")
            fd = os.open(f"{place}/{name}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            try:
                self._fill(fd, name, part)
            finally:
                os.close(fd)
            self._take(-part.size % _BLOCK)

    def _fill(self, fd: int, name: str, part: Part) -> None:
        import hashlib

        digest = hashlib.sha256()
        os.ftruncate(fd, part.length)
        for offset, count in part.extents:
            os.lseek(fd, offset, os.SEEK_SET)
            left = count
            while left:
                chunk = self._take(min(left, _CHUNK))
                digest.update(chunk)
                files.write_all(fd, chunk)
                left -= len(chunk)
        if digest.hexdigest() != part.digest:
            raise errors.Corrupt(f"a damaged archive: {name} is not what its digest promised")

    def _expect(self, name: str) -> int:
        """The size of the next member, which must be an ordinary file of this name."""
        head = self._take(_BLOCK)
        size = int.from_bytes(head[125:136], "big") if head[124] == 0x80 else _octal(head[124:135])
        if size < 0 or head != _header(name, size):
            raise errors.Corrupt(f"this is no archive of a checkpoint: {name} is not where it should be")
        return size

    def _take(self, count: int) -> bytes:
        chunks = []
        while count:
            chunk = os.read(self._fd, count)
            if not chunk:
                raise errors.Corrupt("a damaged archive: it ends too early")
            chunks.append(chunk)
            count -= len(chunk)
        return b"".join(chunks)


def _octal(digits: bytes) -> int:
    return int(digits, 8) if digits.isdigit() and not set(digits) & set(b"89") else -1
