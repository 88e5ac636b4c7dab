"""Volumes as directories: made whole, found, used, removed; what the local driver's options mean."""

import os

import pytest

from atoll.base import errors, files
from atoll.engine.containers.record import MountPoint
from atoll.engine.requests import RunRequest
from atoll.engine.volumes import options, store
from atoll.engine.volumes.create import create
from atoll.engine.volumes.list import inspect, list_volumes
from atoll.engine.volumes.remove import prune, remove


def names(engine, *filters):
    return [volume.name for volume in list_volumes(engine, filters)]


def test_the_life_of_a_volume(engine):
    assert create(engine, "vol", labels=(("a", "b"),)) == "vol"
    assert create(engine, "vol") == "vol", "making it again is fine"
    found = inspect(engine, "vol")
    assert found["Mountpoint"] == f"{engine.paths.volumes}/vol/_data"
    assert found["Labels"] == {"a": "b"}
    assert os.path.isdir(found["Mountpoint"])
    anonymous = create(engine, None)
    assert len(anonymous) == 64
    assert set(names(engine)) == {"vol", anonymous}
    assert names(engine, "label=a=b") == names(engine, "name=vo") == ["vol"]
    assert names(engine, "driver=other") == []
    remove(engine, "vol")
    with pytest.raises(errors.NotFound, match="no such volume"):
        remove(engine, "vol")
    with pytest.raises(errors.NotFound):
        inspect(engine, "..")


def test_refusals(engine):
    for wrong in ("a b", "../x", "-x", "x"):
        with pytest.raises(errors.InvalidArgument, match="invalid characters for a local volume name"):
            create(engine, wrong)
    with pytest.raises(errors.NotFound, match='plugin "nfs" not found'):
        create(engine, "vol", driver="nfs")
    with pytest.raises(errors.InvalidArgument, match='invalid option: "foo"'):
        create(engine, "vol", options=(("foo", "1"),))
    with pytest.raises(errors.InvalidArgument, match="invalid filter 'x'"):
        list_volumes(engine, ("x=1",))
    create(engine, "vol", options=(("type", "tmpfs"),))
    with pytest.raises(errors.Conflict, match="with other options"):
        create(engine, "vol", options=(("type", "tmpfs"), ("o", "size=1m")))


def test_a_volume_in_use_stays(engine):
    container = engine.create(RunRequest(image="busybox", volumes=("used:/x", "/y"), starts_later=True))
    assert len(names(engine)) == 2
    with pytest.raises(errors.Conflict, match=f"volume is in use - \\[{container}\\]"):
        remove(engine, "used")
    create(engine, "free")
    create(engine, None)
    assert set(names(engine, "dangling=false")) >= {"used"}
    assert "free" in names(engine, "dangling=true")
    gone = prune(engine)
    assert len(gone.names) == 1, "a named volume is only removed with --all"
    assert prune(engine, all=True).names == ("free",)
    engine.remove(container, volumes=True)
    assert names(engine) == ["used"], "anonymous volumes go with the container, named ones don't"


def test_the_images_volumes(engine):
    from unit.engine import fakes

    config = {**fakes.CONFIG, "config": {"Cmd": ["sh"], "Volumes": {"/data": {}, "/other/": {}}}}
    fakes.add_image(engine, image="sha256:" + "2" * 64, reference="docker.io/library/vol:latest", config=config)
    container = engine.create(RunRequest(image="vol", volumes=("mine:/data",), starts_later=True))
    mounts = engine.inspect_container(container)["Mounts"]
    assert {one["Destination"]: one["Name"] == "mine" for one in mounts} == {"/data": True, "/other": False}
    engine.remove(container, volumes=True)
    assert names(engine) == ["mine"]


def test_what_a_killed_command_left_is_swept(engine):
    create(engine, "vol")
    os.makedirs(engine.paths.volumes + "/.making-123/_data")
    assert names(engine) == ["vol"], "what is being made is not there yet"
    prune(engine)
    assert os.listdir(engine.paths.volumes) == ["vol"]


def test_what_was_written_by_hand(engine):
    os.makedirs(engine.paths.volumes + "/old/_data")
    assert inspect(engine, "old")["Name"] == "old"
    files.write_atomic(engine.paths.volumes + "/old/volume.json", "{")
    with pytest.raises(errors.Corrupt, match="is damaged"):
        inspect(engine, "old")
    files.write_atomic(
        engine.paths.volumes + "/old/volume.json", '{"name": "../../etc", "path": "/etc", "createdAt": "x"}'
    )
    assert store.find(engine, "old").path == engine.paths.volumes + "/old", "the place says where it is, not the file"


def mounted(*given, **more):
    volume = store.Volume(name="v", path="/v/v", options=given)
    base = MountPoint(type="volume", source="/v/v/_data", destination="/d", name="v", copy=True, **more)
    return options.as_mount(volume, base)


def test_options_of_the_local_driver():
    bound = mounted(("type", "none"), ("o", "bind,ro"), ("device", "/srv"))
    assert (bound.source, bound.read_only, bound.copy) == ("/srv", True, False)
    found = mounted(("type", "tmpfs"), ("o", "size=10m,uid=3"))
    assert (found.filesystem, found.options) == ("tmpfs", ("nosuid", "nodev", "size=10m", "uid=3"))
    assert mounted(("type", "nfs"), ("o", "addr=1.2.3.4,rw"), ("device", ":/x")).device == ":/x"
    assert mounted() == MountPoint(type="volume", source="/v/v/_data", destination="/d", name="v", copy=True)


@pytest.mark.parametrize(
    ("given", "uid", "error", "message"),
    [
        ((("o", "bind"),), 0, errors.InvalidArgument, 'missing required option: "device"'),
        ((("o", "size=1m"),), 0, errors.InvalidArgument, 'missing required option: "type"'),
        ((("type", "ext4"),), 0, errors.InvalidArgument, 'missing required option: "device"'),
        ((("type", "nfs"), ("device", ":/x")), 7, errors.Denied, "a network file system as an ordinary user"),
        ((("type", "ext4"), ("device", "/dev/x")), 7, errors.Denied, "the kernel refuses it in a user namespace"),
        ((("size", "lots"),), 0, errors.InvalidArgument, "invalid size of the volume"),
        ((("size", "1m"), ("type", "tmpfs")), 0, errors.InvalidArgument, "cannot go together"),
        ((("type", "a/b"), ("device", "x")), 0, errors.InvalidArgument, "invalid file system type"),
    ],
)
def test_options_refused(given, uid, error, message):
    with pytest.raises(error, match=message):
        options.check(given, uid)
