"""Image documents: descriptors, manifests, indexes and the image configuration, OCI's and Docker's schema 2.

Holds: typed records, strict parsing of what a registry or an archive sends, media types. Does not hold: fetching,
platforms (`platform.py`), unpacking.
Everything here is hostile input. A document must be exactly one thing: one that could be read as an index and as a
manifest is refused (CVE-2021-41190), as is a media type that contradicts the content. Sources: image-spec 1.1
(manifest.md, image-index.md, config.md), Docker's "Image Manifest Version 2, Schema 2".
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.spec import codec, platform
from atoll.spec import digest as digests
from atoll.spec.codec import int64, list_of, map_of, record, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_INDEX = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_SCHEMA1 = (
    "application/vnd.docker.distribution.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v1+prettyjws",
)
INDEXES = (OCI_INDEX, DOCKER_INDEX)
MANIFESTS = (OCI_MANIFEST, DOCKER_MANIFEST)
ACCEPT = (*INDEXES, *MANIFESTS)

_LAYERS: dict[str, str] = {
    OCI_LAYER: "none",
    OCI_LAYER + "+gzip": "gzip",
    OCI_LAYER + "+zstd": "zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar": "none",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip": "gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd": "zstd",
    "application/vnd.docker.image.rootfs.diff.tar": "none",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": "gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd": "zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar": "none",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip": "gzip",
}

# Bounds on what an image may ask for; the largest real images are far below.
MAX_MANIFEST_BYTES = 4 << 20
MAX_CONFIG_BYTES = 8 << 20
MAX_LAYERS = 512
MAX_ENTRIES = 4096
MAX_ENV = 10_000
MAX_ENV_BYTES = 1 << 20


def _digest(value: Any, path: str) -> str:
    return digests.check(value, path)


_size = codec.number_between(0, (1 << 63) - 1)


class Descriptor(Value):
    """What a document says of another content: its type, digest and exact size."""

    media_type: str
    digest: str
    size: int
    annotations: tuple[tuple[str, str], ...] = ()
    urls: tuple[str, ...] = ()
    platform: platform.Platform | None = None
    artifact_type: str | None = None
    WIRE = {
        "media_type": text,
        "digest": _digest,
        "size": _size,
        "annotations": map_of(text),
        "urls": list_of(text),
        "platform": lambda value, path: _platform(value, path),
        "artifact_type": text,
    }

    @property
    def compression(self) -> str:
        """`none`, `gzip` or `zstd` of a layer. Raises Unsupported for what is not a layer."""
        kind = _LAYERS.get(self.media_type)
        if kind is None:
            raise errors.Unsupported(
                f"layer {self.digest} has media type {self.media_type!r}, which is not a file system layer",
                hint="an artifact that is not a container image cannot be run",
            )
        return kind


class Manifest(Value):
    """One image for one platform: its configuration and its layers, bottom first."""

    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    artifact_type: str | None = None
    subject: Descriptor | None = None
    WIRE = {
        "media_type": text,
        "config": record(Descriptor),
        "layers": list_of(record(Descriptor)),
        "annotations": map_of(text),
        "artifact_type": text,
        "subject": record(Descriptor),
    }


class Index(Value):
    """Several manifests, usually one a platform (OCI index or Docker manifest list)."""

    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: tuple[tuple[str, str], ...] = ()
    WIRE = {
        "media_type": text,
        "manifests": list_of(record(Descriptor)),
        "annotations": map_of(text),
    }

    def select(self, want: platform.Platform) -> Descriptor:
        """The manifest that fits best; the first of equals, as other engines take it.

        Raises NotFound naming what is offered.
        """
        best: tuple[int, Descriptor] | None = None
        for entry in self.manifests:
            if entry.platform is None or entry.media_type not in MANIFESTS:
                continue
            rank = platform.rank(want, entry.platform)
            if rank is not None and (best is None or rank < best[0]):
                best = (rank, entry)
        if best is not None:
            return best[1]
        plain = [e for e in self.manifests if e.media_type in MANIFESTS and e.platform is None]
        if len(plain) == 1 and len(self.manifests) == 1:
            return plain[0]
        offered = sorted({str(e.platform) for e in self.manifests if e.platform and e.platform.os != "unknown"})
        raise errors.NotFound(
            f"no matching manifest for {want} in the manifest list entries",
            hint=f"it offers {', '.join(offered) or 'no platform'}; choose with --platform",
        )


class Healthcheck(Value):
    """Docker's HEALTHCHECK; durations in nanoseconds, 0 for the default."""

    test: tuple[str, ...] = ()
    interval: int = 0
    timeout: int = 0
    start_period: int = 0
    start_interval: int = 0
    retries: int = 0
    KEYS = {
        "test": "Test",
        "interval": "Interval",
        "timeout": "Timeout",
        "start_period": "StartPeriod",
        "start_interval": "StartInterval",
        "retries": "Retries",
    }
    WIRE = {
        "test": list_of(text),
        "interval": int64,
        "timeout": int64,
        "start_period": int64,
        "start_interval": int64,
        "retries": int64,
    }


