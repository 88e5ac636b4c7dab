"""What every level of isolation owes the engine (isolation/protocol.py)."""

import os
import signal
import threading
import time

import pytest

from atoll.base import errors
from atoll.spec.runtime import Pids, Resources
from kit.level import Level, output


def test_it_works_here(level: Level):
    assert level.driver.probe().ok


def test_create_start_and_the_exit_code(level: Level):
    plan = level.plan("sh", "-c", "echo out; echo err >&2; exit 3")
    attachment = level.driver.create(plan, promise=True)
    assert level.status(plan).status == "created"
    attachment.start()
    out, err, ended = output(attachment)
    assert (out, err) == (b"out\n", b"err\n")
    assert (ended["exit"], ended["signal"], ended["oom"], ended["error"]) == (3, None, False, None)
    status = level.wait(plan)
    assert (status.status, status.exit_code) == ("exited", 3)
    assert status.started_at <= status.finished_at


def test_a_start_that_was_asked_for_beforehand(level: Level):
    plan = level.plan("sh", "-c", "echo out; read line; exit 3", stdin=True)
    attachment = level.driver.create(plan, promise=True, start=True)
    attachment.expect("started")
    assert level.status(plan).status == "running"
    with pytest.raises(errors.FailedPrecondition):
        level.driver.start(plan.run)
    attachment.send_stdin(b"go\n")
    out, _, ended = output(attachment)
    assert (out, ended["exit"]) == (b"out\n", 3)
    status = level.wait(plan)
    assert status.started_at <= status.finished_at


def test_nothing_runs_before_the_start_and_attach_is_legal_then(level: Level):
    plan = level.plan("sh", "-c", "echo ran > /tmp/ran; echo hello", keep_unstarted=True)
    creator = level.driver.create(plan)
    other = level.driver.attach(plan.run)
    time.sleep(0.1)
    assert not os.path.exists(level.bundle.path("/tmp/ran"))
    creator.close()
    level.driver.start(plan.run)
    assert output(other)[0] == b"hello\n"
    assert level.wait(plan).exit_code == 0


def test_wait_is_legal_before_the_start(level: Level):
    plan = level.plan("true", keep_unstarted=True)
    level.driver.create(plan).close()
    assert level.driver.wait(plan.run, plan.bundle, 0.05).status == "created"
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(level.wait(plan)))
    waiting.start()
    level.driver.start(plan.run)
    waiting.join(20)
    assert [status.exit_code for status in seen] == [0]


def test_a_second_start_is_refused(level: Level):
    plan = level.plan("sleep", "60")
    level.driver.create(plan).start()
    with pytest.raises(errors.FailedPrecondition):
        level.driver.start(plan.run)


def test_an_unstarted_container_whose_command_leaves_is_undone(level: Level):
    plan = level.plan("true")
    level.driver.create(plan).close()
    status = level.wait(plan)
    assert status.exit_code == 137
    assert "before the container was started" in status.error


@pytest.mark.parametrize(
    ("args", "kind", "code"),
    [(("/no/such",), errors.CommandNotFound, 127), (("/etc",), errors.CommandNotExecutable, 126)],
)
@pytest.mark.parametrize("at_once", [False, True])
def test_a_program_that_cannot_run(level: Level, args, kind, code, at_once):
    plan = level.plan(*args)
    try:
        attachment = level.driver.create(plan, start=at_once)
        with pytest.raises(kind):
            attachment.expect("started") if at_once else attachment.start()
        assert output(attachment)[2]["exit"] == code
        assert level.wait(plan).exit_code == code
    except kind:  # known at the creation already: then there is no container
        assert level.status(plan).ended


def test_a_request_that_makes_no_sense_leaves_nothing(level: Level):
    plan = level.plan("true")
    with pytest.raises(errors.AtollError):
        level.driver.create(plan.replace(spec=plan.spec.replace(process=None)))
    assert os.listdir(plan.bundle) == []
    assert level.status(plan).status == "lost"


