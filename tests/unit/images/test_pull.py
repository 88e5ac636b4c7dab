"""What a pull asks its source for, and in which order; the rest of it is `tests/integration/test_images_pull.py`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import pull as mechanism
from atoll.images.content import ContentStore
from atoll.images.source import Document
from atoll.snapshots.store import Snapshots
from atoll.spec import digest as digests
from atoll.spec import reference as references
from atoll.spec.image import OCI_CONFIG, OCI_MANIFEST

CONFIG = {"mediaType": OCI_CONFIG, "digest": "sha256:" + "1" * 64, "size": 2}
BODY = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}).encode()
DOCUMENT = Document(body=BODY, media_type=OCI_MANIFEST, digest=digests.of(BODY))


class Asked:
    """A source that notes what it is asked for."""

    where = "a source"

    def __init__(self) -> None:
        self.words: list[str] = []

    def digest(self, at: str) -> str:
        self.words.append("digest")
        return DOCUMENT.digest

    def document(self, at: str) -> Document:
        self.words.append("document")
        return DOCUMENT

    def close(self) -> None:
        """Nothing is open."""


def refuse(*_: object) -> None:
    raise errors.Denied("enough")


@pytest.mark.parametrize(
    ("fresh", "there", "asked"),
    [
        (False, False, ["digest", "document"]),
        (False, True, ["digest"]),
        (True, False, ["document"]),
        (True, True, ["document"]),
    ],
)
def test_a_fresh_name_is_asked_for_once(tmp_path: Path, fresh: bool, there: bool, asked: list[str]) -> None:
    store, source = ContentStore(str(tmp_path / "content")), Asked()
    if there:
        store.put(BODY)
    with pytest.raises(errors.Denied, match="enough"):
        mechanism.pull(
            references.parse("a"),
            store=store,
            snapshots=Snapshots(str(tmp_path / "snapshots")),
            source=source,  # type: ignore[arg-type]
            fresh=fresh,
            check=refuse,
        )
    assert source.words == asked