def _keys(value: Any, path: str) -> tuple[str, ...]:
    """The keys of a Go set (`{"80/tcp": {}}`), or a plain array, which some builders write."""
    if isinstance(value, list):
        return tuple([text(v, path) for v in value])
    if not isinstance(value, dict):
        raise codec.wrong(path, "an object", value)
    return tuple([text(k, path) for k in value])


class RunConfig(Value):
    """What an image says about running it (config.md, "config"). Checked: see `_checked`."""

    user: str = ""
    env: tuple[str, ...] = ()
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    working_dir: str = ""
    volumes: tuple[str, ...] = ()
    exposed_ports: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    stop_signal: str | None = None
    healthcheck: Healthcheck | None = None
    shell: tuple[str, ...] = ()
    on_build: tuple[str, ...] = ()
    KEYS = {
        "user": "User",
        "env": "Env",
        "entrypoint": "Entrypoint",
        "cmd": "Cmd",
        "working_dir": "WorkingDir",
        "volumes": "Volumes",
        "exposed_ports": "ExposedPorts",
        "labels": "Labels",
        "stop_signal": "StopSignal",
        "healthcheck": "Healthcheck",
        "shell": "Shell",
        "on_build": "OnBuild",
    }
    WIRE = {
        "user": text,
        "env": list_of(text),
        "entrypoint": list_of(text),
        "cmd": list_of(text),
        "working_dir": text,
        "volumes": _keys,
        "exposed_ports": _keys,
        "labels": map_of(text),
        "stop_signal": text,
        "healthcheck": record(Healthcheck),
        "shell": list_of(text),
        "on_build": list_of(text),
    }

    def to_json(self) -> dict[str, Any]:
        """Docker's `Config` object, as `inspect` shows it."""
        out = codec.dump(self)
        for key, names in (("Volumes", self.volumes), ("ExposedPorts", self.exposed_ports)):
            if names:
                out[key] = {name: {} for name in names}
        return out


class History(Value):
    """One line of `atoll history`."""

    created: str | None = None
    created_by: str | None = None
    author: str | None = None
    comment: str | None = None
    empty_layer: bool = False
    KEYS = {"created_by": "created_by", "empty_layer": "empty_layer"}
    WIRE = {"created": text, "created_by": text, "author": text, "comment": text, "empty_layer": codec.flag}


class _RootFs(Value):
    type: str
    diff_ids: tuple[str, ...]
    KEYS = {"diff_ids": "diff_ids"}
    WIRE = {"type": text, "diff_ids": list_of(_digest)}


class ImageConfig(Value):
    """The image configuration: platform, how to run it, and the diffIDs its layers must have."""

    architecture: str
    os: str
    diff_ids: tuple[str, ...]
    variant: str | None = None
    os_version: str | None = None
    created: str | None = None
    author: str | None = None
    config: RunConfig = RunConfig()
    history: tuple[History, ...] = ()

    @property
    def platform(self) -> platform.Platform:
        """What it runs on."""
        return platform.normal(self.os, self.architecture, self.variant, self.os_version)


