"""From what a user calls an image to the image here."""

from __future__ import annotations

from atoll.base import errors
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow

_HEX = frozenset("0123456789abcdef")


def find(engine: Engine, name: str, *, platform: str | None = None) -> ImageRow | None:
    """The image by full id, name with tag or digest, or unique beginning of its id, in that order; None if it is not
    here (or here for another platform than asked for).

    Raises InvalidArgument for what is neither, and for a beginning that several have.
    """
    row = _find(engine, name)
    if row is None or platform is None:
        return row
    from atoll.spec import platform as platforms
    from atoll.spec.image import parse_config

    have = parse_config(row.config.encode(), name).platform
    return row if platforms.rank(platforms.parse(platform), have) is not None else None


def _find(engine: Engine, name: str) -> ImageRow | None:
    store = engine.store
    digits = name.removeprefix("sha256:")
    is_hex = bool(digits) and _HEX.issuperset(digits) and len(digits) <= 64
    if is_hex and len(digits) == 64:
        return store.image("sha256:" + digits)
    if name.startswith("sha256:"):
        return _by_prefix(engine, digits) if is_hex else None
    try:
        reference = references.parse(name)
    except errors.InvalidArgument:
        if is_hex:
            return _by_prefix(engine, digits)
        raise
    if reference.digest is not None:
        return store.image_by_digest(reference.name, reference.digest)
    found = store.image_by_reference(reference.full)
    return found or (_by_prefix(engine, digits) if is_hex else None)


def _by_prefix(engine: Engine, digits: str) -> ImageRow | None:
    found = engine.store.images_by_prefix(digits)
    if len(found) > 1:
        raise errors.InvalidArgument(f"Multiple IDs found with provided prefix: {digits}")
    return found[0] if found else None


def need(engine: Engine, name: str) -> ImageRow:
    """The image. Raises NotFound in Docker's words."""
    row = find(engine, name)
    if row is None:
        digits = name.removeprefix("sha256:")
        shown = name if _HEX.issuperset(digits) else references.parse(name).familiar
        raise errors.NotFound(f"No such image: {shown}")
    return row
