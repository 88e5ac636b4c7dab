"""Spawner, monitors and clerks under fire: killed at any time, flooded, shouted at, many at once."""

import itertools
import os
import re
import resource
import shutil
import signal
import socket
import threading
import time

import pytest

from atoll.base import errors
from atoll.isolation.container import ContainerDriver
from atoll.linux import process as calls
from atoll.monitor import client, protocol, record, sockets, spawner
from atoll.monitor.requests import HealthPlan
from atoll.monitor.spawning import in_fork
from atoll.runtime import state
from atoll.runtime.cgroups.cgroup import Cgroup
from atoll.spec.runtime import Process
from kit import processes
from kit.level import Level, output
from kit.waiting import until

_serial = itertools.count()


@pytest.fixture
def level(sandbox, leak_check):
    one = Level(f"{sandbox.scratch}/monitor-{next(_serial)}")
    yield one
    one.clear()


def running(level, *args, **how):
    """A detached container, once its clerk has gone to rest."""
    plan = level.plan(*args, **how)
    attachment = level.driver.create(plan)
    attachment.start()
    attachment.detach()
    until(lambda: not level.processes("clerk"))
    return plan


def kill(pid):
    os.kill(pid, signal.SIGKILL)


def gone(pid):
    """Whether a process has ended; orphans come to the tests, which reap them now and then."""
    found = processes.read(pid)
    return found is None or found.state == "Z"


@pytest.fixture
def reaper():
    """Whatever comes to the tests as an orphan is reaped at once, as by the init of a host."""
    over = threading.Event()

    def run():
        while not over.wait(0.01):
            processes.reap()

    thread = threading.Thread(target=run)
    thread.start()
    yield
    over.set()
    thread.join()


# -- killed


def test_the_command_killed_while_the_container_runs(level):
    plan = level.plan("sh", "-c", "sleep 0.4; echo after", log=True)
    pid = os.fork()
    if pid == 0:
        level.driver.create(plan, promise=True).start()
        kill(os.getpid())
    os.waitpid(pid, 0)
    assert level.wait(plan).exit_code == 0
    assert level.log(plan) == "after\n"


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
def test_the_command_killed_at_any_moment_leaves_a_container_that_ends_by_itself(level, delay):
    client.connect(level.run_root, data_root=level.data).ping()  # the spawner is up
    level.driver.prepare()
    plan = level.plan("true")
    pid = os.fork()
    if pid == 0:
        threading.Timer(delay, kill, [os.getpid()]).start()
        level.driver.create(plan, promise=True).start()
        time.sleep(10)
    os.waitpid(pid, 0)
    level.driver._channel.close()
    until(lambda: not level.processes("clerk") and not level.processes("monitor"))
    assert level.status(plan).ended
    assert not os.path.exists(f"{plan.run}/state.json")


def test_the_spawner_killed(level):
    plan = running(level, "sh", "-c", "read x; exit 4", stdin=True, stdin_stays=True)
    kill(until(lambda: level.processes("spawner"))[0].pid)
    until(lambda: not level.processes("spawner"))
    attachment = level.driver.attach(plan.run, stdin=True)
    other = level.plan("true")
    second = level.driver.create(other)  # starts another spawner
    second.start()
    assert output(second)[2]["exit"] == 0
    attachment.send_stdin(b"\n")
    assert output(attachment)[2]["exit"] == 4


def replaced(level, plan, before):
    """The process that keeps a container company after `before` was killed."""
    return until(
        lambda: (found := record.read_monitor(plan.run)) and found.pid != before and found.alive() and found
    ).pid


def test_the_monitor_killed_another_one_goes_on(level):
    note = f"{level.folder}/note"
    script = "sleep 0.3; echo late; sleep 0.4; exit 9"
    plan = running(level, "sh", "-c", script, log=True, on_exit=("/bin/touch", note))
    before = record.read_monitor(plan.run).pid
    kill(before)
    assert level.status(plan).status == "running"
    replaced(level, plan, before)
    attachment = level.driver.attach(plan.run)
    assert output(attachment)[0] in (b"late\n", b"")
    status = level.wait(plan)
    assert (status.status, status.exit_code, status.error) == ("exited", 9, None)
    assert level.log(plan) == "late\n"
    until(lambda: os.path.exists(note))
    assert not os.path.exists(plan.run)


