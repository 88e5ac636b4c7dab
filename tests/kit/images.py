"""Images made on this machine: busybox and a Debian root, deterministic, cached as an OCI layout on disk.

Holds: `Image` (config, layers, manifest as bytes), `build`, `busybox`, `debian`. Does not hold: serving them
(`registry`). The cache is $ATOLL_TEST_CACHE or /var/cache/atoll-tests; deleting it is always safe.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import json
import os
import random
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

RECIPE = "1"  # raise when the content of an image changes
CREATED = "2024-01-01T00:00:00Z"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class Blob:
    """Bytes with a digest; large ones live in a file of the cache."""

    media_type: str
    digest: str
    size: int
    data: bytes | None = None
    path: str | None = None

    def read(self) -> bytes:
        """The bytes themselves."""
        if self.data is not None:
            return self.data
        assert self.path is not None
        with open(self.path, "rb") as stream:
            return stream.read()

    def descriptor(self) -> dict[str, object]:
        """As an OCI descriptor."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


@dataclass(frozen=True)
class Image:
    """One platform's image, ready to be pushed."""

    manifest: Blob
    config: Blob
    layers: tuple[Blob, ...]


def cache() -> str:
    """The cache directory, made if absent."""
    path = os.environ.get("ATOLL_TEST_CACHE", "/var/cache/atoll-tests")
    os.makedirs(path, exist_ok=True)
    return path


def sha256(data: bytes) -> str:
    """As an OCI digest."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def blob(media_type: str, data: bytes) -> Blob:
    """A blob in memory."""
    return Blob(media_type, sha256(data), len(data), data=data)


def document(value: object) -> bytes:
    """Canonical JSON."""
    return json.dumps(value, sort_keys=True, separators=(",", ":")).encode()


def assemble(layers: Iterable[tuple[Blob, str]], config: Mapping[str, object]) -> Image:
    """Config and manifest around (layer, diff id) pairs; `config` is the OCI `config` object."""
    pairs = list(layers)
    body = {
        "architecture": "amd64" if os.uname().machine == "x86_64" else "arm64",
        "os": "linux",
        "created": CREATED,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [diff for _, diff in pairs]},
        "history": [{"created": CREATED, "created_by": "atoll tests"} for _ in pairs],
    }
    config_blob = blob(CONFIG, document(body))
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": config_blob.descriptor(),
        "layers": [layer.descriptor() for layer, _ in pairs],
    }
    return Image(blob(MANIFEST, document(manifest)), config_blob, tuple(layer for layer, _ in pairs))


def with_layers(base: Image, layers: Iterable[tuple[Blob, str]], config: Mapping[str, object]) -> Image:
    """An image of `base` and more layers above it."""
    diff_ids = json.loads(base.config.read())["rootfs"]["diff_ids"]
    return assemble([*zip(base.layers, diff_ids, strict=True), *layers], config)


def write_layout(image: Image, folder: str | os.PathLike[str], name: str) -> None:
    """An OCI image layout with this one image under a name."""
    blobs = os.path.join(folder, "blobs", "sha256")
    os.makedirs(blobs)
    for one in (image.manifest, image.config, *image.layers):
        with open(os.path.join(blobs, one.digest.removeprefix("sha256:")), "wb") as stream:
            stream.write(one.read())
    described = {**image.manifest.descriptor(), "annotations": {"org.opencontainers.image.ref.name": name}}
    for file, content in (
        ("oci-layout", {"imageLayoutVersion": "1.0.0"}),
        ("index.json", {"schemaVersion": 2, "manifests": [described]}),
    ):
        with open(os.path.join(folder, file), "wb") as stream:
            stream.write(document(content))


def layer(fill: Callable[[tarfile.TarFile], None], compression: str = "gzip") -> tuple[Blob, str]:
    """A layer whose tar is written by `fill`; returns it with its diff id."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        fill(tar)
    raw = buffer.getvalue()
    if compression == "gzip":
        packed = gzip.compress(raw, 6, mtime=0)
    elif compression == "zstd":
        import zstandard

        packed = zstandard.ZstdCompressor(level=3).compress(raw)
    else:
        return blob(LAYER, raw), sha256(raw)
    return blob(f"{LAYER}+{compression}", packed), sha256(raw)


