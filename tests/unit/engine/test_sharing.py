"""Namespaces of others, and id maps."""

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from atoll.base import errors
from atoll.engine.containers import sharing
from atoll.engine.containers.sharing import Sharing, user_map
from atoll.engine.requests import RunRequest
from atoll.isolation.protocol import ContainerPlan
from atoll.spec import idmap as idmaps
from atoll.spec import runtime as oci
from atoll.spec.idmap import IdMap

OWN = idmaps.full(1000, 1000, ((200000, 65536),), ((200000, 65536),), ("newuidmap", "newgidmap"))
SINGLE = idmaps.single(1000, 1000)


def mapped(text, own=OWN, **more):
    return user_map(Sharing(userns=text, **more), own, uid=0 if own is None else 1000, gid=1000)


def test_words_and_contradictions():
    sharing.check(Sharing(ipc="container:x", pid="host", uts="host", cgroupns="private"), RunRequest(image="i"))
    for wrong, message in (
        (Sharing(ipc="container:"), "--ipc: invalid IPC mode"),
        (Sharing(pid="x"), "--pid: invalid PID mode"),
        (Sharing(uts="container:"), "--uts: invalid UTS mode"),
        (Sharing(cgroupns="x"), "--cgroupns: invalid CGROUP mode"),
        (Sharing(cgroup_parent="/a/../b"), "invalid --cgroup-parent"),
        (Sharing(userns="auto", uid_map=("0:1:1",)), "mutually exclusive"),
    ):
        with pytest.raises(errors.InvalidArgument, match=message):
            sharing.check(wrong, RunRequest(image="i"))
    with pytest.raises(errors.InvalidArgument, match="hostname and the UTS mode"):
        sharing.check(Sharing(uts="host"), RunRequest(image="i", hostname="x"))


def test_which_namespaces():
    assert dict(sharing.kinds(Sharing(), user=False, network=True)) == dict.fromkeys(
        ("mount", "pid", "ipc", "uts", "cgroup", "network")
    )
    found = dict(sharing.kinds(Sharing(pid="container:abc", ipc="host", uts="host"), user=True, network=False))
    assert found == {
        "mount": None, "pid": "container:abc/pid", "cgroup": None, "user": "container:abc/user",
    }  # fmt: skip


def test_another_container_is_found_at_each_launch():
    plan = ContainerPlan(
        id="c", bundle="/b", run="/r",
        spec=oci.Spec(
            mounts=(oci.Mount(destination="/dev/shm", type="bind", source="container:abc/dev/shm"),),
            linux=oci.Linux(namespaces=(oci.Namespace(type="ipc", path="container:abc/ipc"),
                                        oci.Namespace(type="network", path="container:abc/network"))),
        ),
    )  # fmt: skip
    found = sharing.resolve(plan, lambda container, kind: {"abc": 77}[container])
    assert [one.path for one in found.spec.linux.namespaces] == ["/proc/77/ns/ipc", "/proc/77/ns/net"]
    assert found.spec.mounts[0].source == "/proc/77/root/dev/shm"
    plain = plan.replace(spec=oci.Spec(linux=oci.Linux(namespaces=(oci.Namespace(type="ipc"),))))
    assert sharing.resolve(plain, None) is plain


def test_keep_id():
    found = mapped("keep-id")
    assert idmaps.outside_id(found.uid_map, 1000) == 1000
    assert idmaps.outside_id(found.uid_map, 0) == 200000
    assert idmaps.outside_id(found.uid_map, 1001) == 201000
    assert sum(line.count for line in found.uid_map) == 65537
    assert idmaps.outside_id(mapped("keep-id:uid=7,gid=9").gid_map, 9) == 1000
    assert mapped("keep-id", SINGLE).uid_map == (IdMap(inside=1000, outside=1000, count=1),)
    for wrong in ("keep-id:x=1", "keep-id:uid=-1", "keep-id:uid=", "other"):
        with pytest.raises(errors.InvalidArgument):
            mapped(wrong)
    with pytest.raises(errors.InvalidArgument, match="ordinary user"):
        mapped("keep-id", None)
    for own in (OWN, SINGLE):
        with pytest.raises(errors.Unsupported, match="without your own id 1000"):
            mapped("nomap", own)


@given(st.integers(0, 70_000))
def test_keep_id_is_a_map_the_kernel_takes_wherever_the_id_is(inside):
    assume(inside <= 65536)
    maps = mapped(f"keep-id:uid={inside}").uid_map
    idmaps.check(maps, "map")
    assert idmaps.outside_id(maps, inside) == 1000
    assert sorted(n for m in maps for n in (m.outside, m.outside + m.count - 1))[-1] == 265535


def test_auto_takes_a_range_that_nobody_has():
    first = mapped("auto", None).uid_map[0]
    assert (first.inside, first.count) == (0, 65536)
    second = user_map(Sharing(userns="auto:size=100"), None, uid=0, gid=0, taken=[first.outside])
    assert second.uid_map == (IdMap(inside=0, outside=first.outside + 65536, count=100),)
    for wrong in ("auto:size=0", "auto:size=70000", "auto:what=1"):
        with pytest.raises(errors.InvalidArgument):
            mapped(wrong, None)
    with pytest.raises(errors.Unsupported, match="ordinary user"):
        mapped("auto")
    taken = [sharing.AUTO_FIRST + n * sharing.AUTO_SIZE for n in range(sharing.AUTO_RANGES)]
    with pytest.raises(errors.Exhausted):
        user_map(Sharing(userns="auto"), None, uid=0, gid=0, taken=taken)


def test_explicit_maps():
    found = user_map(Sharing(uid_map=("0:700000:10", "10:800000")), None, uid=0, gid=0)
    assert found.uid_map == found.gid_map == (
        IdMap(inside=0, outside=700000, count=10), IdMap(inside=10, outside=800000, count=1),
    )  # fmt: skip
    # An ordinary user's are in the user's own terms: 0 is the user, 1 the first subordinate id.
    own = user_map(Sharing(uid_map=("0:1:5", "5:0:1"), gid_map=("0:0:2",)), OWN, uid=1000, gid=1000)
    assert idmaps.outside_id(own.uid_map, 5) == 1000
    assert idmaps.outside_id(own.uid_map, 0) == 200000
    assert own.gid_map == (IdMap(inside=0, outside=1000, count=1), IdMap(inside=1, outside=200000, count=1))
    with pytest.raises(errors.Denied, match="not one of this user's"):
        user_map(Sharing(uid_map=("0:70000:1",)), OWN, uid=1000, gid=1000)
    for wrong in ("", "1:2:3:4", "a:b:c", "0:0:0", "0:4294967295:1"):
        with pytest.raises(errors.InvalidArgument):
            user_map(Sharing(uid_map=(wrong,)), None, uid=0, gid=0)
    with pytest.raises(errors.InvalidArgument, match="overlap"):
        user_map(Sharing(uid_map=("0:10:5", "3:100:5")), None, uid=0, gid=0)


@given(st.lists(st.tuples(st.integers(0, 99), st.integers(0, 70_000), st.integers(1, 99)), min_size=1, max_size=4))
def test_no_explicit_map_reaches_an_id_that_is_not_the_users(lines):
    texts = tuple(f"{inside}:{outside}:{count}" for inside, outside, count in lines)
    try:
        found = user_map(Sharing(uid_map=texts), OWN, uid=1000, gid=1000)
    except errors.AtollError:
        return
    for line in found.uid_map:
        assert (line.outside == 1000 and line.count == 1) or 200000 <= line.outside <= 265536 - line.count
