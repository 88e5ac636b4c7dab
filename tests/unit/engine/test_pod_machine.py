"""A pod's machine: how large it is, and what its pod may be limited to."""

import pytest

from atoll.engine.pods import machine
from atoll.engine.pods.record import PodRecord
from atoll.isolation.vm import OVERHEAD
from atoll.spec import runtime as oci

MIB = 1 << 20


@pytest.mark.parametrize(
    ("usual", "wanted", "memory"),
    [(256, 0, 256), (256, 100, 256), (256, 128, 256), (256, 129, 384), (512, 100, 512), (256, 1024, 1152)],
)
def test_memory_in_steps(usual: int, wanted: int, memory: int):
    assert machine.memory_of(usual * MIB, wanted * MIB) == memory


def test_limits_around_the_machine():
    found = oci.Resources(
        memory=oci.Memory(limit=100 * MIB), pids=oci.Pids(limit=9), cpu=oci.CPU(quota=1000, period=1000)
    )
    kept = machine.around(PodRecord(memory=100 * MIB), found, 256 * MIB)
    assert kept.memory == oci.Memory(limit=256 * MIB + OVERHEAD + machine.STANDS)
    assert kept.pids is None
    assert kept.cpu == found.cpu
    assert machine.around(PodRecord(), found, 256 * MIB).memory is None
