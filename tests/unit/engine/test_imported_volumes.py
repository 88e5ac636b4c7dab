"""Volumes that come with a container: whole with it, or not there."""

from __future__ import annotations

import os

import pytest

from atoll.base import errors
from atoll.engine.checkpoints import volumes
from atoll.engine.checkpoints.archive import Container, Manifest, VolumeFacts, VolumeMount
from atoll.engine.checkpoints.volumes import Wishes
from atoll.engine.containers.create import create
from atoll.engine.containers.mount_flags import Storage
from atoll.engine.containers.record import MountPoint, Record
from atoll.engine.containers.remove import remove, remove_if_leftover
from atoll.engine.containers.volumes import parse
from atoll.engine.locks import lock_container
from atoll.engine.requests import RunRequest
from atoll.engine.system.check import check
from atoll.engine.volumes import imported, store
from atoll.engine.volumes.create import create as create_volume
from atoll.engine.volumes.imported import Imported
from unit.engine import fakes


def _ready(engine, name="data") -> Imported:
    """A volume that lies ready, with a file in it."""
    staging = imported.stage(engine, name, anonymous=False)
    with open(f"{staging}/_data/file", "w") as stream:
        stream.write("kept")
    source = f"{engine.paths.volumes}/{name}/_data"
    return Imported(
        name=name, staging=staging, mounts=(MountPoint(type="volume", source=source, destination="/data", name=name),)
    )


def _request(*ready: Imported) -> RunRequest:
    return RunRequest(image=fakes.REFERENCE, name="web", network="none", storage=Storage(imported=ready))


@pytest.fixture
def box(engine):
    fakes.add_image(engine)
    return engine


def names(engine) -> list[str]:
    return [one.name for one in store.everything(engine)]


def test_it_is_there_with_its_container(box):
    made = create(box, _request(_ready(box)), None)
    assert names(box) == ["data"]
    with open(f"{box.paths.volumes}/data/_data/file") as stream:
        assert stream.read() == "kept"
    assert not os.path.exists(f"{box.paths.container(made)}/{imported.NOTE}")
    assert Record.from_text(box.store.container(made).record).mounts[0].name == "data"
    remove(box, made, force=True, volumes=True)
    assert names(box) == ["data"], "it has a name: it is its user's"


def test_a_name_that_is_taken_meanwhile(box):
    one, two = _ready(box, "one"), _ready(box, "two")
    two = two.replace(mounts=(two.mounts[0].replace(destination="/two"),))
    create_volume(box, "two")
    with pytest.raises(errors.Conflict, match="volume two"):
        create(box, _request(one, two), None)
    assert names(box) == ["two"]
    assert not os.path.exists(f"{box.paths.volumes}/two/_data/file")
    assert box.store.containers() == []


def test_one_whose_making_was_killed_takes_its_volumes_along(box, tmp_path):
    """Killed after the volume has its name, before the plan is there: what was left is no container."""
    ready = _ready(box)
    child = os.fork()
    if child == 0:
        from atoll.engine.containers import bundle

        bundle.save = lambda _: os.kill(os.getpid(), 9)
        try:
            create(fakes.make_engine(tmp_path), _request(ready), None)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 9
    assert names(box) == ["data"]
    (row,) = box.store.containers()
    assert os.path.exists(f"{box.paths.container(row.id)}/{imported.NOTE}")
    assert remove_if_leftover(box, row)
    assert names(box) == []
    assert box.store.containers() == []


def test_one_that_was_whole_leaves_its_volumes(box):
    """A note that a killed command left beside a plan says nothing any more."""
    made = create(box, _request(_ready(box)), None)
    place = box.paths.container(made)
    found = os.stat(f"{box.paths.volumes}/data")
    with open(f"{place}/{imported.NOTE}", "w") as stream:
        stream.write(f'{{"data": [{found.st_dev}, {found.st_ino}]}}')
    remove(box, made, force=True, volumes=True)
    assert names(box) == ["data"]


