"""Cgroups on the real kernel: the hybrid of this machine, and v2 where `test_cgroups_v2.py` runs this file again.

Every test lives below one parent cgroup with limits of its own on memory and processes, so that neither the fork
bomb nor the memory hog reaches the machine. Nothing of the shared fixtures is needed (the other machine has none).
"""

from __future__ import annotations

import errno
import itertools
import mmap
import os
import select
import signal
import time

import pytest

from atoll.base import errors
from atoll.linux import bpf, process
from atoll.runtime.cgroups import detect, devicebpf, devices, making, prime, tree
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.spec.runtime import CPU, DeviceRule, HugepageLimit, Memory, NetworkResources, Pids, Resources

MIB = 1 << 20
STRANGER = 61234  # a uid that nobody has
_serial = itertools.count()


class Child:
    """A forked process that waits for `go()` before it does its work; its exit status is the work's result."""

    def __init__(self, work=None):
        gate, self._gate = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            code = 99
            try:
                os.close(self._gate)
                if os.read(gate, 1):
                    code = (work or time.sleep)(*([] if work else [3600])) or 0
            except BaseException as error:
                os.write(2, f"child: {error!r}\n".encode())
            finally:
                os._exit(code)
        os.close(gate)

    def go(self):
        try:
            os.write(self._gate, b"x")
        except BrokenPipeError:
            pass  # killed before it could start: its status will tell

    def wait(self, timeout=20.0):
        """The wait status; killed after the time-out."""
        deadline = time.monotonic() + timeout
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                os.close(self._gate)
                return status
            if time.monotonic() > deadline:
                self.end()
                raise AssertionError("child did not end")
            time.sleep(0.002)

    def end(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self.pid = 0
            os.close(self._gate)


@pytest.fixture
def child():
    made = []

    def make(work=None):
        made.append(Child(work))
        return made[-1]

    yield make
    for one in made:
        one.end()


@pytest.fixture
def hierarchy():
    return detect.detect()


@pytest.fixture
def parent(hierarchy):
    """The path of a parent cgroup in which a test may let anything loose."""
    path = f"/atoll-cgtest-{os.getpid()}-{next(_serial)}"
    limits = Resources(memory=Memory(limit=256 * MIB), pids=Pids(limit=200), devices=(DeviceRule(allow=True),))
    group = Cgroup.create(path, limits, hierarchy)
    yield path
    group.kill()
    group.delete(timeout=10)
    for place in places(group):
        assert not os.path.exists(place)


@pytest.fixture
def create(parent, hierarchy):
    """A function that makes a container's cgroup below the parent."""

    def make(resources=None, *, hierarchy=hierarchy, **how):
        return Cgroup.create(f"{parent}/c{next(_serial)}", resources or Resources(), hierarchy, **how)

    return make


@pytest.fixture(params=["with cgroup.kill", "without"])
def killing(request, monkeypatch, hierarchy):
    """Both ways to kill a tree; a host with v1 alone is what remains of a hybrid without its unified tree."""
    if request.param == "without":
        monkeypatch.setattr(tree, "kill_at_once", lambda directory: False)
        if hierarchy.v1:
            return hierarchy.replace(unified=None)
    return hierarchy


def places(group):
    return [place for _, place in group.v1] + ([group.unified] if group.unified else [])


def content(group, controller, file):
    with open(f"{group.directory(controller)}/{file}") as stream:
        return stream.read().strip()


def first(group, controller, v1, v2):
    """The content of the file by its name in v1 or v2."""
    return content(group, controller, v1 if group._v1_directory(controller) else v2)


def hog():
    """Take 128 MiB, page by page."""
    memory = mmap.mmap(-1, 128 * MIB)
    for offset in range(0, 128 * MIB, 4096):
        memory[offset] = 1
    return 0


def bomb():
    """Fork for ever, children as well."""
    while True:
        try:
            os.fork()
        except OSError:
            time.sleep(0.001)


# --- limits -------------------------------------------------------------------------------------------------------


def test_limits_are_those_asked_for(create, child):
    asked = Resources(
        memory=Memory(limit=64 * MIB, reservation=32 * MIB),
        cpu=CPU(shares=2048, quota=50_000, period=100_000),
        pids=Pids(limit=17),
    )
    group = create(asked)
    assert first(group, "memory", "memory.limit_in_bytes", "memory.max") == str(64 * MIB)
    assert first(group, "memory", "memory.soft_limit_in_bytes", "memory.low") == str(32 * MIB)
    assert content(group, "pids", "pids.max") == "17"
    if group._v1_directory("cpu"):
        assert content(group, "cpu", "cpu.shares") == "2048"
        assert content(group, "cpu", "cpu.cfs_quota_us") == "50000"
    else:
        assert 100 < int(content(group, "cpu", "cpu.weight")) < 400
        assert content(group, "cpu", "cpu.max") == "50000 100000"
    one = child()
    group.add(one.pid)
    assert group.pids() == [one.pid]
    with open(f"/proc/{one.pid}/cgroup") as stream:
        for line in stream:
            assert line.rstrip("\n").endswith(group.path) or (line.startswith("0:") and not group.unified), line
    one.end()
    group.delete()
    assert not any(map(os.path.exists, places(group)))


def test_every_hierarchy_is_joined(create, hierarchy):
    group = create()
    assert len(group.v1) == len(hierarchy.v1)
    assert (group.unified is None) == (hierarchy.unified is None)
    group.delete()


def test_swap_counts_memory_and_swap(create, hierarchy):
    group = create(Resources(memory=Memory(limit=64 * MIB, swap=96 * MIB)))
    place = group.directory("memory")
    if os.path.exists(f"{place}/memory.memsw.limit_in_bytes"):
        assert content(group, "memory", "memory.memsw.limit_in_bytes") == str(96 * MIB)
        # Both orders of change, each of which the kernel allows in one sequence only.
        for limit, swap in ((128, 200), (32, 32), (16, 300)):
            group.update(Resources(memory=Memory(limit=limit * MIB, swap=swap * MIB)), hierarchy)
            assert content(group, "memory", "memory.limit_in_bytes") == str(limit * MIB)
            assert content(group, "memory", "memory.memsw.limit_in_bytes") == str(swap * MIB)
    else:
        assert content(group, "memory", "memory.swap.max") == str(32 * MIB)
        group.update(Resources(memory=Memory(swap=164 * MIB)), hierarchy)
        assert content(group, "memory", "memory.swap.max") == str(100 * MIB)


def test_cpus_come_from_the_parent_and_can_be_narrowed(create):
    group = create(Resources(cpu=CPU()))
    if group.directory("cpuset") is None:
        with pytest.raises(errors.Unsupported, match=r"cpu\.cpus needs the cpuset"):
            create(Resources(cpu=CPU(cpus="0")))
        return
    # On v2 what is empty is the parent's, and stays so (cgroup-v2.rst, "Cpuset Interface Files").
    kind = ".effective" if os.path.exists(f"{group.directory('cpuset')}/cpuset.cpus.effective") else ""
    assert content(group, "cpuset", f"cpuset.cpus{kind}")
    assert content(group, "cpuset", f"cpuset.mems{kind}")
    narrow = create(Resources(cpu=CPU(cpus="0", mems="0")))
    assert content(narrow, "cpuset", "cpuset.cpus") == "0"
    with pytest.raises(errors.AtollError, match=r"cpu\.cpus"):
        create(Resources(cpu=CPU(cpus="999")))


def test_quota_throttles(create, child):
    def spin():
        end = time.monotonic() + 1.0
        while time.monotonic() < end:
            pass
        return 0

    group = create(Resources(cpu=CPU(quota=10_000, period=100_000)))
    one = child(spin)
    group.add(one.pid)
    one.go()
    one.wait(30)
    stats = group.stats()
    assert stats.cpu.throttled_periods > 0
    assert stats.cpu.usage < 600_000_000


def test_out_of_memory_is_counted_and_told(create, child):
    group = create(Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB)))
    fd, mask = group.open_oom_events()
    poll = select.poll()
    poll.register(fd, mask)
    if mask == select.POLLPRI:
        os.read(fd, 4096)
    assert group.oom_kills() == 0
    one = child(hog)
    group.add(one.pid)
    one.go()
    assert os.WTERMSIG(one.wait()) == signal.SIGKILL
    assert poll.poll(5000)
    os.close(fd)
    assert group.oom_kills() == 1
    assert group.stats().memory.oom_kills == 1
    group.delete()
    assert group.oom_kills() == 0  # gone with its cgroup