class _ConfigDocument(Value):
    architecture: str
    os: str
    rootfs: _RootFs
    variant: str | None = None
    os_version: str | None = None
    created: str | None = None
    author: str | None = None
    config: RunConfig = RunConfig()
    history: tuple[History, ...] = ()
    KEYS = {"os_version": "os.version"}
    WIRE = {
        "architecture": text,
        "os": text,
        "rootfs": record(_RootFs),
        "variant": text,
        "os_version": text,
        "created": text,
        "author": text,
        "config": record(RunConfig),
        "history": list_of(record(History)),
    }


def _platform(value: Any, path: str) -> platform.Platform:
    if not isinstance(value, dict):
        raise codec.wrong(path, "an object", value)
    parts = {k: text(v, f"{path}.{k}") for k, v in value.items() if isinstance(v, str)}
    return platform.Platform(
        os=parts.get("os") or "unknown",
        architecture=parts.get("architecture") or "unknown",
        variant=parts.get("variant") or None,
        os_version=parts.get("os.version") or None,
    )


def parse_document(body: bytes, content_type: str | None, what: str) -> Manifest | Index:
    """A manifest or an index, whichever these bytes are, and nothing in between.

    `content_type` is what the registry declared (None for content read back from the store). Raises Corrupt for
    anything ambiguous or malformed, Unsupported for schema 1 and other formats.
    """
    if len(body) > MAX_MANIFEST_BYTES:
        raise errors.Corrupt(f"{what}: manifest of {len(body)} bytes, more than {MAX_MANIFEST_BYTES}")
    document = _object(body, what)
    declared = (content_type or "").split(";")[0].strip().lower()
    stated = document.get("mediaType")
    if document.get("schemaVersion") == 1 or declared in DOCKER_SCHEMA1 or stated in DOCKER_SCHEMA1:
        raise errors.Unsupported(
            f"{what}: this is a Docker schema 1 manifest, a format withdrawn in 2019",
            hint="push the image again with a current tool; its layers carry no verifiable configuration",
        )
    if document.get("schemaVersion") != 2:
        raise errors.Corrupt(f"{what}: schemaVersion is {document.get('schemaVersion')!r}, expected 2")
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index == is_manifest or "fsLayers" in document:
        raise errors.Corrupt(f"{what}: it must be either an index or a manifest (CVE-2021-41190)")
    known = declared if declared in ACCEPT else None
    media_type = stated if stated is not None else known or (OCI_INDEX if is_index else OCI_MANIFEST)
    if known and stated is not None and stated != known:
        raise errors.Corrupt(f"{what}: the registry calls it {known}, the document {stated!r}")
    if media_type not in (INDEXES if is_index else MANIFESTS):
        raise errors.Corrupt(
            f"{what}: media type {media_type!r} does not fit {'an index' if is_index else 'a manifest'}"
        )
    try:
        cls: type[Index] | type[Manifest] = Index if is_index else Manifest
        parsed = codec.parse(cls, {**document, "mediaType": media_type}, "")
    except errors.InvalidArgument as error:
        raise errors.Corrupt(f"{what}: {error.message}") from None
    if isinstance(parsed, Manifest) and len(parsed.layers) > MAX_LAYERS:
        raise errors.Corrupt(f"{what}: {len(parsed.layers)} layers, more than {MAX_LAYERS}")
    if isinstance(parsed, Index) and len(parsed.manifests) > MAX_ENTRIES:
        raise errors.Corrupt(f"{what}: {len(parsed.manifests)} entries, more than {MAX_ENTRIES}")
    return parsed


