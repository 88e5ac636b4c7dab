"""To whom a container's cgroup is handed: only on pure v2, mapped, with a namespace and a mount to write to."""

from __future__ import annotations

import pytest

from atoll.runtime import cgroup_mounts
from atoll.runtime.cgroups.detect import Hierarchy, Mount
from atoll.spec.runtime import IDMapping, Linux, Process, Spec, User
from atoll.spec.runtime import Mount as Entry

V2 = Hierarchy(v1=(), unified=Mount(path="/sys/fs/cgroup", controllers=("memory",), own=""))
HYBRID = V2.replace(v1=(Mount(path="/sys/fs/cgroup/memory", controllers=("memory",), own=""),))
LINUX = Linux(
    uid_mappings=(IDMapping(container_id=0, host_id=1000, size=1), IDMapping(container_id=1, host_id=5, size=9))
)


def spec(*options: str, uid: int = 0, destination: str = "/sys/fs/cgroup", linux: Linux = LINUX) -> Spec:
    """A container with a cgroup mount."""
    entry = Entry(destination=destination, type="cgroup", source="cgroup", options=options)
    return Spec(linux=linux, process=Process(cwd="/", args=("x",), user=User(uid=uid)), mounts=(entry,))


@pytest.mark.spec("config-linux#cgroup-ownership.v1", "config-linux#cgroup-ownership.own-namespace")
@pytest.mark.spec("config-linux#cgroup-ownership.writable")
def test_who_owns_a_cgroup():
    owner = cgroup_mounts.owner
    assert owner(spec("rw"), V2, namespace=True) == 1000
    assert owner(spec(), V2, namespace=True) == 1000
    assert owner(spec(uid=4), V2, namespace=True) == 8
    assert owner(spec("nosuid", "ro"), V2, namespace=True) is None
    assert owner(spec(destination="/elsewhere"), V2, namespace=True) is None
    assert owner(spec(), V2, namespace=False) is None
    assert owner(spec(), HYBRID, namespace=True) is None
    assert owner(spec(linux=Linux()), V2, namespace=True) is None
    assert owner(spec(uid=77), V2, namespace=True) is None
