"""rmi: take a name away, and with the last name the image and what only it used."""

from __future__ import annotations

from atoll.base import errors, ids
from atoll.engine.containers.remove import remove_if_leftover
from atoll.engine.images import garbage
from atoll.engine.images.resolve import need
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ImageRow, TagRow


def remove(engine: Engine, name: str, *, force: bool) -> list[str]:
    """Docker's rules: a name with others beside it is only untagged; an id with names in several repositories, or an
    image in use, needs `force`; what a container uses stays, with `force` without its names.

    Returns the lines to show. Raises NotFound, Conflict.
    """
    row = need(engine, name)
    tags = engine.store.tags(row.id)
    named = _named(name, tags)
    lines: list[str] = []
    if named is not None and any(t.repository != named.repository or t.tag != named.tag for t in tags):
        engine.store.remove_tag(named.reference)
        return [f"Untagged: {references.parse(named.reference).familiar}"]
    if named is None and len({t.repository for t in tags}) > 1 and not force:
        raise errors.Conflict(
            f"conflict: unable to delete {ids.short_id(row.id)} (must be forced) - "
            "image is referenced in multiple repositories"
        )
    _release(engine, row)
    users = engine.store.image_users(row.id)
    if users and not force:
        _refuse(engine, name, row, users[0])
    for tag in tags:
        lines += _untagged(tag)
    if users:
        for tag in tags:
            engine.store.remove_tag(tag.reference)
        return lines
    chains = engine.store.chain_ids(row.id)
    engine.store.remove_image(row.id)
    lines.append(f"Deleted: {row.id}")
    collected = garbage.collect(engine)
    gone = set(collected.layers) if collected else set()
    return lines + [f"Deleted: {chain}" for chain in reversed(chains) if chain in gone]


def _named(name: str, tags: list[TagRow]) -> TagRow | None:
    """The name that the user gave, unless it was an id."""
    try:
        reference = references.parse(name)
    except errors.InvalidArgument:
        return None
    for tag in tags:
        if tag.reference == reference.full:
            return tag
        if reference.digest is not None and tag.repository == reference.name and tag.digest == reference.digest:
            return tag
    return None


def _release(engine: Engine, row: ImageRow) -> None:
    """Containers that killed commands left do not count as users."""
    for container_id, _ in engine.store.image_users(row.id):
        try:
            remove_if_leftover(engine, engine.store.container(container_id))
        except errors.NotFound:
            continue


def _refuse(engine: Engine, name: str, row: ImageRow, user: tuple[str, str]) -> None:
    from atoll.engine.containers.state import is_up, state_of

    running = is_up(state_of(engine, user[0]))
    what = (
        f'unable to remove repository reference "{name}"'
        if _is_name(engine, name, row)
        else (f"unable to delete {ids.short_id(row.id)}")
    )
    using = f"container {user[0][:12]} is using its referenced image {ids.short_id(row.id)}"
    if running:
        raise errors.Conflict(
            f"conflict: {what} (cannot be forced) - {using}", hint=f"stop and remove {user[1]} first"
        )
    raise errors.Conflict(f"conflict: {what} (must be forced) - {using}", hint=f"atoll rm {user[1]}, or rmi --force")


def _is_name(engine: Engine, name: str, row: ImageRow) -> bool:
    return _named(name, engine.store.tags(row.id)) is not None


def _untagged(tag: TagRow) -> list[str]:
    reference = references.parse(tag.reference)
    lines = [f"Untagged: {reference.familiar}"] if tag.tag is not None else []
    return [*lines, f"Untagged: {reference.familiar_name}@{tag.digest}"]
