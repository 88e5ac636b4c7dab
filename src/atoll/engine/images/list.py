"""images: a row for every name."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.requests import ImageView
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow, TagRow
    from atoll.spec.image import ImageConfig


def list_images(engine: Engine) -> list[ImageView]:
    """Newest first; an image that lost its last name has one row without one."""
    from atoll.spec.image import parse_config

    by_image: dict[str, list[TagRow]] = {}
    for tag in engine.store.tags():
        by_image.setdefault(tag.image, []).append(tag)
    views = []
    for row in engine.store.images():
        try:
            config = parse_config(row.config.encode(), row.id)
        except errors.Corrupt:  # 'system check' tells of it; the rest is still to be listed
            continue
        tags = by_image.get(row.id, [])
        named = [tag for tag in tags if tag.tag is not None]
        shown: list[TagRow | None] = [*(named or tags[:1])]
        views += [_view(engine, row, config, tag) for tag in shown or [None]]
    views.sort(key=lambda view: (view.created_at or "", view.repository or ""), reverse=True)
    return views


def _view(engine: Engine, row: ImageRow, config: ImageConfig, tag: TagRow | None) -> ImageView:
    repository = None
    if tag is not None:
        repository = references.parse(tag.reference).familiar_name
    return ImageView(
        id=row.id,
        repository=repository,
        tag=tag.tag if tag else None,
        digest=tag.digest if tag else None,
        created_at=config.created,
        size=row.size,
        labels=config.config.labels,
        containers=len(engine.store.image_users(row.id)),
    )