def test_monitors_killed_one_after_the_other(level):
    plan = running(level, "sh", "-c", "read x < /dev/null; sleep 2; echo late; exit 9", log=True)
    last = record.read_monitor(plan.run).pid
    for _ in range(3):
        kill(last)
        last = replaced(level, plan, last)
    assert level.wait(plan).exit_code == 9
    assert level.log(plan) == "late\n"


def test_the_monitor_of_a_terminal_killed_it_is_not_hung_up_and_can_be_attached_to(level):
    plan = running(level, "sh", "-c", "read x; echo got $x; exit 9", terminal=True, stdin=True)
    before = record.read_monitor(plan.run).pid
    kill(before)
    replaced(level, plan, before)
    attachment = level.driver.attach(plan.run, stdin=True)
    attachment.resize(10, 20)
    attachment.send_stdin(b"word\n")
    out, _, ended = output(attachment)
    assert b"got word" in out
    assert ended["exit"] == 9


def test_output_while_nobody_reads_waits_for_the_next_monitor(level):
    """The container blocks when the pipe is full, and loses nothing."""
    waits = "trap 'go=1' USR1; echo ready; while [ -z $go ]; do sleep 0.05; done"
    plan = running(level, "sh", "-c", f"{waits}; cat /dev/zero | head -c 300000; exit 6", log=True)
    until(lambda: level.log(plan) == "ready\n")  # what a monitor that is killed has read and not written is lost
    parent = level.processes("spawner")[0].pid
    os.kill(parent, signal.SIGSTOP)
    before = record.read_monitor(plan.run).pid
    kill(before)
    level.driver.signal(plan.run, signal.SIGUSR1)
    time.sleep(0.5)
    os.kill(parent, signal.SIGCONT)
    assert level.wait(plan).exit_code == 6
    assert len(level.log(plan)) == 300006


@pytest.mark.parametrize("told", [True, False])
def test_monitor_and_spawner_killed_the_next_command_has_it_taken_over(level, told, monkeypatch, reaper):
    # It writes once nobody reads, and ends once the other one is there, however long that takes.
    script = (
        "trap x=1 USR1; trap y=1 USR2; echo ready; while [ -z $x ]; do sleep 0.05; done; "
        "cat /dev/zero | head -c 200000; while [ -z $y ]; do sleep 0.05; done; exit 5"
    )
    plan = running(level, "sh", "-c", script, log=True)
    until(lambda: level.log(plan) == "ready\n")
    kill(level.processes("spawner")[0].pid)
    until(lambda: not level.processes("spawner"))
    if not told:  # as on a kernel before 6.15: in the monitor that is about to be forked, too
        monkeypatch.setattr(calls, "pidfd_exit_status", lambda _: None)
        monkeypatch.setenv("ATOLL_SPAWNER", "off")
        monkeypatch.setattr(client, "_alone", alone_in_a_fork)
    before = record.read_monitor(plan.run).pid
    kill(before)
    until(lambda: gone(before))
    level.driver.signal(plan.run, signal.SIGUSR1)
    assert level.status(plan).status == "running"
    replaced(level, plan, before)
    level.driver.signal(plan.run, signal.SIGUSR2)
    status = level.wait(plan)
    assert status.exit_code == (5 if told else 255)
    assert (status.error is None) is told
    assert len(level.log(plan)) == len("ready\n") + 200000
    assert not os.path.exists(plan.run)


