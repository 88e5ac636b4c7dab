"""secret create, ls, inspect, rm, rotate: each noted in the journal."""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.events import note
from atoll.engine.filters import by_kind, has_labels
from atoll.engine.secrets import keys
from atoll.engine.secrets.vault import Secret, Vault

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine


def create(
    engine: Engine, name: str, content: bytes, *, labels: tuple[tuple[str, str], ...] = (), replace: bool = False
) -> str:
    """Keep a secret; its id. Raises Conflict, InvalidArgument, and what the key does."""
    with Vault(engine) as vault:
        made = vault.write(name, content, labels=labels, replace=replace)
    note.note(engine, "secret", "update" if made.index > 1 else "create", made.id, name=made.name)
    return made.id


def list_secrets(engine: Engine, filters: tuple[str, ...] = ()) -> list[Secret]:
    """Those for which all filters (`name=`, `id=`, `label=`) hold. Raises InvalidArgument."""
    given = by_kind(filters, ("name", "id", "label"))
    with Vault(engine) as vault:
        found = vault.list()
    if "name" in given:
        found = [one for one in found if any(part in one.name for part in given["name"])]
    if "id" in given:
        found = [one for one in found if any(one.id.startswith(part) for part in given["id"])]
    return [one for one in found if has_labels(one.labels, given)]


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Docker's `Secret`, without its content. Raises NotFound."""
    with Vault(engine) as vault:
        found = vault.find(name)
    return {
        "ID": found.id,
        "Version": {"Index": found.index},
        "CreatedAt": found.created_at,
        "UpdatedAt": found.updated_at,
        "Spec": {"Name": found.name, "Labels": dict(found.labels), "Driver": {"Name": "file"}},
    }


def remove(engine: Engine, name: str) -> str:
    """Forget a secret; its id. Containers that run keep what they got. Raises NotFound."""
    with Vault(engine) as vault:
        gone = vault.remove(name)
    note.note(engine, "secret", "remove", gone.id, name=gone.name)
    return gone.id


def rotate(engine: Engine, source: str | None) -> int:
    """Seal everything anew under a new data key, wrapped by the key that `source` names (by default the one that is
    set); how many secrets. Raises InvalidArgument, Denied."""
    chosen = source or keys.source_of(engine)
    kind, _, place = chosen.partition(":")
    if (kind not in ("file", "keyring") or not place) and chosen != "prompt":
        raise errors.InvalidArgument(f"invalid key source {chosen!r}", hint="file:PATH, keyring:NAME or prompt")
    with Vault(engine) as vault:
        count = vault.rotate(chosen)
    note.note(engine, "secret", "rotate", "all", source=kind)
    return count
