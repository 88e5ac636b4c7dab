"""Manifest lists made here: several images of one name, a platform each.

Holds: `create`, `annotate`, `remove_entry`, `inspect`, `push`, `remove`; the table `manifest_lists`. Does not hold:
images (`store.py`), uploads (`images/push.py`). A list is kept as the index it will be; its entries are manifests at
registries, which are copied to where the list is pushed if they are not there.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.spec import digest as digests
from atoll.spec import image as documents
from atoll.spec import platform as platforms
from atoll.spec import reference as references

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.images.push import RepositoryDestination
    from atoll.images.remote import Repository
    from atoll.images.source import Document
    from atoll.images.values import RegistryOptions
    from atoll.spec.image import Descriptor

_FROM = "atoll.from"  # where an entry's manifest is; taken out before a push
_PLATFORM = ("architecture", "os", "variant", "os.version", "os.features")


def create(
    engine: Engine, name: str, members: list[str], *, amend: bool = False, options: RegistryOptions | None = None
) -> str:
    """A new list of the manifests that `members` name, or with `amend` more of them in one that is there. Returns the
    list's full name. Raises Conflict when there is one, NotFound for a member that is nowhere."""
    reference = references.parse(name)
    index = _load(engine, reference.full)
    if index is not None and not amend:
        raise errors.Conflict(f"cannot create manifest list {reference.familiar}: it exists", hint="use --amend")
    index = index or {"schemaVersion": 2, "mediaType": documents.OCI_INDEX, "manifests": []}
    for member in members:
        for entry in _entries(engine, member, options):
            index["manifests"] = [one for one in index["manifests"] if one["digest"] != entry["digest"]] + [entry]
    _save(engine, reference.full, index)
    return reference.full


def annotate(engine: Engine, name: str, member: str, changes: dict[str, Any], annotations: dict[str, str]) -> None:
    """Say more of one entry: members of its platform, annotations. Raises NotFound, InvalidArgument."""
    index, reference = _need(engine, name)
    entry = _entry(index, member, reference.familiar)
    platform = entry.setdefault("platform", {})
    for key, value in changes.items():
        if key not in _PLATFORM:
            raise errors.InvalidArgument(f"a platform has no {key}")
        platform[key] = value
    if annotations:
        entry.setdefault("annotations", {}).update(annotations)
    _save(engine, reference.full, index)


def remove_entry(engine: Engine, name: str, member: str) -> str:
    """Take one manifest out; its digest."""
    index, reference = _need(engine, name)
    entry = _entry(index, member, reference.familiar)
    index["manifests"].remove(entry)
    _save(engine, reference.full, index)
    return str(entry["digest"])


def inspect(engine: Engine, name: str, options: RegistryOptions | None = None) -> dict[str, Any]:
    """A list made here as it would be pushed, or what a registry has under the name."""
    found = _load(engine, references.parse(name).full)
    if found is not None:
        parsed: dict[str, Any] = jsontext.loads(_body(found))
        return parsed
    source, document = _remote(engine, name, options)
    source.close()
    documents.parse_document(document.body, document.media_type, name)
    fetched: dict[str, Any] = jsontext.loads(document.body)
    return fetched


def push(
    engine: Engine,
    name: str,
    destination: str | None = None,
    *,
    purge: bool = False,
    docker: bool = False,
    options: RegistryOptions | None = None,
) -> str:
    """Push a list and what it names; the digest. `docker` makes it a Docker manifest list; `purge` forgets it here
    afterwards. Raises NotFound, Denied, Unavailable, InvalidArgument for a list without entries."""
    from atoll.engine.images.registries import options as options_of
    from atoll.images.push import RepositoryDestination
    from atoll.images.source import Document

    index, reference = _need(engine, name)
    if not index["manifests"]:
        raise errors.InvalidArgument(f"the manifest list {reference.familiar} is empty")
    chosen = options or options_of(engine)
    target = references.parse(destination) if destination else reference
    place = RepositoryDestination(target, chosen)
    try:
        for entry in index["manifests"]:
            _copy(engine, entry, target, place, chosen)
        kind = documents.DOCKER_INDEX if docker else index["mediaType"]
        body = _body({**index, "mediaType": kind})
        place.put_document(Document(body=body, media_type=kind, digest=digests.of(body)), target.at)
        place.finish()
    finally:
        place.close()
    if purge:
        remove(engine, name)
    return digests.of(body)


def remove(engine: Engine, name: str) -> str:
    """Forget a list; what it names stays where it is. Raises NotFound."""
    _, reference = _need(engine, name)
    engine.store.write(
        lambda connection: connection.execute("DELETE FROM manifest_lists WHERE reference = ?", (reference.full,))
    )
    return reference.familiar


# --- entries --------------------------------------------------------------------------------------------------------