def test_signals_reach_the_first_process(level: Level):
    plan = level.plan("sh", "-c", "trap 'echo got; exit 7' TERM; echo up; while :; do sleep 0.05; done")
    attachment = level.driver.create(plan)
    attachment.start()
    assert attachment.read()[1] == b"up\n"
    level.driver.signal(plan.run, signal.SIGTERM)
    assert output(attachment)[0] == b"got\n"
    assert level.wait(plan).exit_code == 7
    with pytest.raises(errors.AtollError):
        level.driver.signal(plan.run, signal.SIGTERM)


def test_kill_all_ends_it(level: Level):
    plan = level.plan("sh", "-c", "sleep 60 & sleep 60")
    attachment = level.driver.create(plan)
    attachment.start()
    level.driver.kill_all(plan.run)
    ended = output(attachment)[2]
    assert (ended["exit"], ended["signal"], ended["error"]) == (137, 9, None)


def test_input_and_its_end(level: Level):
    plan = level.plan("cat", stdin=True)
    attachment = level.driver.create(plan)
    attachment.start()
    attachment.send_stdin(b"one ")
    attachment.send_stdin(b"two")
    attachment.close_stdin()
    assert output(attachment)[0] == b"one two"


def test_without_stdin_input_is_empty(level: Level):
    plan = level.plan("cat")
    attachment = level.driver.create(plan)
    attachment.start()
    attachment.close_stdin()
    assert output(attachment)[2]["exit"] == 0


def test_a_terminal_with_a_size(level: Level):
    plan = level.plan("sh", "-c", "tty; read line; stty size 2>/dev/null || busybox stty size", terminal=True)
    attachment = level.driver.create(plan)
    attachment.resize(12, 34)
    attachment.start()
    attachment.send_stdin(b"x\n")
    out, err, ended = output(attachment)
    assert b"/dev/" in out
    assert b"12 34" in out
    assert err == b""
    assert ended["exit"] == 0


def test_exec_runs_in_the_same_container(level: Level):
    plan = level.plan("sleep", "60")
    level.driver.create(plan).start()
    attachment = level.driver.exec(
        level.exec_plan(plan, "sh", "-c", "echo in; echo oops >&2; cat; exit 5", stdin=True)
    )
    attachment.send_stdin(b"typed")
    attachment.close_stdin()
    out, err, ended = output(attachment)
    assert (out, err, ended["exit"]) == (b"in\ntyped", b"oops\n", 5)
    assert level.status(plan).status == "running"


def test_exec_of_nothing_and_in_nothing(level: Level):
    plan = level.plan("sleep", "60")
    level.driver.create(plan).start()
    with pytest.raises(errors.CommandNotFound):
        level.driver.exec(level.exec_plan(plan, "/no/such"))
    level.driver.kill_all(plan.run)
    level.wait(plan)
    with pytest.raises(errors.AtollError):
        level.driver.exec(level.exec_plan(plan, "true"))


def test_a_signal_and_a_size_for_an_exec(level: Level):
    plan = level.plan("sleep", "60")
    level.driver.create(plan).start()
    one = level.driver.exec(level.exec_plan(plan, "sleep", "60"))
    one.signal(signal.SIGKILL)
    assert output(one)[2]["exit"] == 137
    two = level.driver.exec(level.exec_plan(plan, "sh", "-c", "read x; busybox stty size", terminal=True))
    two.resize(21, 43)
    two.send_stdin(b"\n")
    assert b"21 43" in output(two)[0]


def test_a_detached_exec_outlives_its_command(level: Level):
    plan = level.plan("sleep", "60")
    level.driver.create(plan).start()
    level.driver.exec(level.exec_plan(plan, "sh", "-c", "sleep 0.2; echo done > /tmp/done", detached=True)).close()
    deadline = time.monotonic() + 10
    while not os.path.exists(level.bundle.path("/tmp/done")):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_it_goes_on_without_the_command_and_logs(level: Level):
    plan = level.plan("sh", "-c", "sleep 0.3; echo later; echo bad >&2", log=True)
    attachment = level.driver.create(plan)
    attachment.start()
    attachment.close()
    assert level.wait(plan).exit_code == 0
    assert sorted(level.log(plan).splitlines()) == ["bad", "later"]