def test_out_of_memory_in_a_nested_cgroup_counts(create, child):
    group = create(Resources(memory=Memory(limit=24 * MIB, swap=24 * MIB)))
    for place in places(group):
        os.mkdir(f"{place}/inner")
        if os.path.exists(f"{place}/inner/cpuset.cpus"):
            making.fill_cpuset(f"{place}/inner", place)
    one = child(hog)
    group.add(one.pid, below="inner")
    one.go()
    assert os.WTERMSIG(one.wait()) == signal.SIGKILL
    assert group.oom_kills() == 1


def test_the_smallest_memory_limit_kills_with_a_word(create, child):
    group = create(Resources(memory=Memory(limit=4096)))
    one = child(lambda: os.execv("/bin/true", ["true"]))
    group.add(one.pid)
    one.go()
    assert os.WTERMSIG(one.wait()) == signal.SIGKILL
    assert group.oom_kills() >= 1


def test_memory_below_what_is_in_use(create, child, hierarchy):
    ready, told = os.pipe()

    def hold():
        memory = mmap.mmap(-1, 32 * MIB)
        for offset in range(0, 32 * MIB, 4096):
            memory[offset] = 1
        os.write(told, b"x")
        time.sleep(3600)

    group = create(Resources(memory=Memory(limit=64 * MIB, swap=64 * MIB)))
    one = child(hold)
    group.add(one.pid)
    one.go()
    os.close(told)
    assert os.read(ready, 1)
    os.close(ready)
    with pytest.raises(errors.FailedPrecondition, match=r"memory\.limit"):
        group.update(Resources(memory=Memory(limit=8 * MIB, check_before_update=True)), hierarchy)
    if group._v1_directory("memory"):
        with pytest.raises(errors.FailedPrecondition, match="in use"):
            group.update(Resources(memory=Memory(limit=8 * MIB)), hierarchy)
    group.update(Resources(memory=Memory(limit=100 * MIB, swap=100 * MIB)), hierarchy)
    assert group.stats().memory.limit == 100 * MIB


