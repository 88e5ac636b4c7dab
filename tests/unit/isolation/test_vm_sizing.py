"""What a machine's guest keeps of other limits, and how large its machine is to be."""

import os

from atoll.guest import member
from atoll.isolation import vm_sizing
from atoll.runtime import state
from atoll.spec.runtime import CPU, Memory, Pids, Resources


def test_a_machine_has_room_beside_what_its_container_may_use():
    assert vm_sizing.size_for(512 << 20) == 512 + vm_sizing.BESIDE
    assert vm_sizing.size_for(6 << 20) == vm_sizing.SMALLEST


def test_the_guest_keeps_memory_and_processes_and_the_cgroup_around_it_the_rest(monkeypatch):
    asked = []

    class Known:
        pid = os.getpid()

    monkeypatch.setattr(state, "read", lambda run: Known)
    monkeypatch.setattr(vm_sizing, "connected", lambda pid: pid)
    monkeypatch.setattr(member, "asked", lambda door, request, whose: asked.append((door, request["size"])))
    cpu = CPU(quota=50_000, period=100_000)
    given = Resources(cpu=cpu, memory=Memory(limit=256 << 20, swap=512 << 20), pids=Pids(limit=9))
    assert vm_sizing.update("/run", given) == Resources(cpu=cpu)
    wanted = {"memory": {"limit": 256 << 20}, "pids": {"limit": 9}}
    assert asked == [(os.getpid(), {"memory": 256 + vm_sizing.BESIDE, "limits": wanted})]
    assert vm_sizing.update("/run", Resources(cpu=cpu)) == Resources(cpu=cpu)
    assert len(asked) == 1, "a guest that has nothing to keep is not asked"