def entry(tar: tarfile.TarFile, name: str, data: bytes = b"", **fields: object) -> None:
    """Add one entry; `fields` are TarInfo attributes (type, mode, uid, linkname, pax_headers, …)."""
    info = tarfile.TarInfo(name)
    info.mode = 0o755 if fields.get("type") == tarfile.DIRTYPE else 0o644
    for key, value in fields.items():
        setattr(info, key, value)
    info.size = len(data)
    tar.addfile(info, io.BytesIO(data) if data else None)


def busybox(extra: Mapping[str, tuple[int, bytes]] | None = None, **config: object) -> Image:
    """Debian's static busybox with a link per applet; `extra` adds path → (mode, content)."""
    program = "/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox"
    applets = subprocess.run([program, "--list"], capture_output=True, text=True, check=True).stdout.split()
    with open(program, "rb") as stream:
        content = stream.read()

    def fill(tar: tarfile.TarFile) -> None:
        for folder in ("bin", "etc", "home", "root", "usr", "usr/bin", "var"):
            entry(tar, folder, type=tarfile.DIRTYPE, mode=0o700 if folder == "root" else 0o755)
        entry(tar, "tmp", type=tarfile.DIRTYPE, mode=0o1777)
        entry(tar, "bin/busybox", content, mode=0o755)
        for applet in sorted(set(applets) - {"busybox"}):
            entry(tar, f"bin/{applet}", type=tarfile.SYMTYPE, linkname="busybox")
        entry(tar, "etc/passwd", b"root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/home/user:/bin/sh\n")
        entry(tar, "etc/group", b"root:x:0:\nuser:x:1000:\nextra:x:2000:user\n")
        entry(tar, "home/user", type=tarfile.DIRTYPE, uid=1000, gid=1000)
        for path, (mode, data) in (extra or {}).items():
            entry(tar, path, data, mode=mode)

    settings: dict[str, object] = {"Env": [PATH], "Cmd": ["sh"], **config}
    return assemble([layer(fill)], settings)


