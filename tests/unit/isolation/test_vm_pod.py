"""A container's plan split between its pod's machine and the jail of what stands for it."""

import os
from pathlib import Path

import pytest

from atoll.base import errors, jsontext
from atoll.guest import enter, member
from atoll.isolation import vm_pod
from atoll.monitor.requests import ContainerPlan, MachinePlan
from atoll.spec import runtime as oci
from atoll.spec.rootfs import Overlay, RootPlan
from atoll.spec.runtime import Mount
from atoll.vm.closure import Closure

MADE = Closure(key="k", jail="/jail", agent="/agent", python="/python", vmm="/vmm", virtiofsd="")
JOINED = ("network", "ipc", "uts")


def plan_of(folder: Path, *mounts: Mount, resources: oci.Resources | None = None) -> ContainerPlan:
    """A container of the pod whose machine is that of `folder`/run/containers/own."""
    run, bundle = folder / "run/containers/one", folder / "data/containers/one"
    for place in (run, bundle, folder / "run/containers/own"):
        place.mkdir(parents=True, exist_ok=True)
    kinds = [
        oci.Namespace(type=kind, path=f"/proc/1/ns/{kind}" if kind in JOINED else None)
        for kind in ("mount", "pid", "ipc", "uts", "cgroup", "network")
    ]
    return ContainerPlan(
        id="one",
        spec=oci.Spec(
            process=oci.Process(args=("true",), cwd="/"),
            mounts=mounts,
            linux=oci.Linux(namespaces=tuple(kinds), resources=resources),
        ),
        bundle=str(bundle),
        run=str(run),
        root=RootPlan(steps=(Overlay(lower=("/layer",)),)),
        machine=MachinePlan(image="/image", pod=str(folder / "run/containers/own")),
    )


def bind(source: object, destination: str, *options: str) -> Mount:
    return Mount(destination=destination, type="bind", source=str(source), options=("rbind", *options))


def test_what_the_guest_gets(tmp_path: Path):
    limits = oci.Resources(
        memory=oci.Memory(limit=1 << 25), cpu=oci.CPU(quota=500, period=1000), pids=oci.Pids(limit=9)
    )
    names = tmp_path / "data/containers/own/hosts"
    names.parent.mkdir(parents=True)
    names.write_text("127.0.0.1 localhost\n")
    shm = Mount(destination="/dev/shm", type="bind", source="pod:/dev/shm", options=("bind",))
    plan = plan_of(tmp_path, bind(names, "/etc/hosts"), shm, resources=limits)
    jail = vm_pod.seated(plan, MADE)
    note = jsontext.loads(Path(plan.run, enter.NOTE).read_bytes())
    assert (note["in"], note["machine"]) == ("one", str(tmp_path / "run/containers/own"))
    wanted = oci.Spec.from_json(note["member"]["spec"])
    assert wanted.linux is not None
    assert {one.type: one.path for one in wanted.linux.namespaces} == {
        **dict.fromkeys(("mount", "pid", "cgroup")),
        **dict.fromkeys(JOINED, "pod:"),
    }
    assert wanted.linux.cgroups_path == "/pod/one"
    assert wanted.linux.resources is not None
    assert (wanted.linux.resources.cpu, wanted.linux.resources.pids) == (limits.cpu, limits.pids)
    assert [one.source for one in wanted.mounts] == ["/run/atoll/members/one/files/0", "pod:/dev/shm"]
    # The stand-in has no right, no network, no limit that is the container's, and sees two things of the host.
    assert jail.spec.process is not None
    assert jail.spec.process.capabilities == oci.Capabilities()
    assert jail.spec.linux is not None
    assert all(one.path is None for one in jail.spec.linux.namespaces)
    assert jail.spec.linux.resources == oci.Resources(pids=oci.Pids(limit=vm_pod.PIDS))
    assert [one.source for one in jail.spec.mounts if one.type == "bind"] == [
        member.door_of(str(tmp_path / "run/containers/own")),
        "/image",
    ]
    assert (jail.machine, jail.stands) == (None, True)


def test_a_volume_is_named_by_what_it_is(tmp_path: Path):
    place = tmp_path / "place"
    place.mkdir()
    first, second, third = vm_pod.volumes_of(
        plan_of(tmp_path, bind(place, "/a"), bind(place, "/b"), bind(place, "/c", "ro"))
    )
    assert first.destination == second.destination != third.destination
    assert "ro" in third.options


def test_a_volume_that_the_machine_does_not_show(tmp_path: Path):
    plan = plan_of(tmp_path, bind(tmp_path, "/a"))
    with pytest.raises(errors.FailedPrecondition, match="does not show"):
        vm_pod.seated(plan, MADE)
    shown = [one.destination for one in vm_pod.volumes_of(plan)]
    Path(tmp_path, "run/containers/own", enter.NOTE).write_text(jsontext.dumps({"shown": shown}))
    assert vm_pod.seated(plan, MADE).stands


def test_a_fresh_door(tmp_path: Path):
    run = str(tmp_path / "run/containers/own")
    place = vm_pod.door(run, fresh=True).source or ""
    Path(place, "old").touch()
    vm_pod.door(run)
    assert os.listdir(place) == ["old"]
    vm_pod.door(run, fresh=True)
    assert os.listdir(place) == []
    assert os.stat(os.path.dirname(place)).st_mode & 0o777 == 0o700


def test_limits_that_are_the_machines(tmp_path: Path):
    plan = plan_of(tmp_path, resources=oci.Resources(block_io=oci.BlockIO(weight=100)))
    with pytest.raises(errors.Unsupported, match="limits of disks"):
        vm_pod.volumes_of(plan)


def test_those_in_no_machine_of_a_pod_are_left_alone(tmp_path: Path):
    Path(tmp_path, enter.NOTE).write_text("{}")
    assert vm_pod.stats(str(tmp_path)) is None
    assert vm_pod.update(str(tmp_path), oci.Resources()) is False
    vm_pod.pause(str(tmp_path))
    Path(tmp_path, enter.NOTE).write_text("[]")
    with pytest.raises(errors.Corrupt):
        vm_pod.resume(str(tmp_path))