def test_update_keeps_what_is_not_given(create, hierarchy):
    group = create(Resources(cpu=CPU(quota=20_000, period=50_000), pids=Pids(limit=30)))
    group.update(Resources(cpu=CPU(quota=40_000)), hierarchy)
    if group._v1_directory("cpu"):
        assert content(group, "cpu", "cpu.cfs_period_us") == "50000"
        assert content(group, "cpu", "cpu.cfs_quota_us") == "40000"
    else:
        assert content(group, "cpu", "cpu.max") == "40000 50000"
    assert content(group, "pids", "pids.max") == "30"
    group.update(Resources(cpu=CPU(quota=-1), pids=Pids(limit=-1)), hierarchy)
    assert content(group, "pids", "pids.max") == "max"


def test_burst_and_quota_change_in_any_order(create, hierarchy):
    group = create(Resources(cpu=CPU(quota=50_000, period=100_000, burst=40_000)))
    group.update(Resources(cpu=CPU(quota=10_000, burst=5_000)), hierarchy)
    group.update(Resources(cpu=CPU(quota=80_000, burst=70_000)), hierarchy)
    assert first(group, "cpu", "cpu.cfs_burst_us", "cpu.max.burst") == "70000"


@pytest.mark.spec("config-linux#unified.controllers", "config-linux#unified.unknown-key")
def test_unified_reaches_v2_controllers_and_only_those(create, hierarchy):
    if hierarchy.v1:
        with pytest.raises(errors.Unsupported, match=r"unified\[memory\.high\].*v1"):
            create(Resources(unified=(("memory.high", "1"),)))
        group = create(Resources(unified=(("cgroup.max.depth", "3"),)))
        with open(f"{group.unified}/cgroup.max.depth") as stream:
            assert stream.read().strip() == "3"
    else:
        group = create(Resources(memory=Memory(limit=64 * MIB), unified=(("memory.max", str(32 * MIB)),)))
        assert content(group, "memory", "memory.max") == str(32 * MIB)  # unified has the last word


