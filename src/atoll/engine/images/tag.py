"""tag: one more name for an image."""

from __future__ import annotations

import time

from atoll.base import errors
from atoll.engine.events import note as events
from atoll.engine.images import making
from atoll.engine.images.resolve import need
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine


def tag(engine: Engine, source: str, target: str) -> None:
    """Let `target` name the image that `source` names, taking the name from the image that had it.

    Raises NotFound, InvalidArgument for a target that is none or has a digest.
    """
    row = need(engine, source)
    reference = references.parse(target)
    if reference.digest is not None:
        raise errors.InvalidArgument("refusing to create a tag with a digest reference")
    making.put_tag(engine, making.tag_row(reference, row.id, row.target, time.time_ns()))
    events.note(engine, "image", "tag", row.id, name=reference.familiar)