def alone_in_a_fork(run_root):
    """A monitor as `ATOLL_SPAWNER=off` has it, in a fork of this process, whose patches it keeps."""
    ours, theirs = socket.socketpair()
    if os.fork() == 0:
        if os.fork() == 0:
            ours.close()
            faults = os.open(f"{run_root}/faults.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
            os.dup2(faults, 2)
            in_fork(lambda: spawner.run_alone(theirs.detach()))
        os._exit(0)
    theirs.close()
    return client.Channel(ours)


def test_an_end_that_nobody_saw_is_recorded_by_the_next_command(level):
    note = f"{level.folder}/note"
    plan = running(level, "sleep", "0.7", on_exit=("/bin/touch", note))
    init = level.status(plan).pid
    kill(level.processes("spawner")[0].pid)
    kill(record.read_monitor(plan.run).pid)
    until(lambda: gone(init))
    status = level.status(plan)
    assert (status.ended, status.exit_code) == (True, 255)
    assert "killed" in status.error
    until(lambda: os.path.exists(note))
    assert record.read_exit(plan.bundle).code == 255
    assert not os.path.exists(plan.run)


def test_a_terminal_whose_monitor_and_spawner_are_killed_is_hung_up(level):
    plan = running(level, "cat", terminal=True, stdin=True)
    init = level.status(plan).pid
    kill(level.processes("spawner")[0].pid)
    kill(record.read_monitor(plan.run).pid)
    until(lambda: gone(init))
    assert level.wait(plan).exit_code == 255


def test_the_monitor_killed_before_the_start_the_init_goes(level):
    plan = level.plan("true", keep_unstarted=True)
    attachment = level.driver.create(plan)
    attachment.detach()
    until(lambda: len(level.processes("clerk")) == 1)  # the init has such a title, too
    kill(record.read_monitor(plan.run).pid)
    status = level.wait(plan)
    assert (status.ended, status.started_at) == (True, None)


def test_health_checks_and_the_next_restart_go_on_with_another_monitor(level):
    test = Process(cwd="/", args=("true",), env=("PATH=/bin",))
    moment = 30_000_000
    health = HealthPlan(
        process=test, interval=moment, timeout=10**9, start_period=0, start_interval=moment, retries=1
    )
    plan = running(level, "sleep", "60", health=health)
    before = record.read_monitor(plan.run).pid
    kill(before)
    replaced(level, plan, before)
    os.unlink(until(lambda: os.path.exists(f"{plan.run}/health.json") and f"{plan.run}/health.json"))
    until(lambda: os.path.exists(f"{plan.run}/health.json"))


def test_nobody_takes_over_what_is_kept(level):
    plan = running(level, "sleep", "60")
    before = record.read_monitor(plan.run).pid
    client.connect(level.run_root, data_root=level.data).adopt(plan.run)
    assert record.read_monitor(plan.run).pid == before
    attachment = level.driver.attach(plan.run)
    kill(before)  # a clerk is there, and has the lock
    until(lambda: gone(before))
    client.connect(level.run_root, data_root=level.data).adopt(plan.run)
    clerk = until(lambda: level.processes("clerk"))[0].pid
    until(lambda: record.read_monitor(plan.run).pid == clerk)
    attachment.close()
    kill(clerk)
    replaced(level, plan, clerk)


def test_the_clerk_killed_costs_the_connection_and_nothing_else(level):
    plan = level.plan("sh", "-c", "read x; echo back; exit 8", stdin=True, stdin_stays=True, terminal=True)
    attachment = level.driver.create(plan)
    attachment.start()
    kill(until(lambda: level.processes("clerk"))[0].pid)
    assert output(attachment)[2] == {}
    again = level.driver.attach(plan.run, stdin=True)
    again.send_stdin(b"\n")
    out, _, ended = output(again)
    assert b"back" in out
    assert ended["exit"] == 8


def test_the_monitor_killed_under_a_live_clerk(level):
    plan = level.plan("sh", "-c", "read x; exit 8", stdin=True)
    attachment = level.driver.create(plan)
    attachment.start()
    kill(record.read_monitor(plan.run).pid)
    until(lambda: not level.processes("monitor"))
    time.sleep(1.5)  # longer than the spawner waits for others to record an end
    attachment.send_stdin(b"\n")
    assert output(attachment)[2]["exit"] == 8
    assert level.wait(plan).exit_code == 8


def test_terminals_and_shut_downs_do_not_end_monitors(level):
    plan = running(level, "sh", "-c", "sleep 0.5; exit 3")
    monitor = record.read_monitor(plan.run).pid
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGPIPE, signal.SIGTSTP):
        os.kill(monitor, number)
    assert level.wait(plan).exit_code == 3


def test_the_init_killed_before_the_start(level):
    plan = level.plan("true", keep_unstarted=True)
    attachment = level.driver.create(plan)
    kill(level.status(plan).pid)
    assert output(attachment)[2]["exit"] == 137


@pytest.mark.parametrize("keep_unstarted", [False, True])
def test_an_init_that_waits_does_not_outlive_its_run_directory(level, keep_unstarted):
    """Somebody removes the run directory, and with it the fifo; then the command leaves."""
    plan = level.plan("true", keep_unstarted=keep_unstarted)
    attachment = level.driver.create(plan)
    init, cgroup = level.status(plan).pid, Cgroup.from_json(state.read(plan.run).cgroup)
    if keep_unstarted:
        attachment.detach()
        until(lambda: not [one for one in level.processes("clerk") if one.pid != init])  # has a clerk's title, too
        late = sockets.connect(f"{plan.run}/{protocol.ATTACH_SOCKET}")
        shutil.rmtree(plan.run)
        late.send(protocol.control({"v": 1, "do": "attach"}))
        attachment = late
    else:
        shutil.rmtree(plan.run)
    attachment.close()
    until(lambda: not os.path.exists(f"/proc/{init}"))
    until(lambda: not level.processes("monitor") and not level.processes("clerk"))
    cgroup.delete()  # only the run directory could tell of it