# --- what cannot be ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("resources", "name"),
    [
        (Resources(hugepage_limits=(HugepageLimit(page_size="3MB", limit=1),)), "hugepageLimits"),
        (Resources(network=NetworkResources(class_id=1)), "network.classID"),
        (Resources(cpu=CPU(quota=5)), "cpu.quota"),
        (Resources(memory=Memory(swap=5)), "memory.swap"),
    ],
)
def test_a_refused_limit_is_named_and_leaves_nothing(parent, hierarchy, resources, name):
    path = f"{parent}/deep/er/one"
    with pytest.raises(errors.AtollError, match=f"linux.resources.{name}"):
        Cgroup.create(path, resources, hierarchy)
    for mount in [*hierarchy.v1, hierarchy.unified]:
        assert mount is None or not os.path.exists(f"{mount.path}{parent}/deep")


def test_a_cgroup_in_use_is_a_conflict_and_an_empty_one_is_taken(create, child, hierarchy):
    group = create()
    assert Cgroup.create(group.path, Resources(), hierarchy).to_json() == group.to_json()
    one = child()
    group.add(one.pid)
    with pytest.raises(errors.Conflict, match=str(one.pid)):
        Cgroup.create(group.path, Resources(), hierarchy)
    assert group.pids() == [one.pid]


def test_joining_says_what_is_gone(create, child):
    group = create()
    one = child()
    one.end()
    with pytest.raises(errors.NotFound, match="process is gone"):
        group.add(2**22 - 2)
    group.delete()
    with pytest.raises(errors.NotFound, match="cgroup is gone"):
        group.add(os.getpid())


# --- devices ----------------------------------------------------------------------------------------------------


def probe_devices(tmp_path):
    """Exit status with a bit for each device that opens: 1 null, 2 a loop device's node, 4 mem."""
    loop, mem = str(tmp_path / "loop"), str(tmp_path / "mem")
    if not os.path.exists(loop):
        os.mknod(loop, 0o600 | 0o060000, os.makedev(7, 0))
        os.mknod(mem, 0o600 | 0o020000, os.makedev(1, 1))

    def probe():
        seen = 0
        for bit, path in ((1, "/dev/null"), (2, loop), (4, mem)):
            try:
                os.close(os.open(path, os.O_RDWR))
                seen |= bit
            except OSError as error:
                if error.errno != errno.EPERM:
                    seen |= bit  # refused by another than the device controller
        return seen

    return probe


def outcome(child, group, work):
    one = child(work)
    group.add(one.pid)
    one.go()
    return os.WEXITSTATUS(one.wait())


def test_default_devices_only(create, child, tmp_path, hierarchy):
    probe = probe_devices(tmp_path)
    group = create()
    assert outcome(child, group, probe) == 1
    group.update(Resources(devices=(DeviceRule(allow=True, type="b", major=7, minor=0, access="rw"),)), hierarchy)
    assert outcome(child, group, probe) & 3 == 3
    group.update(Resources(devices=(DeviceRule(allow=False),)), hierarchy)
    assert outcome(child, group, probe) == 1


