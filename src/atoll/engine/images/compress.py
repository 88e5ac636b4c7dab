"""Layers that never were compressed, made ready for a registry: gzip, the same bytes every time.

Holds: `compressed`. Does not hold: sending them (`push.py`). Only layers of Docker's uncompressed type, which nothing
but an archive brings (`docker save` writes them so), change; what a registry served keeps its bytes and digest. The
header holds no time and no name, so that the same compressor makes the same digest again.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.spec import digest as digests

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.images.content import ContentStore
    from atoll.spec.image import Manifest

PLAIN = "application/vnd.docker.image.rootfs.diff.tar"
_CHUNK = 1 << 20


def compressed(store: ContentStore, manifest: Manifest, body: bytes, fds: dict[str, int]) -> tuple[Manifest, bytes]:
    """The manifest with its plain layers compressed. Their bytes are in unnamed files, whose descriptors are added to
    `fds` by digest: the caller closes them. Raises Exhausted and what reading the store raises."""
    if not any(layer.media_type == PLAIN for layer in manifest.layers):
        return manifest, body
    document: dict[str, Any] = jsontext.loads(body)
    layers = []
    for layer, entry in zip(manifest.layers, document["layers"], strict=True):
        if layer.media_type != PLAIN:
            layers.append(layer)
            continue
        fd = files.unnamed(store.root)
        try:
            digest, size = _squeeze(store, layer.digest, fd)
        except OSError as error:
            os.close(fd)
            raise errors.from_os_error(error, "compress a layer") from error
        except BaseException:
            os.close(fd)
            raise
        if digest in fds:
            os.close(fds[digest])
        fds[digest] = fd
        entry.update(mediaType=PLAIN + ".gzip", digest=digest, size=size)
        layers.append(layer.replace(media_type=PLAIN + ".gzip", digest=digest, size=size))
    return manifest.replace(layers=tuple(layers)), jsontext.dumps(document).encode()


def _squeeze(store: ContentStore, digest: str, fd: int) -> tuple[str, int]:
    import hashlib

    press = _compressor()
    found, size = hashlib.sha256(), 0
    source = store.open(digest)
    try:
        ended = False
        while not ended:
            chunk = os.read(source, _CHUNK)
            ended = not chunk
            piece = press.flush() if ended else press.compress(chunk)
            found.update(piece)
            size += len(piece)
            files.write_all(fd, piece)
    finally:
        os.close(source)
    return digests.check("sha256:" + found.hexdigest()), size


def _compressor() -> Any:
    try:
        from isal import isal_zlib

        return isal_zlib.compressobj(2, isal_zlib.DEFLATED, 31)
    except ImportError:  # no wheel for this processor
        import zlib

        return zlib.compressobj(6, zlib.DEFLATED, 31)
