"""CDI: what a description gives, and what a hostile one does not get (threat 25)."""

import json
import os

import pytest

from atoll.base import errors
from atoll.engine.containers import cdi
from atoll.engine.containers.devices import is_cdi

GOOD = {
    "cdiVersion": "0.6.0",
    "kind": "vendor.com/class",
    "containerEdits": {"env": ["ALL=1"]},
    "devices": [
        {
            "name": "a",
            "containerEdits": {
                "env": ["A=1"],
                "deviceNodes": [{"path": "/dev/mine", "hostPath": "/dev/null", "permissions": "rw", "major": 99}],
                "mounts": [{"hostPath": "/usr/lib", "containerPath": "/lib/x", "options": ["ro", "nosuid"]}],
                "hooks": [{"hookName": "createContainer", "path": "/usr/bin/ldconfig", "args": ["ldconfig"]}],
                "additionalGids": [44, 0],
            },
        },
        {"name": "b", "containerEdits": {"deviceNodes": [{"path": "/dev/zero"}]}},
    ],
}


def folder(tmp_path, document=GOOD, name="one.json", mode=0o644):
    place = tmp_path / "cdi"
    place.mkdir(mode=0o755, exist_ok=True)
    path = place / name
    path.write_text(json.dumps(document) if isinstance(document, dict) else document)
    path.chmod(mode)
    return [str(place)]


def with_edits(**edits):
    return {**GOOD, "containerEdits": {}, "devices": [{"name": "a", "containerEdits": edits}]}


def test_names():
    assert is_cdi("nvidia.com/gpu=all")
    assert not any(is_cdi(one) for one in ("/dev/a=b", "/dev/null", "gpu=all", "a/b", "a/=c", "/b=c"))
    assert cdi.names_of_gpus("all") == ("nvidia.com/gpu=all",)
    assert cdi.names_of_gpus("2") == ("nvidia.com/gpu=0", "nvidia.com/gpu=1")
    assert cdi.names_of_gpus('"device=0,GPU-x"') == ("nvidia.com/gpu=0", "nvidia.com/gpu=GPU-x")
    for wrong in ("", "0", "some", "device=", "-1"):
        with pytest.raises(errors.InvalidArgument, match="--gpus"):
            cdi.names_of_gpus(wrong)


def test_what_a_description_gives(tmp_path):
    found = cdi.find(["vendor.com/class=a", "vendor.com/class=b"], folder(tmp_path))
    assert found.env == ("ALL=1", "A=1")
    assert [(node.path, node.major, node.minor, node.access) for node in found.nodes] == [
        ("/dev/mine", 1, 3, "rw"), ("/dev/zero", 1, 5, "rw"),
    ]  # fmt: skip
    assert found.mounts[0].source == "/usr/lib"
    assert found.mounts[0].read_only
    assert found.groups == ("44",)
    assert found.hooks.create_container[0].path == "/usr/bin/ldconfig"


def test_later_directories_win(tmp_path):
    other = {**GOOD, "devices": [{"name": "a", "containerEdits": {"env": ["A=2"]}}]}
    first = folder(tmp_path)
    (tmp_path / "run").mkdir()
    second = folder(tmp_path / "run", other)
    assert "A=2" in cdi.find(["vendor.com/class=a"], [*first, *second]).env


def test_unknown(tmp_path):
    with pytest.raises(errors.NotFound, match=r"unresolvable CDI devices vendor\.com/class=z"):
        cdi.find(["vendor.com/class=z"], folder(tmp_path))
    with pytest.raises(errors.NotFound):
        cdi.find(["vendor.com/class=z"], [str(tmp_path / "none")])


@pytest.mark.parametrize(
    "edits",
    [
        {"deviceNodes": [{"path": "/dev/x", "hostPath": "/etc/shadow"}]},
        {"deviceNodes": [{"path": "/proc/x", "hostPath": "/dev/null"}]},
        {"deviceNodes": [{"path": "/dev", "hostPath": "/dev/null"}]},
        {"deviceNodes": [{"path": "/dev/../etc/passwd", "hostPath": "/dev/null"}]},
        {"deviceNodes": [{"path": "relative", "hostPath": "/dev/null"}]},
        {"deviceNodes": [{"path": "/dev/x", "hostPath": "/dev/null", "permissions": "rwx"}]},
        {"mounts": [{"hostPath": "/proc", "containerPath": "/x"}]},
        {"mounts": [{"hostPath": "/", "containerPath": "/x"}]},
        {"mounts": [{"hostPath": "/sys/kernel/debug", "containerPath": "/x"}]},
        {"mounts": [{"hostPath": "/a/../proc", "containerPath": "/x"}]},
        {"mounts": [{"hostPath": "/usr", "containerPath": "/proc/self"}]},
        {"mounts": [{"hostPath": "/usr", "containerPath": "/"}]},
        {"mounts": [{"hostPath": "/usr", "containerPath": "/x", "type": "proc"}]},
        {"hooks": [{"hookName": "createContainer", "path": "relative"}]},
        {"hooks": [{"hookName": "whenever", "path": "/bin/true"}]},
        {"additionalGids": [4294967295]},
        {"env": "A=1"},
    ],
)
def test_a_hostile_description_is_refused(tmp_path, edits):
    with pytest.raises(errors.InvalidArgument):
        cdi.find(["vendor.com/class=a"], folder(tmp_path, with_edits(**edits)))


def test_a_description_that_others_may_write_is_not_read(tmp_path):
    with pytest.raises(errors.Denied, match="others may write"):
        cdi.find(["vendor.com/class=a"], folder(tmp_path, mode=0o666))
    place = folder(tmp_path)
    os.chmod(place[0], 0o777)
    with pytest.raises(errors.Denied, match="others may write"):
        cdi.find(["vendor.com/class=a"], place)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"kind": 3}', '{"cdiVersion": "1", "kind": "novendor"}', "null"])
def test_what_is_no_description(tmp_path, text):
    with pytest.raises(errors.InvalidArgument):
        cdi.find(["vendor.com/class=a"], folder(tmp_path, text))