def test_the_bpf_program_on_this_kernel(create, child, tmp_path):
    """v2's way, also on a hybrid host: the unified tree takes such programs there too."""
    group = create(Resources(devices=(DeviceRule(allow=True),)))
    probe = probe_devices(tmp_path)
    if not hasattr(os, "O_PATH") or group.unified is None:
        return
    asked = (
        DeviceRule(allow=True, type="c", major=1),
        DeviceRule(allow=False, type="c", major=1, minor=1),  # a hole, which v1 could not have
    )
    making.limit_devices_v2(group.unified, devices.rules_for(asked))
    assert outcome(child, group, probe) == 1
    making.limit_devices_v2(group.unified, devices.rules_for((DeviceRule(allow=True),)))
    fd = group.open_dir()
    assert len(bpf.prog_query(fd)) == 1  # the old one was taken away
    os.close(fd)
    assert outcome(child, group, probe) & 3 == 3


def test_a_program_that_is_kept_is_used_again(create, child, tmp_path, monkeypatch):
    groups = [create(Resources(devices=(DeviceRule(allow=True),))) for _ in range(2)]
    if any(group.unified is None for group in groups):
        return
    rules = devices.rules_for((DeviceRule(allow=False),))
    loaded: list[bytes] = []
    load = bpf.prog_load
    monkeypatch.setattr(bpf, "prog_load", lambda program: loaded.append(program) or load(program))
    making.keep_devices_v2(rules)
    try:
        for group in groups:
            fd = group.open_dir()
            for known in bpf.prog_query(fd):  # on a v2 host it was made with one
                program = bpf.prog_get_fd_by_id(known)
                bpf.prog_detach(program, fd)
                os.close(program)
            making.limit_devices_v2(group.unified, rules)
            assert len(bpf.prog_query(fd)) == 1
            os.close(fd)
        assert len(loaded) == 1
        making.limit_devices_v2(groups[0].unified, rules)  # the same once more: it is attached already
        assert len(loaded) == 2
    finally:
        os.close(making._kept.pop(rules))
    assert outcome(child, groups[0], probe_devices(tmp_path)) == 1


def test_a_program_the_verifier_refuses_is_an_os_error():
    good = devicebpf.compile(devices.rules_for(()))
    with pytest.raises(OSError, match="BPF_PROG_LOAD"):
        bpf.prog_load(good[:-8])
    os.close(bpf.prog_load(good))


# --- freezing, killing, removing --------------------------------------------------------------------------------


def test_freeze_and_thaw(create, child, killing):
    counter = mmap.mmap(-1, 4096)

    def count():
        while True:
            counter[0] = (counter[0] + 1) % 256
            time.sleep(0.001)

    group = create(hierarchy=killing)
    one = child(count)
    group.add(one.pid)
    one.go()
    assert not group.frozen()
    group.freeze()
    assert group.frozen()
    stand = counter[0]
    time.sleep(0.1)
    assert counter[0] == stand
    group.thaw()
    assert not group.frozen()
    deadline = time.monotonic() + 5
    while counter[0] == stand and time.monotonic() < deadline:
        time.sleep(0.01)
    assert counter[0] != stand


def gone(group, timeout=10.0):
    deadline = time.monotonic() + timeout
    while group.pids():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def test_a_fork_bomb_is_held_and_killed(create, child, killing):
    group = create(Resources(pids=Pids(limit=40)), hierarchy=killing)
    one = child(bomb)
    group.add(one.pid)
    one.go()
    deadline = time.monotonic() + 10
    while len(group.pids()) < 40 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(group.pids()) == 40
    assert group.stats().pids.current <= 40
    assert group.kill()
    one.wait()
    assert gone(group)
    group.delete()
    assert not any(map(os.path.exists, places(group)))


def test_a_frozen_tree_can_be_killed(create, child, killing):
    group = create(hierarchy=killing)
    one = child()
    group.add(one.pid)
    group.freeze()
    assert group.kill()
    one.wait()
    assert gone(group)


def test_nested_cgroups_of_the_container_go_with_it(create, child):
    group = create()
    for place in places(group):
        os.makedirs(f"{place}/a/b/c")
        os.mkdir(f"{place}/d")
    group.delete()
    assert not any(map(os.path.exists, places(group)))


