from __future__ import annotations

import os

import pytest

from atoll.base import errors
from atoll.engine.images import garbage
from atoll.engine.images.resolve import find, need
from atoll.engine.requests import RunRequest
from unit.engine import fakes


@pytest.mark.parametrize(
    "name", ["busybox", "busybox:latest", "docker.io/library/busybox", fakes.IMAGE, "1" * 64, "111", "1" * 12,
             "sha256:11", f"busybox@{fakes.BLOB}"],
)  # fmt: skip
def test_every_way_to_name_an_image(engine, name):
    assert find(engine, name).id == fakes.IMAGE


@pytest.mark.parametrize("name", ["nope", "busybox:1", "2", "f" * 64, "sha256:" + "f" * 64, "sha256:xyz"])
def test_unknown(engine, name):
    assert find(engine, name) is None


def test_a_beginning_of_two(engine):
    fakes.add_image(engine, image="sha256:12" + "0" * 62, reference="docker.io/library/other:latest")
    with pytest.raises(errors.InvalidArgument, match="Multiple IDs"):
        find(engine, "1")
    assert find(engine, "12").id.startswith("sha256:12")


def test_words(engine):
    with pytest.raises(errors.NotFound, match="No such image: nope:latest"):
        need(engine, "nope")
    with pytest.raises(errors.InvalidArgument, match="invalid reference format"):
        need(engine, "UPPER")


def test_platform(engine):
    assert find(engine, "busybox", platform="linux/amd64") is not None
    assert find(engine, "busybox", platform="linux/arm64") is None


def test_list(engine):
    view = engine.images()[0]
    assert (view.repository, view.tag, view.id, view.size) == ("busybox", "latest", fakes.IMAGE, 4_260_000)
    fakes.add_image(engine, image="sha256:" + "2" * 64)  # takes the name
    assert sorted((v.repository or "", v.tag or "") for v in engine.images()) == [("", ""), ("busybox", "latest")]


def test_remove_the_last_name_removes_all(engine):
    lines = engine.remove_image("busybox")
    assert lines == [
        "Untagged: busybox:latest",
        f"Untagged: busybox@{fakes.BLOB}",
        f"Deleted: {fakes.IMAGE}",
        f"Deleted: {fakes.CHAIN}",
    ]
    assert engine.images() == []
    assert os.listdir(engine.paths.content + "/blobs/sha256") == []
    assert engine.snapshots.layers() == []
    with pytest.raises(errors.NotFound):
        engine.remove_image("busybox")


def test_one_name_of_two_is_only_taken_away(engine):
    fakes.add_image(engine, reference="docker.io/library/busybox:1.36")
    assert engine.remove_image("busybox:1.36") == ["Untagged: busybox:1.36"]
    assert engine.remove_image("busybox")[-1].startswith("Deleted")


def test_an_id_with_names_in_two_repositories_needs_force(engine):
    fakes.add_image(engine, reference="docker.io/me/box:latest")
    with pytest.raises(errors.Conflict, match="image is referenced in multiple repositories"):
        engine.remove_image("1" * 12)
    assert f"Deleted: {fakes.IMAGE}" in engine.remove_image("1" * 12, force=True)


def test_an_image_in_use(engine):
    container_id = engine.create(RunRequest(image="busybox", name="web"))
    with pytest.raises(
        errors.Conflict,
        match=f'unable to remove repository reference "busybox" .must be forced. - container {container_id[:12]}',
    ):
        engine.remove_image("busybox")
    engine.launch(container_id)
    with pytest.raises(errors.Conflict, match="cannot be forced"):
        engine.remove_image("busybox")
    engine.driver.end(engine.paths.container_run(container_id))
    lines = engine.remove_image("busybox", force=True)
    assert lines[0] == "Untagged: busybox:latest"
    assert engine.snapshots.layers() == [fakes.CHAIN]
    engine.remove("web")


def test_garbage_waits_for_a_pull(engine):
    from atoll.base import files

    engine.store.remove_image(fakes.IMAGE)
    lock = files.FileLock(garbage.lock_path(engine))
    lock.acquire(shared=True)
    assert garbage.collect(engine) is None
    assert engine.check() == []
    lock.release()
    assert len(engine.check()) == 3
    found = garbage.collect(engine)
    assert (found.layers, set(found.blobs)) == ((fakes.CHAIN,), {fakes.IMAGE, fakes.BLOB})
    assert engine.check() == []


def test_inspect(engine):
    document = engine.inspect_image("busybox")
    assert document["RepoTags"] == ["busybox:latest"]
    assert document["RepoDigests"] == [f"busybox@{fakes.BLOB}"]
    assert document["Config"]["Cmd"] == ["sh"]
    assert document["RootFS"]["Layers"] == ["sha256:" + "d" * 64]
