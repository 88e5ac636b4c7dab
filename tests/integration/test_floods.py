"""Floods at the doors of spawner and monitors, half-closed connections, processes and descriptors that run out."""

from __future__ import annotations

import itertools
import os
import resource
import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from atoll.isolation.container import ContainerDriver
from atoll.isolation.protocol import ContainerPlan
from atoll.monitor import client, protocol, record, sockets
from kit import processes
from kit.command import Atoll
from kit.level import Level, output
from kit.sandbox import Sandbox
from kit.waiting import until

_serial = itertools.count()


@pytest.fixture
def level(sandbox: Sandbox, leak_check: None) -> Iterator[Level]:
    one = Level(f"{sandbox.scratch}/floods-{next(_serial)}")
    yield one
    one.clear()


def running(level: Level, *args: str) -> ContainerPlan:
    plan = level.plan(*args, stdin=True, stdin_stays=True)
    attachment = level.driver.create(plan)
    attachment.start()
    attachment.detach()
    until(lambda: not level.processes("clerk"))
    return plan


def monitor_of(plan: ContainerPlan) -> int:
    known = record.read_monitor(plan.run)
    assert known is not None
    return known.pid


def answers(level: Level, plan: ContainerPlan) -> None:
    """The container is as it should be: attach, and its program answers and ends."""
    attachment = level.driver.attach(plan.run, stdin=True)
    attachment.send_stdin(b"\n")
    assert output(attachment)[2]["exit"] == 3


def processor_seconds(pid: int) -> float:
    with open(f"/proc/{pid}/stat") as stream:
        words = stream.read().rpartition(")")[2].split()
    return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")


def test_a_flood_of_execs(level: Level):
    plan = running(level, "sh", "-c", "read x; exit 3")
    codes: dict[int, tuple[bytes, int]] = {}

    def one(number: int) -> None:
        driver = ContainerDriver(level.run_root, level.data)
        out, _, ended = output(driver.exec(level.exec_plan(plan, "sh", "-c", f"echo {number}; exit {number}")))
        codes[number] = (out, ended["exit"])

    threads = [threading.Thread(target=one, args=(number,)) for number in range(60)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert codes == {number: (b"%d\n" % number, number) for number in range(60)}
    answers(level, plan)


def test_a_flood_of_attaches(level: Level):
    plan = running(level, "sh", "-c", "read x; exit 3")
    door = f"{plan.run}/{protocol.ATTACH_SOCKET}"
    let_in = [level.driver.attach(plan.run) for _ in range(60)]
    beyond = [sockets.connect(door) for _ in range(100)]
    for peer in beyond:
        peer.close()
    for attachment in let_in:
        attachment.close()
    until(lambda: not level.processes("clerk"))
    answers(level, plan)


@pytest.mark.parametrize("half", [socket.SHUT_WR, socket.SHUT_RD])
def test_a_half_closed_connection_costs_only_itself(level: Level, half: int):
    plan = running(level, "sh", "-c", "read x; echo out; exit 3")
    attachment = level.driver.attach(plan.run, stdin=True)
    attachment._peer.shutdown(half)
    other = level.driver.attach(plan.run, stdin=True)
    clerk = level.processes("clerk")[0].pid
    before = processor_seconds(clerk)
    time.sleep(0.3)
    assert processor_seconds(clerk) - before < 0.2  # it does not turn
    other.send_stdin(b"\n")
    out, _, ended = output(other)
    assert (out, ended["exit"]) == (b"out\n", 3)
    attachment.close()


def test_silent_and_half_sent_requests_at_the_spawners_door(level: Level):
    client.connect(level.run_root, data_root=level.data).ping()
    door = next(f"{level.run_root}/{name}" for name in os.listdir(level.run_root) if name.startswith("spawner-"))
    silent = [sockets.connect(door) for _ in range(40)]
    whole = protocol.control({"v": 1, "do": "ping"})
    for number, peer in enumerate(silent[:20]):
        peer.sendall(whole[: number % len(whole)])
        peer.shutdown(socket.SHUT_WR)
    client.connect(level.run_root, data_root=level.data).ping()
    for peer in silent:
        peer.close()
    until(lambda: not level.processes("clerk") and not level.processes("monitor"))


def test_a_spawner_out_of_descriptors_goes_on_when_there_are_some(level: Level):
    client.connect(level.run_root, data_root=level.data).ping()
    spawner = level.processes("spawner")[0].pid
    until(lambda: not level.processes("monitor"))
    limits = resource.prlimit(spawner, resource.RLIMIT_NOFILE)
    resource.prlimit(spawner, resource.RLIMIT_NOFILE, (len(os.listdir(f"/proc/{spawner}/fd")), limits[1]))
    plan, ended = level.plan("sh", "-c", "exit 3"), []

    def create() -> None:
        attachment = ContainerDriver(level.run_root, level.data).create(plan, promise=True)
        attachment.start()
        ended.append(output(attachment)[2]["exit"])

    thread = threading.Thread(target=create)
    thread.start()
    time.sleep(0.3)
    before = processor_seconds(spawner)
    time.sleep(0.3)
    assert processor_seconds(spawner) - before < 0.2
    resource.prlimit(spawner, resource.RLIMIT_NOFILE, limits)
    thread.join(20)
    assert ended == [3]


def test_a_monitor_out_of_descriptors_goes_on_when_there_are_some(level: Level):
    plan = running(level, "sh", "-c", "read x; exit 3")
    monitor = monitor_of(plan)
    limits = resource.prlimit(monitor, resource.RLIMIT_NOFILE)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, (4, limits[1]))
    ended: list[int] = []

    def attach() -> None:
        attachment = ContainerDriver(level.run_root, level.data).attach(plan.run, stdin=True)
        attachment.send_stdin(b"\n")
        ended.append(output(attachment)[2]["exit"])

    thread = threading.Thread(target=attach)
    thread.start()
    time.sleep(0.3)
    assert monitor_of(plan) == monitor
    assert processes.read(monitor) is not None
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, limits)
    thread.join(20)
    assert ended == [3]