def small_files(layers: int = 12, files: int = 1500) -> list[tuple[Blob, str]]:
    """Layers of many small files in many directories, as package managers make them: the last `files` of the tree a
    layer, a few of the layer below replaced and one removed. For `assemble`."""
    chance = random.Random(12)
    words = chance.randbytes(64 << 10)

    def fill(number: int) -> Callable[[tarfile.TarFile], None]:
        def write(tar: tarfile.TarFile) -> None:
            for folder in ("usr", "usr/lib", f"usr/lib/p{number}"):
                entry(tar, folder, type=tarfile.DIRTYPE)
            for one in range(files):
                place = f"usr/lib/p{number}/m{one // 20}"
                if one % 20 == 0:
                    entry(tar, place, type=tarfile.DIRTYPE)
                if one % 10 == 9:
                    entry(tar, f"{place}/f{one}", type=tarfile.SYMTYPE, linkname=f"f{one - 1}")
                    continue
                start, size = chance.randrange(60 << 10), int(chance.expovariate(1 / 1000))
                text = (words[start : start + size] + b"the same words again and again\n" * (size // 10))[: 3 * size]
                entry(tar, f"{place}/f{one}", text, mode=0o755 if one % 50 == 0 else 0o644, mtime=1704067200)
            if number:
                entry(tar, f"usr/lib/p{number - 1}/m0/.wh.f1")
                entry(tar, f"usr/lib/p{number - 1}/m0/f2", b"new\n")

        return write

    return [layer(fill(number)) for number in range(layers)]


def large(path: str, size: int) -> tuple[Blob, str]:
    """A layer of one file of `size` bytes, a third of which resists compression; the blob lies at `path`."""
    chance = random.Random(600)
    info = tarfile.TarInfo("large")
    info.size = size
    diff, digest, squeeze, length = hashlib.sha256(), hashlib.sha256(), zlib.compressobj(1, zlib.DEFLATED, 31), 0
    with open(path, "wb") as out:

        def pack(data: bytes, end: bool = False) -> int:
            diff.update(data)
            piece = squeeze.compress(data) + (squeeze.flush() if end else b"")
            digest.update(piece)
            return out.write(piece)

        length += pack(info.tobuf())
        for start in range(0, size, 1 << 20):
            step = min(1 << 20, size - start)
            length += pack(
                (chance.randbytes(step // 3) + b"and the rest is of this kind. " * (step // 40 + 1))[:step]
            )
        length += pack(bytes(-size % 512 + 1024), end=True)
    return (Blob(f"{LAYER}+gzip", f"sha256:{digest.hexdigest()}", length, path=path), f"sha256:{diff.hexdigest()}")


def debian(run: Callable[..., object], suite: str = "bookworm") -> Image:
    """A minimal Debian root made by debootstrap, cached. `run` is subprocess.run or one with a network.

    Raises CalledProcessError when debootstrap fails, with its last words on stderr.
    """
    packed, facts = (os.path.join(cache(), f"{suite}-{RECIPE}.{kind}") for kind in ("tar.gz", "json"))
    with open(os.path.join(cache(), "lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two sessions at once make it once
        if not (os.path.exists(packed) and os.path.exists(facts)):
            _make_debian(run, suite, packed, facts)
    with open(facts) as stream:
        known = json.load(stream)
    one = Blob(f"{LAYER}+gzip", known["digest"], known["size"], path=packed)
    return assemble([(one, known["diff_id"])], {"Env": [PATH], "Cmd": ["bash"]})


def _make_debian(run: Callable[..., object], suite: str, packed: str, facts: str) -> None:
    mirror = os.environ.get("ATOLL_TEST_MIRROR", "http://deb.debian.org/debian")
    root = os.path.join(cache(), f"root-{os.getpid()}")
    try:
        run(["debootstrap", "--variant=minbase", suite, root, mirror], check=True, stdout=subprocess.DEVNULL)
        _make_reproducible(root)
        known = _pack(root, packed + ".tmp")
    finally:
        shutil.rmtree(root, ignore_errors=True)
    os.rename(packed + ".tmp", packed)
    with open(facts + ".tmp", "w") as stream:
        json.dump(known, stream)
    os.rename(facts + ".tmp", facts)


def _make_reproducible(root: str) -> None:
    """Drop what differs from run to run: logs, package caches, machine id, device nodes."""
    for folder in ("var/cache/apt", "var/lib/apt/lists", "var/log", "dev", "proc", "sys", "run"):
        path = os.path.join(root, folder)
        for name in os.listdir(path):
            inner = os.path.join(path, name)
            shutil.rmtree(inner) if os.path.isdir(inner) and not os.path.islink(inner) else os.unlink(inner)
    for file in ("etc/machine-id", "etc/resolv.conf", "etc/hostname", "var/cache/ldconfig/aux-cache"):
        if os.path.lexists(os.path.join(root, file)):
            os.unlink(os.path.join(root, file))


def _pack(root: str, target: str) -> dict[str, object]:
    """Tar and gzip in one pass, sorted, with one modification time; returns digest, diff id and size."""
    diff, digest, size = hashlib.sha256(), hashlib.sha256(), 0
    squeeze = zlib.compressobj(6, zlib.DEFLATED, 31)
    with open(target, "wb") as out:

        class Tee(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: bytes) -> int:  # type: ignore[override]
                nonlocal size
                diff.update(data)
                piece = squeeze.compress(data)
                digest.update(piece)
                size += len(piece)
                out.write(piece)
                return len(data)

        def neutral(info: tarfile.TarInfo) -> tarfile.TarInfo:
            info.mtime, info.uname, info.gname = 1704067200, "", ""
            return info

        with tarfile.open(fileobj=Tee(), mode="w|", format=tarfile.GNU_FORMAT) as tar:
            for name in sorted(os.listdir(root)):
                tar.add(os.path.join(root, name), arcname=name, filter=neutral)
        last = squeeze.flush()
        digest.update(last)
        size += len(last)
        out.write(last)
    return {"digest": f"sha256:{digest.hexdigest()}", "diff_id": f"sha256:{diff.hexdigest()}", "size": size}
