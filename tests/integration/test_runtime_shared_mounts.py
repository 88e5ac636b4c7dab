"""A container without a mount namespace: a chroot in the caller's mounts, as in runc, which stay as they were."""

from __future__ import annotations

import os

import pytest

from kit.bundle import Bundle, Runtime


def shared(runtime: Runtime) -> Bundle:
    bundle = runtime.bundle()
    bundle.config["mounts"] = []
    linux = bundle.config["linux"]
    linux["maskedPaths"] = linux["readonlyPaths"] = []
    linux["namespaces"] = [one for one in linux["namespaces"] if one["type"] not in ("mount", "cgroup")]
    return bundle


def test_it_is_a_chroot(runtime: Runtime):
    bundle = shared(runtime)
    before = open("/proc/self/mountinfo").read()
    result = runtime.run(bundle, "sh", "-c", "ls /; id -u; test -e /proc/self || echo no proc")
    names = result.good().split("\n")
    assert set(names[:-2]) == set(os.listdir(bundle.rootfs))
    assert names[-2:] == ["0", "no proc"]
    assert open("/proc/self/mountinfo").read() == before


def test_devices_lie_in_the_root(root_runtime: Runtime):
    bundle = shared(root_runtime)
    root_runtime.run(bundle, "sh", "-c", "echo x > /dev/null").good()
    assert os.stat(bundle.path("dev/null")).st_rdev == os.makedev(1, 3)
    assert os.readlink(bundle.path("dev/fd")) == "/proc/self/fd"


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("linux", "maskedPaths"), ["/proc/kcore"]),
        (("linux", "readonlyPaths"), ["/proc/sys"]),
        (("linux", "rootfsPropagation"), "private"),
        (("root", "readonly"), True),
        (("mounts",), [{"destination": "/proc", "type": "proc", "source": "proc"}]),
    ],
    ids=lambda one: ".".join(one) if isinstance(one, tuple) else "",
)
def test_what_would_change_the_callers_mounts_is_refused(runtime: Runtime, where: tuple[str, ...], value: object):
    bundle = shared(runtime)
    place = bundle.config
    for key in where[:-1]:
        place = place[key]
    place[where[-1]] = value
    runtime.run(bundle, "true").failed(1, f"{'.'.join(where)}: .*without a private mount namespace")