def test_delete_kills_nothing_and_names_the_living(create, child):
    group = create()
    one = child()
    group.add(one.pid)
    start = time.monotonic()
    with pytest.raises(errors.FailedPrecondition, match=str(one.pid)):
        group.delete(timeout=0.2)
    assert time.monotonic() - start < 5
    assert group.pids() == [one.pid]
    one.end()
    group.delete()
    group.delete()  # twice is fine


def test_delete_waits_for_the_dying(create, child):
    group = create()
    many = [child() for _ in range(20)]
    for one in many:
        group.add(one.pid)
    group.kill()
    group.delete()  # not yet reaped: zombies hold no cgroup
    assert not any(map(os.path.exists, places(group)))


def test_born_in_the_cgroup(create):
    group = create()
    fd = group.open_dir()
    if fd is None:
        return
    pid, pidfd = process.clone3(0, cgroup_fd=fd)
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    os.close(fd)
    os.close(pidfd)
    try:
        group.add(pid, unified=False)
        assert group.pids() == [pid]
    finally:
        group.kill()
        os.waitpid(pid, 0)


def test_a_newcomer_joins_beside_an_init_that_moved(create, child):
    """A container that runs systemd keeps processes in leaves only; exec then goes where its init is."""
    group = create(Resources(hugepage_limits=(HugepageLimit(page_size="2MB", limit=0),) if has_hugetlb() else ()))
    controllers = tree.available(group.unified) if group.unified else frozenset()
    if not controllers:
        return
    init, newcomer = child(), child()
    group.add(init.pid)
    os.mkdir(f"{group.unified}/init.scope")
    group_of_init = f"{group.unified}/init.scope/cgroup.procs"
    with open(group_of_init, "w") as stream:
        stream.write(str(init.pid))
    with open(f"{group.unified}/cgroup.subtree_control", "w") as stream:
        stream.write(f"+{min(controllers)}")
    with pytest.raises(errors.FailedPrecondition, match="hands controllers on"):
        group.add(newcomer.pid)
    group.add(newcomer.pid, beside=init.pid)
    with open(group_of_init) as stream:
        assert sorted(map(int, stream.read().split())) == sorted((init.pid, newcomer.pid))
    init.end()
    newcomer.end()


def has_hugetlb():
    unified = detect.detect().unified
    return unified is not None and "hugetlb" in unified.controllers


def test_a_parent_with_processes_cannot_hand_controllers_down(parent, hierarchy, child):
    if hierarchy.v1:
        return
    one = child()
    busy = Cgroup.create(f"{parent}/busy", Resources(), hierarchy)
    busy.add(one.pid)
    with pytest.raises(errors.FailedPrecondition, match=r"pids controller cannot be handed down from .*/busy"):
        Cgroup.create(f"{parent}/busy/inner", Resources(pids=Pids(limit=3)), hierarchy)


def test_many_at_once_below_a_parent_that_comes_and_goes(parent, hierarchy):
    """Creators that fail undo the ancestors they made while others build on them."""
    bad = Resources(cpu=CPU(quota=5))

    def work(number):
        for turn in range(12):
            path = f"{parent}/shared/level/{number}-{turn}"
            try:
                group = Cgroup.create(path, bad if turn % 3 == 2 else Resources(), hierarchy)
                group.delete()
            except errors.InvalidArgument:
                continue
        return 0

    workers = []
    for number in range(6):
        pid = os.fork()
        if pid == 0:
            try:
                os._exit(work(number))
            except BaseException as error:
                os.write(2, f"{error!r}\n".encode())
                os._exit(1)
        workers.append(pid)
    assert [os.waitpid(pid, 0)[1] for pid in workers] == [0] * 6


def test_what_it_knows_survives_the_record(create, child):
    group = create(Resources(pids=Pids(limit=9)))
    again = Cgroup.from_json(group.to_json())
    one = child()
    again.add(one.pid)
    assert group.pids() == again.pids() == [one.pid]
    assert again.stats().pids.limit == 9
    assert again.stats().pids.current == 1
    assert again.stats().memory.usage is not None
    assert again.stats().cpu.usage is not None
    one.end()
    again.delete()