def test_input_stays_open_whose_monitor_was_out_of_descriptors_as_it_was_left_alone(level: Level):
    """The descriptor comes with a message, and is lost with it where no number is free."""
    plan = level.plan("sh", "-c", "read x; exit 3", stdin=True, stdin_stays=True)
    attachment = level.driver.create(plan)
    attachment.start()
    monitor = monitor_of(plan)
    limits = resource.prlimit(monitor, resource.RLIMIT_NOFILE)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, (4, limits[1]))
    attachment.detach()
    until(lambda: not level.processes("clerk"))
    time.sleep(0.2)
    resource.prlimit(monitor, resource.RLIMIT_NOFILE, limits)
    answers(level, plan)


def test_a_reader_that_leaves_in_the_middle(atoll: Atoll, busybox: str):
    """SIGPIPE's moment: no trace of Python, and the container can be removed."""
    for words in (("run", "--name", "talks", busybox, "yes"), ("attach", "--no-stdin", "talks")):
        child = atoll.popen(*words)
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        time.sleep(0.2)
        child.send_signal(signal.SIGKILL)
        assert "Traceback" not in child.stderr.read()
        child.stderr.close()
        child.wait(20)
        processes.KEEP.discard(child.pid)
    atoll.good("rm", "-f", "talks")


def test_stopped_and_continued_in_the_middle(atoll: Atoll, busybox: str):
    child = atoll.popen("run", "--rm", busybox, "sh", "-c", "echo one; sleep 0.4; echo two; exit 4")
    assert child.stdout is not None
    assert child.stdout.readline() == "one\n"
    for _ in range(3):
        child.send_signal(signal.SIGTSTP)
        time.sleep(0.1)
        child.send_signal(signal.SIGCONT)
    out, err = child.communicate(timeout=30)
    assert (out, child.returncode) == ("two\n", 4)
    assert "Traceback" not in err
    processes.KEEP.discard(child.pid)