def _entries(engine: Engine, member: str, options: RegistryOptions | None) -> list[dict[str, Any]]:
    """The entries for one name: its manifest, or all of an index's. The platform is in the configuration."""
    source, document = _remote(engine, member, options)
    try:
        parsed = documents.parse_document(document.body, document.media_type, member)
        origin = {_FROM: references.parse(member).name}
        if isinstance(parsed, documents.Index):
            listed = jsontext.loads(document.body)["manifests"]
            return [{**one, **origin} for one in listed if one["mediaType"] in documents.MANIFESTS]
        platform = platforms.Platform(os="unknown", architecture="unknown")
        if parsed.config.media_type in (documents.OCI_CONFIG, documents.DOCKER_CONFIG):
            limit = min(parsed.config.size, documents.MAX_CONFIG_BYTES)
            body = b"".join([chunk for _, chunk in source.blob(parsed.config.digest, 0, limit)])
            if digests.of(body) != parsed.config.digest:
                raise errors.Corrupt(f"the configuration of {member} is not what its digest says")
            platform = documents.parse_config(body, f"the configuration of {member}").platform
    finally:
        source.close()
    shown = {"architecture": platform.architecture, "os": platform.os}
    if platform.variant:
        shown["variant"] = platform.variant
    size = len(document.body)
    return [{"mediaType": parsed.media_type, "digest": document.digest, "size": size, "platform": shown, **origin}]


def _remote(engine: Engine, name: str, options: RegistryOptions | None) -> tuple[Repository, Document]:
    from atoll.engine.images.registries import options as options_of
    from atoll.images.remote import Repository

    reference = references.parse(name)
    source = Repository(reference, options or options_of(engine))
    try:
        return source, source.document(reference.at)
    except BaseException:
        source.close()
        raise


def _copy(
    engine: Engine,
    entry: dict[str, Any],
    target: references.Reference,
    place: RepositoryDestination,
    options: RegistryOptions,
) -> None:
    """An entry's manifest and blobs to the list's repository, mounted where both are at one registry."""
    from atoll.images.push import RepositoryDestination

    origin = references.parse(f"{entry[_FROM]}@{entry['digest']}")
    if origin.name == target.name:
        return
    source, document = _remote(engine, str(origin), options)
    near = RepositoryDestination(
        target, options, mounts=lambda _: [origin.repository] if origin.registry == target.registry else []
    )
    try:
        parsed = documents.parse_document(document.body, document.media_type, str(origin))
        assert isinstance(parsed, documents.Manifest)
        for blob in (*parsed.layers, parsed.config):
            if not near.has(blob.digest, blob.size):
                near.put(blob, _reader(source, blob), lambda _: None)
        place.put_document(document, None)
    finally:
        near.close()
        source.close()


def _reader(source: Repository, blob: Descriptor) -> Callable[[int], Iterator[bytes]]:
    return lambda offset: (chunk for _, chunk in source.blob(blob.digest, offset, blob.size))


def _entry(index: dict[str, Any], member: str, name: str) -> dict[str, Any]:
    """One entry, by digest or by the name it came from."""
    wanted = member.rpartition("@")[2]
    found = [one for one in index["manifests"] if one["digest"] == wanted]
    if not found and "@" not in member and not digests.valid(member):
        origin = references.parse(member).name
        found = [one for one in index["manifests"] if one[_FROM] == origin]
    if len(found) != 1:
        why = "has several of it" if found else "does not have it"
        raise errors.NotFound(f"{member}: manifest list {name} {why}", hint="name it by its digest")
    entry: dict[str, Any] = found[0]
    return entry


# --- the table ------------------------------------------------------------------------------------------------------


def _load(engine: Engine, reference: str) -> dict[str, Any] | None:
    found = engine.store.read("SELECT document FROM manifest_lists WHERE reference = ?", reference)
    if not found:
        return None
    document: dict[str, Any] = jsontext.loads(found[0][0])
    return document


def _need(engine: Engine, name: str) -> tuple[dict[str, Any], references.Reference]:
    reference = references.parse(name)
    index = _load(engine, reference.full)
    if index is None:
        raise errors.NotFound(f"No such manifest: {reference.familiar}", hint="make it with 'atoll manifest create'")
    return index, reference


def _save(engine: Engine, reference: str, index: dict[str, Any]) -> None:
    text = jsontext.dumps(index)
    engine.store.write(
        lambda connection: connection.execute(
            "INSERT OR REPLACE INTO manifest_lists VALUES (?, ?)", (reference, text)
        )
    )


def _body(index: dict[str, Any]) -> bytes:
    """The index as it goes out: without our own notes."""
    entries = [{key: value for key, value in one.items() if key != _FROM} for one in index["manifests"]]
    return jsontext.dumps({**index, "manifests": entries}).encode()
