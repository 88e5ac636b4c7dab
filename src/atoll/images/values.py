"""The values that go into a pull and come out of it.

Holds: options, progress, the pulled image. Does not hold: any work (`pull.py`). Light enough to import anywhere.
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.spec.image import ImageConfig


class Progress(Value):
    """One step of a pull or push. `what`: "resolve", "waiting" (another process downloads it), "exists", "download",
    "unpack", "verify", "done"; "upload", "pushed", "mounted" (from the repository `origin`). `digest` names the
    layer's blob, None the image as a whole; bytes, `total` None when unknown."""

    what: str
    digest: str | None = None
    current: int = 0
    total: int | None = None
    origin: str = ""


class Credentials(Value):
    """A user's name and password for one registry, or an `identity_token` (OAuth 2's refresh token), or a
    `registry_token` that is sent as it is. Never printed."""

    username: str = ""
    password: str = ""
    identity_token: str | None = None
    registry_token: str | None = None

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password=…)"


class Tls(Value):
    """Whom to trust at one host, and what to show it. `client_certificates` are (certificate, key) files."""

    name: str
    insecure: bool = False
    ca_files: tuple[str, ...] = ()
    client_certificates: tuple[tuple[str, str], ...] = ()


class Mirror(Value):
    """Another place for what a prefix names. `location` is a host, with a path if its repositories have one before
    their names; `pull` says what it is asked for: "all", "digests", "tags"."""

    location: str
    insecure: bool = False
    pull: str = "all"


class RegistrySettings(Value):
    """What the user says about a registry or a part of one. `prefix` is `host`, `host/path` or `*.domain`; the
    longest that fits counts. `location` is where it really is."""

    prefix: str
    location: str | None = None
    insecure: bool = False
    blocked: bool = False
    ca_file: str | None = None
    client_certificate: str | None = None
    client_key: str | None = None
    mirrors: tuple[Mirror, ...] = ()


class RegistryOptions(Value):
    """How to talk to registries. `insecure` lists hosts (`name`, `name:port`) for which plain HTTP and unverified
    TLS are allowed; loopback needs no listing for HTTP. `ca_file` is trusted besides the system's authorities.
    Times in seconds. `auth_files` are Docker config.json files, first wins; None means the usual places.
    `certs_dirs` hold a folder a host, as Docker and Podman have them; None means theirs. `offline`: only registries
    on this machine's loopback are asked."""

    insecure: tuple[str, ...] = ()
    ca_file: str | None = None
    registries: tuple[RegistrySettings, ...] = ()
    certs_dirs: tuple[str, ...] | None = None
    offline: bool = False
    credentials: Credentials | None = None
    auth_files: tuple[str, ...] | None = None
    connect_timeout: float = 10.0
    read_timeout: float = 60.0
    attempts: int = 5
    backoff: float = 0.4
    max_retry_after: float = 60.0


class PulledLayer(Value):
    """A layer: its blob (`digest`, compressed `size`), its content (`diff_id`), its place (`chain_id`)."""

    digest: str
    media_type: str
    size: int
    diff_id: str
    chain_id: str
    unpacked_size: int = 0


class PulledImage(Value):
    """What was pulled, ready to be recorded. `reference` is the full form asked for. `target_digest` is what the
    tag points at (an index or a manifest: Docker's RepoDigests), `manifest_digest` the manifest of this platform,
    `config_digest` the image id. `size` is bytes unpacked, `fetched` bytes that came over the network,
    `others` what was fetched for other platforms. Of an artifact `config_digest` is that of its manifest, `others`
    are its blobs, and `artifact` is what its row has for a configuration (`artifacts.py`)."""

    reference: str
    target_digest: str
    manifest_digest: str
    config_digest: str
    config: ImageConfig
    layers: tuple[PulledLayer, ...]
    size: int
    fetched: int = 0
    others: tuple[str, ...] = ()
    artifact: str | None = None

    @property
    def chain_ids(self) -> tuple[str, ...]:
        """For `Snapshots.plan`, bottom first."""
        return tuple(layer.chain_id for layer in self.layers)

    @property
    def blobs(self) -> tuple[str, ...]:
        """Every blob that the image needs: for the engine's references."""
        first = dict.fromkeys((self.target_digest, self.manifest_digest, self.config_digest))
        return tuple(dict.fromkeys([*first, *[layer.digest for layer in self.layers], *self.others]))
