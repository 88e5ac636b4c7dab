"""An image moved here from whatever holds it: held against the policy, unpacked, recorded, remembered as admitted.

Holds: `move`, for `pull.py` and `load.py`. Does not hold: which places and names are meant, how bytes travel
(`images/pull.py`), images that are made here (`making.py`).
"""

from __future__ import annotations

from atoll.engine.images import making

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from atoll.engine.engine import Engine
    from atoll.images.places import Place
    from atoll.images.source import Source
    from atoll.images.values import Progress, PulledImage
    from atoll.spec.reference import Reference


def move(
    engine: Engine,
    place: Place,
    source: Source,
    at: str,
    reference: Reference,
    *,
    names: Sequence[Reference],
    progress: Callable[[Progress], None] | None,
    platform: str | None,
    all_platforms: bool,
) -> PulledImage:
    """Have what `source`, opened at `place`, has at `at` come here, as `reference` for the policy and the messages,
    and give it `names` (none is fine). The caller holds `making.content_lock`: until the row is there nobody may take
    the content for garbage. Raises what `images.pull` does, and Denied by the policy."""
    from atoll.engine.images.admission import Admission
    from atoll.images import pull as mechanism
    from atoll.spec import platform as platforms

    admission = Admission(engine, place, reference, source)
    image = mechanism.pull(
        reference,
        store=engine.content(),
        snapshots=engine.snapshots,
        platform=platforms.parse(platform) if platform else None,
        progress=progress,
        source=source,
        at=at,
        all_platforms=all_platforms,
        fresh=not engine.store.read("SELECT 1 FROM tags WHERE reference = ?", reference.full),
        check=admission.check,
    )
    if image.fetched or not names or not all(_is_recorded(engine, name, image) for name in names):
        making.record(engine, image, names)
    admission.remember(image.config_digest)
    return image


def _is_recorded(engine: Engine, name: Reference, image: PulledImage) -> bool:
    """Whether the rows say just this already, so that nothing needs to be written."""
    known = engine.store.read(
        "SELECT i.target, i.manifest, t.digest FROM tags t JOIN images i ON i.id = t.image"
        " WHERE t.reference = ? AND i.id = ?",
        name.full,
        image.config_digest,
    )
    if known != [(image.target_digest, image.manifest_digest, image.target_digest)]:
        return False
    kept = {row[0] for row in engine.store.read("SELECT digest FROM blobs WHERE image = ?", image.config_digest)}
    return kept.issuperset(image.blobs)