# -- streams


def test_a_flood_to_the_log_takes_bounded_memory(level):
    plan = running(
        level, "sh", "-c", "read x; cat /dev/zero | head -c 60000000", log=True, stdin=True, stdin_stays=True
    )
    monitor = record.read_monitor(plan.run)
    before = peak = processes.anonymous(monitor.pid)
    attachment = level.driver.attach(plan.run, stdin=True)
    attachment.send_stdin(b"\n")
    attachment.detach()
    while not level.status(plan).ended:
        peak = max(peak, processes.anonymous(monitor.pid)) if monitor.alive() else peak
        time.sleep(0.02)
    # A twentieth of the flood: JSON's escapes (six bytes for one), and their copies.
    assert peak - before < 3 << 20
    assert sum(os.path.getsize(f"{plan.bundle}/{name}") for name in os.listdir(plan.bundle)) < 3 << 20


def test_a_reader_that_is_blocked_holds_the_container_up_and_loses_nothing(level):
    total = 4_000_000
    plan = level.plan("sh", "-c", f"cat /dev/zero | head -c {total}")
    attachment = level.driver.create(plan)
    attachment.start()
    time.sleep(0.5)
    assert level.status(plan).status == "running"
    assert processes.pss(level.processes("clerk")[0].pid) < 8 << 20
    out, _, ended = output(attachment)
    assert (len(out), ended["exit"]) == (total, 0)


def test_a_blocked_reader_that_is_killed_lets_the_container_go_on(level):
    plan = level.plan("sh", "-c", "cat /dev/zero | head -c 4000000; exit 2")
    attachment = level.driver.create(plan)
    attachment.start()
    time.sleep(0.3)
    attachment.close()
    assert level.wait(plan).exit_code == 2


def test_what_a_container_left_is_for_a_slow_reader_and_the_exit_is_known_at_once(level):
    plan = level.plan("sh", "-c", "cat /dev/zero | head -c 200000")
    attachment = level.driver.create(plan)
    attachment.start()
    assert level.wait(plan).exit_code == 0
    time.sleep(0.2)
    assert len(output(attachment)[0]) == 200000


def test_input_ends_with_the_command_that_gave_it_unless_it_stays(level):
    once = level.plan("sh", "-c", "cat; exit 5", stdin=True)
    attachment = level.driver.create(once)
    attachment.start()
    attachment.send_stdin(b"part")
    attachment.close()
    assert level.wait(once).exit_code == 5
    stays = running(level, "sh", "-c", "cat; exit 5", stdin=True, stdin_stays=True)
    for _ in range(3):
        attachment = level.driver.attach(stays.run, stdin=True)
        attachment.send_stdin(b"word")
        assert attachment.read() == (1, b"word")
        attachment.close()
        until(lambda: not level.processes("clerk"))
    attachment = level.driver.attach(stays.run, stdin=True)
    attachment.close_stdin()
    assert output(attachment)[2]["exit"] == 5


def test_a_large_input_that_is_read_late(level):
    plan = level.plan("sh", "-c", "sleep 0.3; busybox wc -c", stdin=True)
    attachment = level.driver.create(plan)
    attachment.start()
    left = 3_000_000
    while left:
        size = min(attachment.room, left, 65536)
        if not size:
            attachment.receive()
            continue
        attachment.send_stdin(b"x" * size)
        left -= size
    attachment.close_stdin()
    assert output(attachment)[0].strip() == b"3000000"


def test_a_signal_overtakes_input_that_nobody_reads(level):
    plan = level.plan("sleep", "60", stdin=True)
    attachment = level.driver.create(plan)
    attachment.start()
    while attachment.room >= 65536:
        attachment.send_stdin(b"x" * 65536)
        time.sleep(0.01)
    attachment.signal(signal.SIGKILL)
    assert output(attachment)[2]["exit"] == 137


def test_an_exec_does_not_wait_for_a_background_job_that_holds_its_output(level):
    plan = running(level, "sleep", "60")
    out, _, ended = output(level.driver.exec(level.exec_plan(plan, "sh", "-c", "sleep 300 & echo done; exit 1")))
    assert (out, ended["exit"]) == (b"done\n", 1)
    assert len(level.driver.pids(plan.run)) == 2  # the job is there still