def test_several_attached(level: Level):
    plan = level.plan("sh", "-c", "read x; echo said $x", stdin=True, stdin_stays=True)
    first = level.driver.create(plan)
    first.start()
    others = [level.driver.attach(plan.run, stdin=True) for _ in range(3)]
    others[0].detach()
    others[1].send_stdin(b"word\n")
    for attachment in (first, others[1], others[2]):
        assert output(attachment)[0] == b"said word\n"


def test_attach_to_nothing(level: Level):
    plan = level.plan("true")
    with pytest.raises(errors.NotFound):
        level.driver.attach(plan.run)


def test_delete(level: Level):
    plan = level.plan("sleep", "60")
    level.driver.create(plan).start()
    with pytest.raises(errors.FailedPrecondition):
        level.driver.delete(plan.run, plan.bundle)
    level.driver.delete(plan.run, plan.bundle, force=True)
    level.wait(plan)
    level.driver.delete(plan.run, plan.bundle)
    assert not os.path.exists(plan.run)


def test_the_clean_up_command_runs_when_nobody_cleans_up(level: Level):
    note = f"{level.folder}/note"
    plan = level.plan("true", on_exit=("/bin/sh", "-c", f"echo $WORD > {note}"))
    os.environ["WORD"] = "cleaned"
    try:
        attachment = level.driver.create(plan)
    finally:
        del os.environ["WORD"]
    attachment.start()
    output(attachment)
    deadline = time.monotonic() + 10
    while not os.path.exists(note) or not os.path.getsize(note):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    with open(note) as stream:
        assert stream.read() == "cleaned\n"


def test_a_kept_promise_spares_the_clean_up_command_and_a_broken_one_does_not(level: Level):
    notes = [f"{level.folder}/note{number}" for number in range(2)]
    for note, keep in zip(notes, (True, False), strict=True):
        plan = level.plan("true", on_exit=("/bin/touch", note))
        attachment = level.driver.create(plan, promise=True)
        attachment.start()
        attachment.expect("exit")
        assert not os.path.exists(note)
        if keep:
            attachment.cleaned()
        attachment.close()
    deadline = time.monotonic() + 10
    while not os.path.exists(notes[1]):
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert not os.path.exists(notes[0])


def test_pause_and_resume(level: Level):
    plan = level.plan("sh", "-c", "while :; do echo x >> /tmp/beat; sleep 0.02; done")
    level.driver.create(plan).start()
    beat = level.bundle.path("/tmp/beat")
    while not os.path.exists(beat):
        time.sleep(0.01)
    level.driver.pause(plan.run)
    assert level.status(plan).status == "paused"
    with pytest.raises(errors.FailedPrecondition):
        level.driver.pause(plan.run)
    before = os.path.getsize(beat)
    time.sleep(0.2)
    assert os.path.getsize(beat) == before, "nothing runs in a paused container"
    level.driver.resume(plan.run)
    assert level.status(plan).status == "running"
    with pytest.raises(errors.FailedPrecondition):
        level.driver.resume(plan.run)
    while os.path.getsize(beat) == before:
        time.sleep(0.01)
    level.driver.kill_all(plan.run)
    assert level.wait(plan).exit_code == 137


def test_what_it_uses_and_other_limits(level: Level):
    plan = level.plan("sh", "-c", "sleep 600 & sleep 600 & wait")
    level.driver.create(plan).start()
    while len(level.driver.pids(plan.run)) < 3:
        time.sleep(0.01)
    assert level.status(plan).pid in level.driver.pids(plan.run)
    used = level.driver.stats(plan.run)
    assert used is not None
    assert used.pids.current == 3
    assert used.memory.usage > 0
    level.driver.update(plan.run, Resources(pids=Pids(limit=77)))
    assert level.driver.stats(plan.run).pids.limit == 77
    level.driver.kill_all(plan.run)
    assert level.wait(plan).ended
