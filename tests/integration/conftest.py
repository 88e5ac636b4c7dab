"""Fixtures of the integration tests: the corner, the images, fresh Atolls, and the leak check they all run under.

    sandbox (package)   own mount, network and cgroup namespaces; nothing of a test reaches the host
    registry (package)  Debian's docker-registry with busybox and debian in it
    atoll               root, fresh data and run root on tmpfs; everything removed afterwards
    machines            root's Atoll that has a kernel for virtual machines, and may emulate (`machine_store`)
    rootless            an ordinary user with subordinate ids, in a delegated cgroup subtree
    single              an ordinary user without subordinate ids, in a delegated cgroup subtree
    undelegated         an ordinary user whose cgroup is not delegated
    outside, net        a host beyond an uplink of the corner's; root's Atoll with networks, which leaves none behind
    runtime             `atoll-runtime` on raw bundles, of root and of an ordinary user; `root_runtime` of root alone
    leak_check          autouse: the same processes, mounts, cgroups, namespaces, links before and after

The seed, `rng` and `--full` are those of tests/conftest.py.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from kit import images, leaks, vm
from kit.bundle import Runtime
from kit.command import Atoll
from kit.networks import net, outside, untouched  # noqa: F401 - fixtures
from kit.registry import Registry
from kit.sandbox import Sandbox

_serial = itertools.count()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where the machine cannot give us a corner, say so once per test and skip."""
    if os.geteuid() == 0:
        return
    here = os.path.dirname(os.path.abspath(__file__))
    for item in items:
        if str(item.path).startswith(here):
            item.add_marker(pytest.mark.skip(reason="integration tests make namespaces and cgroups: run as root"))


@pytest.fixture(scope="session")
def full(pytestconfig: pytest.Config) -> bool:
    """Whether the long matrices are to run whole."""
    return bool(pytestconfig.getoption("--full"))


@pytest.fixture(scope="package")
def sandbox() -> Iterator[Sandbox]:
    """The corner; the session's process moves into it."""
    corner = Sandbox().enter()
    yield corner
    corner.leave()


@pytest.fixture(scope="package")
def registry(sandbox: Sandbox) -> Iterator[Registry]:
    """A registry with `busybox` and `debian`."""
    server = Registry(os.path.join(sandbox.scratch, "registry"))
    leaks.SERVICES.add(server.process.pid)
    server.push(images.busybox(), "busybox")
    yield server
    server.stop()


@pytest.fixture(scope="package")
def busybox(registry: Registry) -> str:
    """Reference of the busybox image."""
    return f"{registry.host}/busybox:latest"


@pytest.fixture(scope="package")
def debian(registry: Registry, sandbox: Sandbox) -> str:
    """Reference of the Debian image; made by debootstrap the first time, a minute."""
    return registry.push(images.debian(sandbox.run_outside), "debian")


@pytest.fixture(scope="package")
def machine_store(sandbox: Sandbox) -> str:
    """Kernel, closures and templates of virtual machines."""
    return vm.store(sandbox.run_outside)


@pytest.fixture(autouse=True)
def leak_check(sandbox: Sandbox, registry: Registry) -> Iterator[None]:
    """Nothing may be left of a test. Set up first, so that it looks after every other fixture has cleaned up."""
    before = leaks.Count.now(sandbox.scratch)
    yield
    left = leaks.settle(before, sandbox.scratch)
    assert not left, "\n".join(["left behind by this test:", *left])


@pytest.fixture
def fresh(sandbox: Sandbox, leak_check: None) -> Iterator[Callable[..., Atoll]]:
    """A function that makes Atolls with roots of their own; all are cleared at the end."""
    made: list[Atoll] = []

    def make(**how: object) -> Atoll:
        one = Atoll(os.path.join(sandbox.scratch, f"atoll-{next(_serial)}"), **how)  # type: ignore[arg-type]
        made.append(one)
        return one

    yield make
    problems = []
    for one in made:
        problems += _clear(one)
    assert not problems, "\n".join(problems)


def _clear(one: Atoll) -> list[str]:
    """Remove containers and roots; sentences about what the command left in them."""
    one.clear()
    stray = leaks.stray_files(one.data, one.run_root)
    faults = os.path.join(one.run_root, "faults.log")
    said = ""
    if os.path.exists(faults):
        with open(faults, errors="replace") as stream:
            said = stream.read()
    # The trees hold work directories of mode 000 and files of mapped owners; rm as root takes them.
    subprocess.run(["rm", "-rf", "--one-file-system", one.folder], check=True)
    return [f"file left behind: {path}" for path in stray] + ([f"{faults} says:\n{said}"] if said else [])