def test_a_log_that_cannot_be_written_costs_the_log_only(level):
    plan = level.plan("sh", "-c", "echo lost; exit 3", log=True)
    os.mkdir(plan.log.path)
    attachment = level.driver.create(plan)
    attachment.start()
    out, _, ended = output(attachment)
    assert (out, ended["exit"]) == (b"lost\n", 3)
    assert ended["log_dropped"] > 0


def test_orphans_are_reaped_by_the_monitor(level):
    plan = level.plan("sh", "-c", "(sleep 0.2 & ) ; (sleep 0.2 & ); sleep 0.6")
    spec = plan.spec
    spaces = tuple(one for one in spec.linux.namespaces if one.type != "pid")
    plan = plan.replace(spec=spec.replace(linux=spec.linux.replace(namespaces=spaces)))
    attachment = level.driver.create(plan)
    attachment.start()
    attachment.detach()
    monitor = record.read_monitor(plan.run).pid
    time.sleep(0.45)
    zombies = [p for p in processes.descendants(monitor) if p.state == "Z"]
    assert zombies == []
    level.wait(plan)


# -- many


def test_fifty_at_once(level):
    plans, codes, faults = [level.plan("sh", "-c", f"echo {n}; exit {n}") for n in range(50)], {}, []

    def one(number):
        try:
            driver = ContainerDriver(level.run_root, level.data)
            attachment = driver.create(plans[number], promise=True)
            attachment.start()
            out, _, ended = output(attachment)
            codes[number] = (out, ended["exit"])
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert faults == []
    assert codes == {n: (f"{n}\n".encode(), n) for n in range(50)}


def test_memory_of_fifty_idle_containers(level, monkeypatch):
    monkeypatch.setenv("ATOLL_SPAWNER_IDLE", "4")  # spares are kept for half of it
    plans = [level.plan("sleep", "60") for _ in range(50)]
    for plan in plans:
        attachment = level.driver.create(plan)
        attachment.start()
        attachment.detach()
    until(lambda: not level.processes("clerk") and not level.processes("spare"), 30)  # those go when nobody asks
    until(lambda: len(level.processes("monitor")) == len(plans), 30)
    share = sum(processes.pss(p.pid) for p in level.processes()) / len(plans)
    print(f"PSS of spawner and monitors, by container: {share / 1024:.0f} KiB")
    assert share < 1 << 20
    for plan in plans:
        level.driver.signal(plan.run, signal.SIGKILL)
    for plan in plans:
        level.wait(plan)


