"""What has a name: images, their tags and layers, containers. SQLite, shared by many commands at once.

Holds: the connection, transactions, the queries on images and containers. Does not hold: the tables themselves
(`schema.py`), queries on what one use case alone owns (beside it, over `read` and `write`), files
(`content/`, `snapshots/`, `containers/`), whether a container runs (`containers/state.py` asks the kernel).

Rules: WAL, so that readers never wait; synchronous=NORMAL, so that a commit costs no fsync and a loss of power takes
the last commits, never the store; `BEGIN IMMEDIATE`, nothing slow between it and COMMIT; the schema is numbered in
`user_version`, a newer one is refused, an older one is brought up to date by the steps in `schema.py`.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors
from atoll.base.value import Value
from atoll.engine import sqlite
from atoll.engine.schema import SCHEMA, STEPS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, TypeVar

    T = TypeVar("T")

BUSY_SECONDS = 30.0
# A container's record has the ids of images that it mounts.
_USES = "(image = ?1 OR instr(record, '\"' || ?1 || '\"') > 0)"
_CONTAINERS = "SELECT id, name, image, created_at, record, pod FROM containers"


class ImageRow(Value):
    """An image. `config` is the configuration document as text; times in nanoseconds since the epoch."""

    id: str
    target: str
    manifest: str
    config: str
    size: int
    created_at: int


class TagRow(Value):
    """A name of an image. `digest` is what the registry calls it (index or manifest)."""

    reference: str
    image: str
    repository: str
    tag: str | None
    digest: str
    updated_at: int


class LayerRow(Value):
    """A layer of an image, bottom first by position."""

    blob: str
    blob_size: int
    diff_id: str
    chain_id: str
    size: int


class ContainerRow(Value):
    """A container. `image` is None for the `host` image, `pod` for one that is in none."""

    id: str
    name: str
    image: str | None
    created_at: int
    record: str
    pod: str | None = None


class Store:
    """One connection, opened at the first use. Not for use across a fork. Raises AtollError kinds only."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._connection: Any = None

    # --- the connection -----------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close it. A command that ends does without: closing the last connection writes the log back, fsync and
        all, and the next reader does not need that."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _open(self) -> Any:
        fresh = not os.path.exists(self.path)
        connection = sqlite.connect(self.path, BUSY_SECONDS)
        try:
            connection.execute("PRAGMA foreign_keys = ON")
            connection.execute("PRAGMA synchronous = NORMAL")
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            if version > SCHEMA:
                raise errors.Unsupported(
                    f"the store {self.path} has schema {version}, this version of Atoll knows {SCHEMA} at most",
                    hint="use the newer Atoll that wrote it, or another ATOLL_DATA_ROOT",
                )
            if version < SCHEMA:
                self._upgrade(connection)
            if fresh:
                os.chmod(self.path, 0o600)
        except BaseException as error:
            connection.close()
            if sqlite.is_error(error):
                raise sqlite.translate(error, self.path) from error
            raise
        return connection

    def _upgrade(self, connection: Any) -> None:
        """From whatever version it has to ours; two commands at once is fine: the second finds it done."""
        _patiently(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("BEGIN IMMEDIATE")
        try:
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            for step in STEPS[version:]:
                for statement in step:
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {SCHEMA}")
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise

    def _run(self, work: Callable[[Any], T]) -> T:
        if self._connection is None:
            self._connection = self._open()
        try:
            return work(self._connection)
        except BaseException as error:
            if sqlite.is_error(error):
                raise sqlite.translate(error, self.path) from error
            raise

    def write(self, work: Callable[[Any], T]) -> T:
        """One short transaction; all of it or nothing. BEGIN waits for its turn, at most BUSY_SECONDS."""

        def transaction(connection: Any) -> T:
            _patiently(lambda: connection.execute("BEGIN IMMEDIATE"))
            try:
                result = work(connection)
                connection.execute("COMMIT")
                return result
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise

        return self._run(transaction)

    def read(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """All rows of one query."""
        return self._run(lambda connection: connection.execute(query, values).fetchall())

    # --- containers ---------------------------------------------------------------------------------------------

    def add_container(self, row: ContainerRow, mounted: Sequence[str] = ()) -> None:
        """Reserve the id and the name. Raises Conflict for a name in use (in Docker's words), NotFound when the image
        has gone meanwhile, or one of those `mounted` (their ids)."""

        def work(connection: Any) -> None:
            taken = connection.execute("SELECT id FROM containers WHERE name = ?", (row.name,)).fetchone()
            if taken is not None:
                raise errors.Conflict(
                    f'Conflict. The container name "/{row.name}" is already in use by container "{taken[0]}".',
                    hint="remove or rename that container to be able to use the name again",
                )
            for image in (*([row.image] if row.image is not None else []), *mounted):
                if connection.execute("SELECT 1 FROM images WHERE id = ?", (image,)).fetchone() is None:
                    raise errors.NotFound(f"image {image} was removed meanwhile")
            connection.execute(
                "INSERT INTO containers VALUES (?, ?, ?, ?, ?, ?)",
                (row.id, row.name, row.image, row.created_at, row.record, row.pod),
            )

        self.write(work)

    def remove_container(self, container_id: str) -> None:
        """Forget it; unknown is fine."""
        self.write(lambda connection: connection.execute("DELETE FROM containers WHERE id = ?", (container_id,)))

    def name_taken(self, name: str) -> bool:
        """Whether a container has that name now."""
        return bool(self.read("SELECT 1 FROM containers WHERE name = ?", name))

    def container_count(self) -> int:
        """How many containers there are."""
        return int(self.read("SELECT count(*) FROM containers")[0][0])

    def in_pod(self, pod: str) -> list[ContainerRow]:
        """The containers of a pod, in the order of their making."""
        found = self.read(f"{_CONTAINERS} WHERE pod = ? ORDER BY created_at, id", pod)
        return [_container(row) for row in found]

    def containers(self) -> list[ContainerRow]:
        """All, newest first."""
        found = self.read(f"{_CONTAINERS} ORDER BY created_at DESC, id")
        return [_container(row) for row in found]

    def container(self, wanted: str) -> ContainerRow:
        """By full id, name or unique beginning of the id, in that order as Docker has it.

        Raises NotFound; InvalidArgument for a beginning that several have.
        """
        name = wanted.removeprefix("/")
        query = f"{_CONTAINERS} WHERE "
        found = self.read(query + "id = ?", wanted) or self.read(query + "name = ?", name)
        if not found and wanted and all(c in "0123456789abcdef" for c in wanted):
            found = self.read(query + "id >= ? AND id < ? LIMIT 2", wanted, wanted + "g")
        if not found:
            raise errors.NotFound(f"No such container: {wanted}")
        if len(found) > 1:
            raise errors.InvalidArgument(f"Multiple IDs found with provided prefix: {wanted}")
        return _container(found[0])

    def image_users(self, image_id: str) -> list[tuple[str, str]]:
        """The containers that are made from an image, or have it mounted: (id, name)."""
        return [(r[0], r[1]) for r in self.read(f"SELECT id, name FROM containers WHERE {_USES}", image_id)]

    # --- images -------------------------------------------------------------------------------------------------

    def add_image(self, image: ImageRow, layers: list[LayerRow], blobs: list[str], tag: TagRow | None) -> None:
        """Record what was pulled, and let the name point at it (taking it from the image that had it)."""

        def work(connection: Any) -> None:
            connection.execute(
                "INSERT INTO images VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET"
                " target = excluded.target, manifest = excluded.manifest, size = excluded.size",
                (image.id, image.target, image.manifest, image.config, image.size, image.created_at),
            )
            connection.execute("DELETE FROM layers WHERE image = ?", (image.id,))
            connection.executemany(
                "INSERT INTO layers VALUES (?, ?, ?, ?, ?, ?, ?)",
                [(image.id, n, x.blob, x.blob_size, x.diff_id, x.chain_id, x.size) for n, x in enumerate(layers)],
            )
            connection.executemany("INSERT OR IGNORE INTO blobs VALUES (?, ?)", [(image.id, one) for one in blobs])
            if tag is not None:
                connection.execute(
                    "INSERT OR REPLACE INTO tags VALUES (?, ?, ?, ?, ?, ?)",
                    (tag.reference, tag.image, tag.repository, tag.tag, tag.digest, tag.updated_at),
                )

        self.write(work)

    def images(self) -> list[ImageRow]:
        """All, in no order."""
        return [_image(row) for row in self.read("SELECT id, target, manifest, config, size, created_at FROM images")]

    def image(self, image_id: str) -> ImageRow | None:
        """By its full id."""
        query = "SELECT id, target, manifest, config, size, created_at FROM images WHERE id = ?"
        found = self.read(query, image_id)
        return _image(found[0]) if found else None

    def image_by_reference(self, reference: str) -> ImageRow | None:
        """By a full reference (`docker.io/library/debian:latest`)."""
        query = (
            "SELECT i.id, i.target, i.manifest, i.config, i.size, i.created_at"
            " FROM tags t JOIN images i ON i.id = t.image WHERE t.reference = ?"
        )
        found = self.read(query, reference)
        return _image(found[0]) if found else None

    def image_by_digest(self, repository: str, digest: str) -> ImageRow | None:
        """By what a registry calls it: the digest of its index or manifest."""
        found = self.read(
            "SELECT i.id, i.target, i.manifest, i.config, i.size, i.created_at"
            " FROM tags t JOIN images i ON i.id = t.image WHERE t.repository = ?"
            " AND (t.digest = ? OR i.manifest = ?)",
            repository,
            digest,
            digest,
        )
        return _image(found[0]) if found else None

    def images_by_prefix(self, prefix: str) -> list[ImageRow]:
        """Those whose id begins with these hex digits; two at most."""
        low = "sha256:" + prefix
        query = "SELECT id, target, manifest, config, size, created_at FROM images WHERE id >= ? AND id < ? LIMIT 2"
        return [_image(row) for row in self.read(query, low, low + "g")]

    def tags(self, image_id: str | None = None) -> list[TagRow]:
        """The names of one image, or of all."""
        query = "SELECT reference, image, repository, tag, digest, updated_at FROM tags"
        if image_id is None:
            found = self.read(query + " ORDER BY reference")
        else:
            found = self.read(query + " WHERE image = ? ORDER BY reference", image_id)
        return [
            TagRow(reference=r[0], image=r[1], repository=r[2], tag=r[3], digest=r[4], updated_at=r[5]) for r in found
        ]

    def layers(self, image_id: str) -> list[LayerRow]:
        """The layers of an image, bottom first."""
        query = "SELECT blob, blob_size, diff_id, chain_id, size FROM layers WHERE image = ? ORDER BY position"
        return [
            LayerRow(blob=r[0], blob_size=r[1], diff_id=r[2], chain_id=r[3], size=r[4])
            for r in self.read(query, image_id)
        ]

    def chain_ids(self, image_id: str) -> list[str]:
        """The chainIDs of an image's layers, bottom first."""
        return [r[0] for r in self.read("SELECT chain_id FROM layers WHERE image = ? ORDER BY position", image_id)]

    def remove_tag(self, reference: str) -> None:
        """Take a name away; unknown is fine. The image stays."""
        self.write(lambda connection: connection.execute("DELETE FROM tags WHERE reference = ?", (reference,)))

    def remove_image(self, image_id: str) -> None:
        """Forget an image, its names and its layers. Raises Conflict while a container is made from it."""

        def work(connection: Any) -> None:
            query = f"SELECT id, name FROM containers WHERE {_USES}"
            user = connection.execute(query, (image_id,)).fetchone()
            if user is not None:
                raise errors.Conflict(
                    f"conflict: unable to delete {image_id.removeprefix('sha256:')[:12]} (must be forced) - "
                    f"container {user[0][:12]} ({user[1]}) is using it",
                    hint="remove the container first",
                )
            connection.execute("DELETE FROM images WHERE id = ?", (image_id,))

        self.write(work)

    def kept(self) -> tuple[set[str], set[str]]:
        """What rows name: (chainIDs, blob digests). Everything else in the stores is garbage."""
        chains = {r[0] for r in self.read("SELECT DISTINCT chain_id FROM layers")}
        blobs = {r[0] for r in self.read("SELECT DISTINCT digest FROM blobs")}
        return chains, blobs

    def integrity(self) -> list[str]:
        """What SQLite finds wrong with its file; empty when it is sound."""
        found = [str(r[0]) for r in self.read("PRAGMA quick_check")]
        return [] if found == ["ok"] else found


def _patiently(work: Callable[[], object]) -> None:
    """Again while the store is busy. SQLite's own busy handler is not asked where waiting could deadlock (a change
    of journal mode, a WAL in recovery), so that BUSY can come at once."""
    deadline = time.monotonic() + BUSY_SECONDS
    pause = 0.002
    while True:
        try:
            work()
            return
        except Exception as error:
            if not sqlite.is_error(error) or sqlite.code_of(error) != sqlite.BUSY or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(pause * 2, 0.1)


def _container(row: tuple[Any, ...]) -> ContainerRow:
    return ContainerRow(id=row[0], name=row[1], image=row[2], created_at=row[3], record=row[4], pod=row[5])


def _image(row: tuple[Any, ...]) -> ImageRow:
    return ImageRow(id=row[0], target=row[1], manifest=row[2], config=row[3], size=row[4], created_at=row[5])