def parse_config(body: bytes, what: str = "image configuration") -> ImageConfig:
    """The image configuration, with hostile values refused. Raises Corrupt naming the JSON path."""
    if len(body) > MAX_CONFIG_BYTES:
        raise errors.Corrupt(f"{what}: {len(body)} bytes, more than {MAX_CONFIG_BYTES}")
    try:
        parsed = codec.parse(_ConfigDocument, _object(body, what), "")
        if parsed.rootfs.type != "layers":
            raise codec.wrong("rootfs.type", "layers", parsed.rootfs.type)
        run = _checked(parsed.config)
    except errors.InvalidArgument as error:
        raise errors.Corrupt(f"{what}: {error.message}") from None
    return ImageConfig(
        architecture=parsed.architecture,
        os=parsed.os,
        variant=parsed.variant,
        os_version=parsed.os_version,
        created=parsed.created,
        author=parsed.author,
        diff_ids=parsed.rootfs.diff_ids,
        config=run,
        history=parsed.history,
    )


def _object(body: bytes, what: str) -> dict[str, Any]:
    try:
        document = jsontext.loads(body)
    except (ValueError, RecursionError) as error:
        raise errors.Corrupt(f"{what}: {error}") from None
    if not isinstance(document, dict):
        raise errors.Corrupt(f"{what}: expected a JSON object, got {type(document).__name__}")
    return document


def _checked(run: RunConfig) -> RunConfig:
    """The run configuration with its values made safe to act on. Raises InvalidArgument.

    A newline is legal in the value of a variable (certificates travel so), never in its name. A working directory
    below /proc is how CVE-2024-21626 reached the host through a leaked descriptor.
    """
    check_user(run.user, "config.User")
    if len(run.env) > MAX_ENV or sum(map(len, run.env)) > MAX_ENV_BYTES:
        raise errors.InvalidArgument(f"config.Env: more than {MAX_ENV} variables or {MAX_ENV_BYTES} characters")
    env = []
    for entry in run.env:
        name, equals, _ = entry.partition("=")
        if not name or any(c.isspace() for c in name):
            raise errors.InvalidArgument(f"config.Env: {entry[:60]!r} has no legal name")
        env.append(entry if equals else f"{entry}=")
    working_dir = normal_path(run.working_dir, "config.WorkingDir") if run.working_dir else ""
    if working_dir == "/proc" or working_dir.startswith("/proc/"):
        raise errors.InvalidArgument(f"config.WorkingDir: {working_dir} lies in /proc (CVE-2024-21626)")
    volumes = tuple([normal_path(v, "config.Volumes") for v in run.volumes])
    for volume in volumes:
        top = volume.split("/")[1]
        if volume == "/" or top in ("proc", "sys", "dev"):
            raise errors.InvalidArgument(f"config.Volumes: a volume on {volume} would hide the system's own mounts")
    for what, words in (("Entrypoint", run.entrypoint), ("Cmd", run.cmd)):
        if sum(map(len, words)) > MAX_ENV_BYTES:
            raise errors.InvalidArgument(f"config.{what}: longer than {MAX_ENV_BYTES} characters")
    return run.replace(env=tuple(env), working_dir=working_dir, volumes=volumes)


def check_user(user: str, what: str) -> str:
    """A `user[:group]` of names or ids, each id below 2^32 - 1 (CVE-2024-40635). Raises InvalidArgument."""
    if len(user) > 256 or any(c < " " or c == "\x7f" for c in user) or user.count(":") > 1:
        raise errors.InvalidArgument(f"{what}: {user[:60]!r} is not user[:group]")
    for part in user.split(":"):
        digits = part.removeprefix("-").removeprefix("+")
        if digits.isdecimal() and (digits != part or not digits.isascii() or int(digits) > (1 << 32) - 2):
            raise errors.InvalidArgument(f"{what}: {part[:60]} is not an id from 0 to {(1 << 32) - 2}")
    return user


def normal_path(path: str, what: str) -> str:
    """An absolute path without `.`, `..` and doubled slashes. Raises InvalidArgument when it is too long."""
    parts: list[str] = []
    for part in path.split("/"):
        if part == "..":
            del parts[-1:]
        elif part and part != ".":
            parts.append(part)
    if len(path) > 4096:
        raise errors.InvalidArgument(f"{what}: longer than 4096 characters")
    return "/" + "/".join(parts)
