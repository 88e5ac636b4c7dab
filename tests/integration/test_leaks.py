"""Many at once, many in a row, and the counts afterwards (each test also runs under the leak check)."""

from __future__ import annotations

import os
import time

import pytest

from kit import leaks, processes
from kit.command import Atoll
from kit.sandbox import Sandbox

pytestmark = pytest.mark.timeout(600)


def finish(children: list) -> list[tuple[int, str, str]]:
    """(code, out, err) of each."""
    found = []
    for child in children:
        out, err = child.communicate(timeout=90)
        found.append((child.returncode, out, err))
    return found


def test_twenty_runs_at_once(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    children = [anyone.popen("run", "--rm", busybox, "echo", str(n)) for n in range(20)]
    for number, (code, out, err) in enumerate(finish(children)):
        assert (code, out) == (0, f"{number}\n"), err
    assert anyone.all() == []


def test_one_name_has_one_winner(anyone: Atoll, busybox: str):
    anyone.good("pull", "-q", busybox)
    results = finish([anyone.popen("run", "-d", "--name", "one", busybox, "sleep", "600") for _ in range(8)])
    assert sorted(code for code, _, _ in results) == [0] + [125] * 7, results
    for code, _, err in results:
        if code:
            assert "in use" in err
    assert len(anyone.all()) == 1


def test_pulls_of_one_image_at_once_download_once(atoll: Atoll):
    from kit import images
    from kit.faults import FaultServer

    image = images.busybox()
    with FaultServer(image) as server:
        results = finish([atoll.popen("pull", "-q", f"{server.host}/busybox") for _ in range(6)])
        assert [code for code, _, _ in results] == [0] * 6, results
        assert server.sent < 2 * sum(one.size for one in (image.config, *image.layers))


def test_runs_at_once_into_an_empty_store(atoll: Atoll, busybox: str):
    results = finish([atoll.popen("run", "--rm", busybox, "echo", "x") for _ in range(6)])
    assert [(code, out) for code, out, _ in results] == [(0, "x\n")] * 6, results


def test_the_spawner_does_not_gather_descriptors(atoll: Atoll, busybox: str, full: bool):
    atoll.env["ATOLL_SPAWNER_IDLE"] = "6"  # spares are kept for half of it

    def held() -> int:
        """Descriptors of the spawner, once its spares have gone, and no more are on their way."""
        (spawner,) = processes.spawners(atoll.run_root)
        deadline, quiet = time.monotonic() + 60, time.monotonic()
        while time.monotonic() - quiet < 1:
            if any(p.parent == spawner.pid for p in processes.everyone()):
                quiet = time.monotonic()
            assert time.monotonic() < deadline
            time.sleep(0.05)
        return len(os.listdir(f"/proc/{spawner.pid}/fd"))

    for _ in range(6):
        atoll.good("run", "--rm", busybox, "true")
    before = held()
    for _ in range(100 if full else 15):
        atoll.good("run", "--rm", busybox, "true")
    assert held() <= before


def test_counts_after_many(atoll: Atoll, busybox: str, sandbox: Sandbox, full: bool):
    """Run, exec, stop, remove: the same mounts, cgroups, links and files as before."""
    atoll.good("run", "--rm", busybox, "true")
    before = leaks.Count.now(sandbox.scratch)
    count = 60 if full else 6
    for number in range(count):
        atoll.good("run", "-d", "--name", f"c{number}", busybox, "sleep", "600")
    assert len(processes.monitors(atoll.run_root)) == count
    atoll.good("exec", "c0", "true")
    atoll.good("stop", "-t", "0", *[f"c{n}" for n in range(count)], timeout=120)
    atoll.good("rm", *[f"c{n}" for n in range(count)], timeout=120)
    left = leaks.settle(before, sandbox.scratch)
    cache = ("spawner", "spare", "namespaces")
    assert not [line for line in left if not any(word in line for word in cache)], left
    assert leaks.stray_files(atoll.data, atoll.run_root) == []


def test_no_mount_is_visible_on_the_host(atoll: Atoll, busybox: str):
    """Overlay mounts live in the containers' own namespaces only: rm can never find them busy."""
    before = leaks.Count.now(atoll.folder).mounts
    atoll.good("run", "-d", "--name", "web", busybox, "sleep", "600")
    assert leaks.Count.now(atoll.folder).mounts == before


def test_the_spawner_goes_when_idle(atoll: Atoll, busybox: str):
    """After a minute; $ATOLL_SPAWNER_IDLE makes it shorter for this test."""
    import time

    atoll.env["ATOLL_SPAWNER_IDLE"] = "1"
    atoll.good("run", "--rm", busybox, "true")
    deadline = time.monotonic() + 15
    while processes.spawners(atoll.run_root):
        if time.monotonic() > deadline:
            pytest.fail("the spawner did not go")
        time.sleep(0.1)
        processes.reap()


@pytest.mark.parametrize("broken", ["stdin", "stdout", "stderr"])
def test_closed_standard_streams(atoll: Atoll, busybox: str, broken: str):
    """Started with a standard stream closed, no descriptor of ours may take its number."""
    atoll.good("pull", "-q", busybox)
    number = {"stdin": 0, "stdout": 1, "stderr": 2}[broken]
    child = atoll.popen("run", "--rm", busybox, "ls", "/proc/self/fd", before=lambda: os.close(number))
    out, _ = child.communicate(timeout=30)
    assert child.returncode in (0, 1)
    if broken != "stdout":
        assert out.split() == ["0", "1", "2", "3"]