def test_another_volume_of_that_name_is_not_taken_back(box):
    os.makedirs(box.paths.volumes, exist_ok=True)
    place = f"{box.paths.data}/place"
    os.makedirs(place)
    imported.settle(box, place, [_ready(box)])
    os.rename(f"{box.paths.volumes}/data", f"{box.paths.volumes}/elsewhere")
    create_volume(box, "data")
    imported.take_back(box, place)
    assert names(box) == ["data", "elsewhere"]


def test_what_lies_ready_is_swept_when_nobody_holds_it(box):
    ready = _ready(box)
    with lock_container(ready.staging):
        assert check(box, repair=True) == []
        assert os.path.isdir(ready.staging)
    assert check(box, repair=True) == ["1 volumes were half made by commands that are gone"]
    assert not os.path.exists(ready.staging)


# --- what is chosen of an archive ----------------------------------------------------------------------------------


def _manifest(*found: VolumeFacts, left: tuple[str, ...] = ()) -> Manifest:
    return Manifest(
        image="sha256:" + "d" * 64,
        platform="linux/amd64",
        container=Container(),
        machine=None,
        parts={},
        volumes=found,
        left=left,
    )


def _at(name: str, *places: str) -> VolumeFacts:
    return VolumeFacts(name=name, mounts=tuple([VolumeMount(destination=one) for one in places]))


def _choose(engine, manifest, *given: str, **how):
    request = RunRequest(image="x", volumes=given)
    chosen, lacking = volumes.choose(engine, manifest, request, Wishes(**how))
    return [(number, one.name, [mount.destination for mount in one.mounts]) for number, one in chosen], lacking


def test_what_is_made_of_an_archive(box):
    known = _manifest(_at("one", "/a", "/b"), _at("", "/anonymous"), left=("/etc/site",))
    chosen, lacking = _choose(box, known)
    assert [chosen[0], chosen[1][0], chosen[1][2]] == [(0, "one", ["/a", "/b"]), 1, ["/anonymous"]]
    assert len(chosen[1][1]) == 64
    assert lacking == ["/etc/site"]
    assert _choose(box, known, "/x:/etc/site", "/y:/b", "/z:/anonymous") == ([(0, "one", ["/a"])], [])
    assert _choose(box, known, ignore=True) == ([], ["/etc/site", "/a", "/b", "/anonymous"])
    assert _choose(box, known, renamed=(("one", "other"),))[0][0] == (0, "other", ["/a", "/b"])


def test_names_that_are_taken_or_none(box):
    create_volume(box, "one")
    known = _manifest(_at("one", "/a"), _at("two", "/b"))
    with pytest.raises(errors.Conflict, match="volume one exists already") as caught:
        _choose(box, known)
    assert "--rename-volume one=OTHER" in str(caught.value.hint)
    assert _choose(box, known, "one:/a")[0] == [(1, "two", ["/b"])]
    for renamed in ((("three", "x"),), (("one", "../x"),), (("one", "two"),)):
        with pytest.raises(errors.InvalidArgument):
            _choose(box, known, renamed=renamed)


def test_what_travels(box):
    here = box.paths.volumes
    mounts = (
        parse("named:/data:ro,nodev,nosuid", cwd="/", volumes=here),
        parse("named:/again", cwd="/", volumes=here),
        parse("/anonymous", cwd="/", volumes=here),
        parse("/etc:/host", cwd="/", volumes=here),
        parse("remote:/mnt", cwd="/", volumes=here).replace(filesystem="nfs", device="server:/x"),
        MountPoint(type="tmpfs", source="", destination="/tmp"),
    )
    found, left = volumes.of_record(box, Record(image="x", args=(), mounts=mounts))
    assert [(one.facts.name, [mount.destination for mount in one.facts.mounts]) for one in found] == [
        ("named", ["/data", "/again"]),
        ("", ["/anonymous"]),
    ]
    first = found[0].facts.mounts[0]
    assert (first.read_only, set(first.options)) == (True, {"nodev", "nosuid"})
    assert [one.destination for one in left] == ["/host", "/mnt"]
