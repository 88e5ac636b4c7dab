"""Requests and records: JSON there and back, and what is wrong is said by its path."""

import os
import time

import pytest

from atoll.base import errors, jsontext
from atoll.monitor import creator, record
from atoll.monitor.requests import Caller, Create, Exec, LogPlan
from atoll.runtime import seccomp
from atoll.runtime.validate import validate
from atoll.spec.rootfs import Bind, RootPlan
from atoll.spec.runtime import Linux, Process, Spec


def _create(**changes):
    return Create(
        id="c" * 64,
        spec=Spec(process=Process(cwd="/", args=("true",)), hostname="h"),
        bundle="/b",
        run="/r",
        root=RootPlan(steps=(Bind(source="/x", target="/"),)),
        caller=Caller(env=("A=B", "C="), rlimits=((1, 2), (-1, -1))),
        **changes,
    )


@pytest.mark.parametrize(
    "request_",
    [
        _create(),
        _create(terminal=True, stdin=True, stdin_stays=True, keep_unstarted=True),
        _create(
            log=LogPlan(path="/l", max_size=5, max_files=2), on_exit=("/bin/x", "y"), cache="/c", helpers=("a", "b")
        ),
        _create().replace(root=None),
    ],
)
def test_create_round_trip(request_):
    assert Create.from_json(jsontext.loads(jsontext.dumps(request_.to_json()))) == request_


def test_a_default_profile_travels_by_its_name_and_any_other_whole():
    profile = seccomp.default_profile(frozenset(("CAP_CHOWN", "CAP_KILL")))
    request = _create().replace(spec=Spec(process=Process(cwd="/"), linux=Linux(seccomp=profile)))
    wire = request.to_json()
    assert wire["profile"]["capabilities"] == ["CAP_CHOWN", "CAP_KILL"]
    assert len(jsontext.dumps(wire)) < 1000
    assert Create.from_json(jsontext.loads(jsontext.dumps(wire))) == request
    for linux in (Linux(seccomp=profile.replace(default_action="SCMP_ACT_KILL")), Linux()):
        other = request.replace(spec=request.spec.replace(linux=linux))
        wire = other.to_json()
        assert "profile" not in wire
        assert Create.from_json(jsontext.loads(jsontext.dumps(wire))) == other


@pytest.mark.parametrize("name", ["x", {"capabilities": 3}, {"capabilities": [], "docker": 1}])
def test_a_name_of_no_profile_is_refused(name):
    wire = {**_create().replace(spec=Spec(process=Process(cwd="/"), linux=Linux())).to_json(), "profile": name}
    with pytest.raises(errors.InvalidArgument, match="profile"):
        Create.from_json(wire)


def test_exec_round_trip():
    one = Exec(id="e", run="/r", process=Process(cwd="/"), terminal=True, stdin=True, detached=True)
    assert Exec.from_json(jsontext.loads(jsontext.dumps(one.to_json()))) == one


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"id": 3}, "request.id"),
        ({"caller": {"rlimits": [[1]]}}, "request.caller.rlimits[0]"),
        ({"caller": {"env": "x"}}, "request.caller.env"),
        ({"spec": {"process": {}}}, "request.spec.process"),
        ({"run": "/a\0b"}, "request.run"),
        ({"helpers": ["a"]}, "request.helpers"),
        ({"root": [{"step": "nonsense"}]}, "root plan"),
    ],
)
def test_wrong_requests_name_the_path(change, path):
    with pytest.raises(errors.InvalidArgument) as caught:
        Create.from_json({**_create().to_json(), **change})
    assert path in str(caught.value)


def test_the_warm_up_request_is_one_that_is_served():
    sample = Create.from_json(jsontext.loads(creator._SAMPLE))
    validate(sample.spec, has_root=True)
    creator.warm_up()


@pytest.mark.parametrize(
    ("status", "oom", "expected"),
    [
        (0, False, (0, None, None)),
        (3 << 8, False, (3, None, None)),
        (9, False, (137, 9, None)),
        (9, True, (137, 9, "out of memory")),
        (15, True, (143, 15, None)),
        (1 << 8, True, (1, None, None)),
        (0x80 | 11, False, (139, 11, None)),
    ],
)
def test_exit_records_speak_as_a_shell_does(status, oom, expected):
    ended = record.of_status(status, started=None, oom=oom)
    assert (ended.code, ended.signal, ended.error) == expected
    assert ended.oom is oom


def test_exit_files(tmp_path):
    place = str(tmp_path)
    assert record.read_exit(place) is None
    ended = record.of_status(256, started="then")
    record.write_exit(place, ended)
    assert record.read_exit(place) == ended
    record.forget_exit(place)
    record.forget_exit(place)
    assert record.read_exit(place) is None
    (tmp_path / "exit.json").write_text('{"code": 1, "of a newer version": 2}')
    assert record.read_exit(place).code == 1
    for damage in ("", "[]", '{"cod', "{}"):
        (tmp_path / "exit.json").write_text(damage)
        with pytest.raises(errors.Corrupt):
            record.read_exit(place)


def test_monitor_files(tmp_path):
    run = str(tmp_path)
    assert record.read_monitor(run) is None
    charge = record.Charge(what="create", id="i", run=run, bundle="/b", pid=7, log=LogPlan(path="/l"), env=("A=1",))
    record.write_monitor(charge, pid=os.getpid(), version=1)
    known = record.read_monitor(run)
    assert known.charge == charge
    assert known.alive()
    assert not known.replace(start_time=known.start_time + 1).alive()
    assert not known.replace(boot_id="another").alive()
    (tmp_path / "monitor.json").write_text("{}")
    with pytest.raises(errors.Corrupt):
        record.read_monitor(run)


def test_a_zombie_is_not_alive():
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    from atoll.linux import process
    from atoll.runtime import state

    assert not record.alive(pid, process.start_time(pid), state.boot_id())
    os.waitpid(pid, 0)


def test_started_and_sessions(tmp_path):
    run = str(tmp_path)
    assert record.read_started(run) is None
    assert record.age_ns(run) is None
    record.write_started(run)
    assert record.read_started(run).endswith("Z")
    assert 0 <= record.age_ns(run) < 60 * 10**9
    session = record.Session(id="e1", pid=5)
    record.write_session(run, session)
    assert record.read_session(run, "e1") == session
    assert record.read_session(run, "e2") is None
    record.write_session(f"{run}/gone", session)  # its container has ended meanwhile
    assert not os.path.exists(f"{run}/gone")


def test_a_date_that_jumps_makes_nothing_older(tmp_path, monkeypatch):
    record.write_started(str(tmp_path))
    monkeypatch.setattr(time, "time_ns", lambda: 10**19)
    assert 0 <= record.age_ns(str(tmp_path)) < 60 * 10**9