@pytest.mark.spec("config-linux#cgroup-ownership.listed-files", "config-linux#cgroup-ownership.other-files")
@pytest.mark.spec("config-linux#cgroup-ownership.missing-files")
def test_handing_it_to_the_containers_root(create):
    group = create()
    if group.unified is None:
        return
    group.give(STRANGER, STRANGER)
    assert os.stat(group.unified).st_uid == STRANGER
    assert os.stat(f"{group.unified}/cgroup.procs").st_uid == STRANGER
    assert os.stat(f"{group.unified}/cgroup.events").st_uid == os.geteuid()


def test_priming_moves_nothing():
    with open("/proc/self/cgroup") as stream:
        before = stream.read()
    pid = prime.prime_aside()
    assert os.waitpid(pid, 0)[1] == 0
    with open("/proc/self/cgroup") as stream:
        assert stream.read() == before


# --- an ordinary user -------------------------------------------------------------------------------------------


def as_stranger(work, before=lambda: None):
    """Run `work` as an ordinary user in a child; its error text, or "" if it passed."""
    answer, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        said = ""
        try:
            before()
            os.setgroups([])
            os.setresgid(STRANGER, STRANGER, STRANGER)
            os.setresuid(STRANGER, STRANGER, STRANGER)
            work()
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        finally:
            os.write(told, said.encode()[:4000])
            os._exit(0)
    os.close(told)
    said = b""
    while chunk := os.read(answer, 4096):
        said += chunk
    os.close(answer)
    os.waitpid(pid, 0)
    return said.decode()


@pytest.fixture
def delegated(create):
    """A subtree that belongs to the stranger, and what moves a process into it."""
    group = create()
    for place in places(group):
        names = ["", "cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"]
        for name in names:
            if os.path.exists(f"{place}/{name}"):
                os.chown(f"{place}/{name}", STRANGER, STRANGER)
        os.mkdir(f"{place}/session")
        if os.path.exists(f"{place}/session/cpuset.cpus"):
            making.fill_cpuset(f"{place}/session", place)
        for name in names:
            if os.path.exists(f"{place}/session/{name}"):
                os.chown(f"{place}/session/{name}", STRANGER, STRANGER)
    yield group.path, lambda: group.add(os.getpid(), below="session")
    group.kill()
    group.delete()


def test_without_delegation_limits_are_refused_by_name(hierarchy):
    def limits():
        Cgroup.create("atoll-x", Resources(pids=Pids(limit=5)), detect.detect(), rootless=True)

    said = as_stranger(limits)
    assert said.startswith("Denied: linux.resources.pids.limit needs the pids cgroup controller")
    assert "chown" in said


def test_without_delegation_no_limits_need_no_cgroup():
    def nothing_asked():
        assert detect.delegated(detect.detect()) == frozenset()
        group = Cgroup.create(
            "atoll-x", Resources(devices=(DeviceRule(allow=False),)), detect.detect(), rootless=True
        )
        assert group.empty
        group.delete()

    assert as_stranger(nothing_asked) == ""


@pytest.mark.parametrize("absolute", [True, False])
def test_in_a_delegated_subtree_limits_hold(delegated, absolute):
    parent, join = delegated

    def use():
        hierarchy = detect.detect()
        assert {"memory", "pids", "unified"} <= detect.delegated(hierarchy, parent if absolute else None)
        path = f"{parent}/mine" if absolute else "mine"
        asked = Resources(memory=Memory(limit=24 * MIB), pids=Pids(limit=7), devices=(DeviceRule(allow=False),))
        group = Cgroup.create(path, asked, hierarchy, rootless=True)
        assert content(group, "pids", "pids.max") == "7"
        one = Child(hog)
        group.add(one.pid)
        assert group.pids() == [one.pid]
        group.freeze()
        group.thaw()
        one.go()
        status = one.wait()
        assert os.WIFSIGNALED(status), status
        assert group.oom_kills() == 1
        other = Child()
        group.add(other.pid)
        group.kill()
        other.wait()
        group.delete()
        assert not any(map(os.path.exists, places(group)))

    assert as_stranger(use, before=join) == ""