@pytest.fixture
def atoll(fresh: Callable[..., Atoll]) -> Atoll:
    """Root's Atoll."""
    return fresh()


@pytest.fixture
def machines(fresh: Callable[..., Atoll], machine_store: str, busybox: str) -> Atoll:
    """Root's, which may emulate, and has a kernel."""
    one = fresh()
    vm.give(one, machine_store)
    one.good("pull", "-q", busybox)
    return one


@pytest.fixture
def rootless(fresh_rootless: Callable[..., Atoll]) -> Atoll:
    """An ordinary user with ranges in /etc/subuid and /etc/subgid, in a delegated cgroup."""
    return fresh_rootless("atoll-full")


@pytest.fixture
def single(fresh_rootless: Callable[..., Atoll]) -> Atoll:
    """An ordinary user with one uid and nothing installed for him, in a delegated cgroup."""
    return fresh_rootless("atoll-single")


@pytest.fixture
def undelegated(fresh_rootless: Callable[..., Atoll]) -> Atoll:
    """An ordinary user whose cgroup belongs to root."""
    return fresh_rootless("atoll-full", delegated=False)


@pytest.fixture
def fresh_rootless(sandbox: Sandbox, subtrees: list[str], fresh: Callable[..., Atoll]) -> Callable[..., Atoll]:
    """A function that makes an ordinary user's Atoll."""

    def make(name: str, *, delegated: bool = True, **how: object) -> Atoll:
        user = sandbox.users[name]
        if not delegated:
            return fresh(user=user, **how)
        subtree = f"user-{next(_serial)}"
        subtrees.append(subtree)
        return fresh(user=user, join=sandbox.delegate(user, subtree), **how)

    return make


@pytest.fixture
def subtrees(sandbox: Sandbox, leak_check: None) -> Iterator[list[str]]:
    """Delegated cgroups; removed after the containers (`fresh` is set up later) and before the leak check."""
    made: list[str] = []
    yield made
    for name in made:
        sandbox.undelegate(name)


@pytest.fixture(params=["root", "rootless", "single"])
def anyone(request: pytest.FixtureRequest) -> Atoll:
    """Each kind of user in turn."""
    return request.getfixturevalue({"root": "atoll"}.get(request.param, request.param))


@pytest.fixture
def make_runtime(sandbox: Sandbox, subtrees: list[str], leak_check: None) -> Iterator[Callable[..., Runtime]]:
    """A function that makes runtimes: of root, or of an ordinary user."""
    made: list[Runtime] = []

    def make(*, rootless: bool = False, program: str | None = None) -> Runtime:
        folder = os.path.join(sandbox.scratch, f"rt-{next(_serial)}")
        user = sandbox.users["atoll-full"] if rootless else None
        join = None
        if user is not None:
            subtree = f"rt-user-{next(_serial)}"
            subtrees.append(subtree)
            join = sandbox.delegate(user, subtree)
        made.append(Runtime(folder, program=program, user=user, join=join))
        return made[-1]

    yield make
    for one in made:
        one.clear()
        subprocess.run(["rm", "-rf", "--one-file-system", one.folder], check=True)


@pytest.fixture(params=["root", "rootless"])
def runtime(request: pytest.FixtureRequest, make_runtime: Callable[..., Runtime]) -> Runtime:
    """Of each kind of user in turn."""
    return make_runtime(rootless=request.param == "rootless")


@pytest.fixture
def root_runtime(make_runtime: Callable[..., Runtime]) -> Runtime:
    """Of root."""
    return make_runtime()


@pytest.fixture
def small_disk(sandbox: Sandbox, leak_check: None) -> Iterator[Callable[[int], str]]:
    """A function that mounts a tmpfs of so many bytes and gives its path."""
    from kit import system

    made: list[str] = []

    def make(size: int) -> str:
        path = os.path.join(sandbox.scratch, f"disk-{next(_serial)}")
        os.mkdir(path)
        system.mount("tmpfs", path, "tmpfs", 0, f"size={size}")
        made.append(path)
        return path

    yield make
    for path in made:
        system.umount(path)
        os.rmdir(path)