def test_several_commands_start_one_spawner(level):
    faults = []

    def one():
        try:
            client.connect(level.run_root, data_root=level.data).ping()
        except Exception as error:
            faults.append(error)

    threads = [threading.Thread(target=one) for _ in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert faults == []
    assert len(level.processes("spawner")) == 1
    client.reap_starters()


# -- the spawner's own life


def test_an_idle_spawner_goes_and_takes_its_socket_along(level, monkeypatch):
    monkeypatch.setenv("ATOLL_SPAWNER_IDLE", "0.3")
    client.connect(level.run_root, data_root=level.data).ping()
    assert level.processes("spawner")
    until(lambda: not level.processes("spawner"))
    assert not [name for name in os.listdir(level.run_root) if name.endswith(".sock")]
    client.connect(level.run_root, data_root=level.data).ping()


def test_commands_that_come_while_spawners_go_are_all_served(level, monkeypatch):
    monkeypatch.setenv("ATOLL_SPAWNER_IDLE", "0.02")
    for turn in range(40):
        client.connect(level.run_root, data_root=level.data).ping()
        time.sleep(0.001 * (turn % 40))


def test_a_spawner_stays_while_it_has_monitors(level, monkeypatch):
    monkeypatch.setenv("ATOLL_SPAWNER_IDLE", "0.1")
    plan = running(level, "sleep", "0.8")
    time.sleep(0.4)
    assert level.processes("spawner")
    level.wait(plan)
    until(lambda: not level.processes("spawner"))


def test_a_stale_socket_is_replaced(level):
    path = f"{level.run_root}/spawner-{client.key(level.data)}.sock"
    sockets.listen(path).close()
    client.connect(level.run_root, data_root=level.data).ping()


def test_a_run_root_open_to_others_is_refused(level):
    os.chmod(level.run_root, 0o755)
    with pytest.raises(errors.Denied):
        client.connect(level.run_root, data_root=level.data)
    os.chmod(level.run_root, 0o700)


@pytest.mark.parametrize(
    "noise",
    [
        b"",
        b"GET / HTTP/1.1\r\n\r\n",
        os.urandom(5000),
        protocol.frame(8, b"[]"),
        protocol.frame(8, b"{" * 9999),
        protocol.control({"v": 1, "do": "nonsense"}),
        protocol.control({"v": 1, "do": "create"}),
        protocol.control({"v": 1, "do": "create", "request": {"id": 1}}),
        protocol.control({"v": 99, "do": "create"}),
        protocol.control({"v": 1, "do": "ping"}) * 2,
        b"\x08\0\0\0\xff\xff\xff\xff",
    ],
)
def test_noise_at_the_spawners_door(level, noise):
    client.connect(level.run_root, data_root=level.data).ping()
    peer = sockets.connect(f"{level.run_root}/spawner-{client.key(level.data)}.sock")
    peer.settimeout(10)
    peer.sendall(noise)
    if not noise:
        peer.close()
    else:
        try:
            while peer.recv(4096):
                pass
        except ConnectionResetError:
            pass
    client.connect(level.run_root, data_root=level.data).ping()
    until(lambda: not level.processes("clerk"))


def test_noise_at_a_monitors_door(level, rng):
    plan = running(level, "sh", "-c", "read x; exit 3", stdin=True, stdin_stays=True)
    door = f"{plan.run}/{protocol.ATTACH_SOCKET}"
    for _ in range(20):
        peer = sockets.connect(door)
        peer.send(rng.randbytes(rng.randrange(1, 400)))
        peer.close()
    silent = [sockets.connect(door) for _ in range(70)]  # more than are let in
    for peer in silent:
        peer.close()
    until(lambda: not level.processes("clerk"))
    attachment = level.driver.attach(plan.run, stdin=True)
    attachment.send_stdin(b"\n")
    assert output(attachment)[2]["exit"] == 3


def test_descriptors_sent_by_a_peer_are_not_kept(level):
    plan = running(level, "sleep", "60")
    attachment = level.driver.attach(plan.run)
    out, into = os.pipe()
    sockets.send_with_fds(attachment._peer, protocol.control({"do": "resize", "rows": 1, "cols": 1}), (into,) * 5)
    os.close(into)
    os.set_blocking(out, True)
    assert os.read(out, 1) == b""  # nobody has the other end
    os.close(out)
    attachment.close()


# -- what a container gets


def test_a_container_has_three_descriptors_and_the_callers_limits(level):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    plan = level.plan("sh", "-c", "ls /proc/self/fd | busybox wc -l; ulimit -n; umask")
    level.driver.prepare()
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(20)]
    for fd in held:
        os.set_inheritable(fd, True)
    resource.setrlimit(resource.RLIMIT_NOFILE, (777, hard))
    try:
        attachment = level.driver.create(plan)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for fd in held:
            os.close(fd)
    attachment.start()
    words = output(attachment)[0].split()
    assert words == [b"4", b"777", b"0022"]  # the fourth is the directory that ls has open


def test_titles_tell_who_is_who(level):
    plan = running(level, "sleep", "60")
    attachment = level.driver.attach(plan.run)
    titles = [p.title for p in level.processes()]
    assert "atoll:[spawner]" in titles
    assert f"atoll:[monitor] {plan.id[:12]}" in titles
    assert f"atoll:[clerk] {plan.id[:12]}" in titles
    for process in level.processes():
        with open(f"/proc/{process.pid}/comm") as stream:
            assert re.match(r"atoll:\[", stream.read())
    attachment.close()


def test_the_package_may_be_replaced_under_running_containers(level, tmp_path):
    """Long-lived processes have imported all they need: nothing of the package is opened later."""
    plan = running(level, "sh", "-c", "read x; echo out; exit 3", stdin=True, stdin_stays=True, log=True)
    attachment = level.driver.attach(plan.run, stdin=True)
    clerk = until(lambda: level.processes("clerk"))[0].pid
    opened = f"{tmp_path}/trace"
    import subprocess

    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    trace = subprocess.Popen(
        ["strace", "-f", "-q", "-e", "trace=openat,open", "-o", opened, "-p", str(clerk)], stderr=subprocess.DEVNULL
    )
    until(lambda: "TracerPid:\t0" not in open(f"/proc/{clerk}/status").read())
    attachment.send_stdin(b"\n")
    assert output(attachment)[2]["exit"] == 3
    trace.wait(10)
    with open(opened) as stream:
        assert not re.findall(r"\S+\.(?:py|pyc|so)\b\S*", stream.read())
