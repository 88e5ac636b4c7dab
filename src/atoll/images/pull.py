"""Pull: from a reference to blobs in the store and layers unpacked, verified, in parallel.

Start reading at `pull`.
"""

from __future__ import annotations

from atoll.images.values import Progress, PulledImage, RegistryOptions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.images.content import ContentStore
    from atoll.snapshots.store import Snapshots
    from atoll.spec.platform import Platform
    from atoll.spec.reference import Reference


def pull(
    reference: Reference,
    *,
    store: ContentStore,
    snapshots: Snapshots,
    platform: Platform | None = None,
    options: RegistryOptions | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> PulledImage:
    """Pull an image (raises AtollError kinds). `progress` is called under a lock from any thread."""
    raise NotImplementedError
