from __future__ import annotations

import io
import os

import pytest

from atoll.base import errors
from atoll.engine.images import making
from atoll.images import making as documents
from atoll.images.ingest import Ingest
from atoll.snapshots import diff
from unit.engine import fakes

WHEN = "2024-01-01T00:00:00Z"
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="layers are unpacked with owners: run as root")


@pytest.fixture
def engine(tmp_path):
    return fakes.make_engine(tmp_path)


def layer_of(engine, folder):
    out = io.BytesIO()
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    facts = diff.write_layer(fd, out.write)
    os.close(fd)
    with Ingest(engine.content()) as ingest:
        ingest.write(out.getvalue())
        return ingest.commit(facts.diff_id), facts


def test_an_image_from_a_layer_and_one_on_top_of_it(engine, tmp_path):
    (tmp_path / "one").mkdir()
    (tmp_path / "one/a").write_text("1")
    with making.content_lock(engine):
        blob, facts = layer_of(engine, tmp_path / "one")
        config = documents.with_layer(documents.new_config(WHEN), facts.diff_id, created=WHEN)
        first = making.make(engine, config, [documents.layer(blob)], "me/app:1")
    row = engine.store.image(first)
    assert engine.store.image_by_reference("docker.io/me/app:1").id == first
    chain = engine.store.chain_ids(first)
    assert open(engine.snapshots.layer_dir(chain[0]) + "/a").read() == "1"

    writable = engine.snapshots.create_writable("container")
    with open(writable.upper + "/b", "w") as file:
        file.write("2")
    with making.content_lock(engine), Ingest(engine.content()) as ingest:
        facts = diff.layer_of(engine.snapshots, "container", chain, ingest.fd)
        blob = ingest.commit_as(facts.diff_id, facts.size)
        config = documents.with_layer(making.config_of(engine, row), facts.diff_id, created=WHEN)
        config = documents.changed(config, ["CMD true"])
        second = making.make(engine, config, [*making.layers_of(engine, row), documents.layer(blob)], None)
    assert engine.store.tags(second) == []
    assert engine.store.chain_ids(second)[0] == chain[0]
    assert len(engine.store.chain_ids(second)) == 2
    engine.snapshots.remove_writable("container")
    assert engine.check() == []


def test_a_layer_that_is_not_the_configurations(engine, tmp_path):
    (tmp_path / "one").mkdir()
    with making.content_lock(engine):
        blob, _ = layer_of(engine, tmp_path / "one")
        config = documents.with_layer(documents.new_config(WHEN), "sha256:" + "a" * 64, created=WHEN)
        with pytest.raises(errors.Corrupt):
            making.make(engine, config, [documents.layer(blob)], "me/app:1")
    assert engine.store.images() == []
    with pytest.raises(errors.InvalidArgument):
        making.make(engine, config, [], "me/app@sha256:" + "a" * 64)
