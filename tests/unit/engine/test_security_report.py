"""What `inspect --security` says of a container."""

import pytest

from atoll.engine.audit.security import explain, sentences
from atoll.engine.containers import defaults
from atoll.engine.containers.devices import DeviceNode
from atoll.engine.containers.record import MountPoint, Record
from atoll.engine.containers.rights import Rights
from atoll.engine.containers.sharing import Sharing
from atoll.engine.requests import RunRequest

BASE = Record(
    image="i", args=("sh",), capabilities=defaults.ATOLL_CAPABILITIES, pids_limit=2048, user="7", user_namespace=True
)


def warnings(**changes):
    return [line for line in sentences(BASE.replace(**changes), uid=0) if line.startswith("WARNING: ")]


def test_the_defaults_warn_of_nothing_but_root_outside():
    assert warnings() == []
    assert warnings(user="") == [], "root in a user namespace is nobody outside"
    assert len(warnings(user="", user_namespace=False)) == 1
    assert "--userns auto" in warnings(user="0:0", user_namespace=False)[0]
    assert "your own ids" in sentences(BASE, uid=1000)[0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"no_new_privileges": False}, "no-new-privileges is off"),
        ({"seccomp": "unconfined"}, "seccomp is off"),
        ({"capabilities": (*BASE.capabilities, "CAP_SYS_ADMIN")}, "SYS_ADMIN mounts"),
        ({"network": "host"}, "host's network"),
        ({"sharing": Sharing(pid="host")}, "all processes of the host"),
        ({"sharing": Sharing(ipc="host")}, "shares memory"),
        ({"rights": Rights(privileged=True)}, "privileged"),
        ({"mounts": (MountPoint(type="bind", source="/etc/", destination="/x"),)}, "reads and writes /etc/"),
        ({"mounts": (MountPoint(type="bind", source="/run/docker.sock", destination="/x"),)}, "command an engine"),
        ({"pids_limit": None}, "fork bomb"),
    ],
)
def test_what_is_weaker_is_a_warning(changes, words):
    found = warnings(**changes)
    assert len(found) == 1
    assert words in found[0]


def test_what_is_merely_given_is_said():
    node = DeviceNode(source="/dev/fuse", path="/dev/fuse", type="c", major=10, minor=229, access="rw")
    text = "\n".join(
        sentences(
            BASE.replace(
                rights=Rights(nodes=(node,)),
                memory=64 << 20,
                read_only=True,
                mounts=(MountPoint(type="bind", source="/srv", destination="/x", read_only=True),),
            ),
            uid=0,
        )
    )
    assert "Device /dev/fuse of the host (rw)." in text
    assert "It reads /srv of the host, on /x." in text
    assert "memory 64MiB" in text
    assert "root file system is read-only" in text
    assert "WARNING" not in text


def test_by_name(engine):
    engine.create(RunRequest(image="busybox", name="box", starts_later=True))
    assert explain(engine, "box")[0].startswith("box (")
