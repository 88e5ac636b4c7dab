"""What every driver of machines owes (vm/machine.py), where its program is here: QEMU by emulation, user-mode Linux;
Firecracker and Cloud Hypervisor where KVM boots a guest by them.

The machines here run outside any jail, with our own agent in them and nothing else.
"""

from __future__ import annotations

import binascii
import os
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from atoll.base import errors
from atoll.guest import wire
from atoll.vm import drivers, kernel, probe
from atoll.vm.booting import Booted, boot
from atoll.vm.closure import closure
from atoll.vm.machine import KVM, OWN, Driver, Link, Machine
from kit import processes, vm
from kit.sandbox import Sandbox
from kit.waiting import until

pytestmark = pytest.mark.timeout(300)
MEMORY = 224
SECONDS = 200.0
"""How long a guest may take here: emulation on a loaded machine is slow."""


def _usable() -> list[str]:
    found = [name for name, one in drivers.probed().items() if one.ok]
    return [name for name in found if drivers.named(name).accelerators != (KVM,) or _boots(name)]


def _boots(name: str) -> bool:
    root = vm.store()
    return probe.kvm(root, driver=name).ok


@pytest.fixture(params=_usable(), scope="module")
def driver(request: pytest.FixtureRequest) -> Driver:
    """Each driver whose program is here."""
    return drivers.named(request.param)


@pytest.fixture(scope="module")
def start(driver: Driver, sandbox: Sandbox) -> Callable[[], Booted]:
    """A function that starts a machine with nothing in it."""
    root = vm.store(sandbox.run_outside)
    image = closure(root, driver.program).agent
    accel = driver.accelerators[-1]
    found = kernel.installed(root)
    return lambda: boot(found, image, memory=MEMORY, cpus=1, accel=accel, driver=driver.name)


@pytest.fixture(scope="module")
def machine(start: Callable[[], Booted]) -> Iterator[Booted]:
    """One that has come up, for all tests that leave it as it is."""
    with start() as one:
        assert one.await_hello(SECONDS) is None
        yield one


BASE = Machine(
    kernel="/vm/kernel", memory=256, cpus=1, accel="tcg", agent=30, image=31, disk=32, port=33, control=34,
    console=35, memory_fd=36, link=Link(tap=37), place="/vm", meeting="/dev/shm",
)  # fmt: skip


def test_it_is_found_and_says_what_it_is(driver: Driver):
    found = driver.probe()
    assert found.ok
    assert os.access(found.program, os.X_OK)
    assert driver.title
    assert driver.wall


def test_every_path_in_its_command_is_one_that_it_was_given(driver: Driver):
    words = driver.command(BASE.replace(accel=driver.accelerators[0]), "/usr/bin/vmm")
    paths = [word for word in " ".join(words).replace("=", " ").replace(",", " ").split() if word.startswith("/")]
    known = ("/usr/bin/vmm", "/vm/", "/dev/shm", "/proc/self/fd/", "/dev/fdset/", "/dev/vda", "/dev/root", "/init",
             "/dev/urandom", "/dev/ttyS0")  # fmt: skip
    assert [path for path in paths if path != "/" and not path.startswith(known)] == []


def test_it_inherits_the_channels_and_either_the_files_or_their_names(driver: Driver):
    given = set(driver.descriptors(BASE))
    assert given <= {30, 31, 32, 33, 34, 35, 36, 37}
    assert {33, 34, 35} <= given
    assert bool(given & {30, 31, 32}) != driver.by_name


def test_a_guest_comes_up_is_set_up_and_answers(machine: Booted):
    message = {
        "entropy": binascii.b2a_base64(bytes(64), newline=False).decode(),
        "time": time.time_ns(),
        "hostname": "contract",
        "links": [],
        "sysctl": {},
        "image": False,
        "disk": False,
        "scratch": 0,
        "volumes": False,
        "files": {},
        "filters": {},
    }
    machine.port.sendall(wire.word(wire.SETUP, message))
    kinds = _kinds(machine)
    assert wire.FAILED not in kinds
    assert kinds[-1] == wire.READY


def _kinds(machine: Booted) -> list[int]:
    """The kinds of frames until the guest is ready, or has failed."""
    reader, kinds = wire.FrameReader(guest=True), []
    machine.port.settimeout(SECONDS)
    while not {wire.READY, wire.FAILED} & set(kinds):
        kinds += [kind for kind, *_ in reader.feed(machine.port.recv(1 << 16))]
    return kinds


def test_memory_is_taken_from_it_and_given_back(machine: Booted):
    machine.talk.greet()
    machine.talk.resize(MEMORY - 32)
    machine.talk.resize(MEMORY)


def test_nothing_is_left_of_one_that_is_ended(start: Callable[[], Booted]):
    with start() as one:
        assert one.await_hello(SECONDS) is None
        session = one.child.pid
        assert _session(session)
    until(lambda: not _session(session))


def test_it_ends_with_who_booted_it(driver: Driver, start: Callable[[], Booted]):
    """A command that makes a template and is killed: nobody is left to end the machine. What user-mode Linux leaves
    behind ends with its jail; it has no templates, so that nobody boots it outside one but this test."""
    told, say = os.pipe()
    maker = os.fork()
    if maker == 0:
        try:
            one = start()
            up = one.await_hello(SECONDS) is None
            os.write(say, str(one.child.pid if up else 0).encode())
            time.sleep(1000)
        finally:
            os._exit(1)
    os.close(say)
    session = int(os.read(told, 16) or 0)
    os.close(told)
    assert session
    os.kill(maker, signal.SIGKILL)
    os.waitpid(maker, 0)
    until(lambda: session not in _session(session))
    for left in _session(session):
        assert driver.accelerators == (OWN,)
        os.kill(left, signal.SIGKILL)


def _session(number: int) -> list[int]:
    found = []
    for one in processes.everyone():
        try:
            if os.getsid(one.pid) == number and one.state != "Z":
                found.append(one.pid)
        except ProcessLookupError:
            continue
    return found


def test_a_program_that_is_not_here_is_named(driver: Driver, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(type(driver), "program", "no-such-vmm")
    assert "no-such-vmm is not here" in str(driver.probe().reason)
    with pytest.raises(errors.Unsupported, match="no-such-vmm"):
        boot(
            kernel.Kernel(path="/nowhere", digest=""),
            "/nowhere/agent.img",
            memory=64,
            cpus=1,
            accel="tcg",
            driver=driver.name,
        )
