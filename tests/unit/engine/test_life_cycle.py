"""Create, launch, end, remove, on a level of isolation made of files; and every way to be killed in between."""

from __future__ import annotations

import os

import pytest

from atoll.base import errors, files
from atoll.engine.containers import bundle, state
from atoll.engine.containers.record import Record
from atoll.engine.locks import is_busy, lock_container
from atoll.engine.requests import ExecRequest, RunRequest
from unit.engine import fakes


def run(engine, **asked):
    container_id = engine.create(RunRequest(image="busybox", **asked))
    engine.launch(container_id)
    engine.started(container_id)
    return container_id


def status(engine, container_id):
    return state.state_of(engine, container_id).status


def test_a_life(engine):
    before = fakes.everything(engine)
    container_id = engine.create(RunRequest(image="busybox", name="web"))
    assert status(engine, container_id) == "created"
    assert bundle.load(engine.paths.container(container_id)) == engine.plans[container_id]
    assert [v.state for v in engine.containers(all=True)] == ["created"]
    assert engine.containers() == []
    engine.launch(container_id)
    assert status(engine, container_id) == "running"
    assert [(v.name, v.state) for v in engine.containers()] == [("web", "running")]
    engine.driver.end(engine.paths.container_run(container_id), 3)
    view = engine.containers(all=True)[0]
    assert (view.state, view.exit_code, view.command) == ("exited", 3, ("sh",))
    engine.remove("web")
    assert fakes.everything(engine) == before
    assert engine.containers(all=True) == []


def test_a_container_that_is_being_made_is_created_as_docker_has_it(engine, monkeypatch):
    """A monitor whose command was killed goes on making it."""
    container_id = engine.create(RunRequest(image="busybox", name="web"))
    engine.launch(container_id)
    known = engine.driver.status
    monkeypatch.setattr(engine.driver, "status", lambda *at: known(*at).replace(status="creating"))
    assert status(engine, container_id) == "created"
    assert engine.inspect_container("web")["State"]["Status"] == "created"


def test_an_ended_container_starts_again_from_its_plan(engine):
    container_id = run(engine, name="web")
    engine.driver.end(engine.paths.container_run(container_id))
    other = fakes.make_engine(os.path.dirname(engine.paths.data))
    other._driver = engine.driver
    os.unlink(engine.paths.container(container_id) + "/exit.json")
    other.launch(container_id)
    assert engine.driver.plans[0] == engine.driver.plans[1]
    with pytest.raises(errors.FailedPrecondition, match="already running"):
        other.launch(container_id)


def test_a_container_that_goes_with_its_end(engine):
    before = fakes.everything(engine)
    container_id = run(engine, remove=True)
    engine.driver.end(engine.paths.container_run(container_id))
    engine.finish(container_id, remove=True)
    assert fakes.everything(engine) == before
    engine.finish(container_id, remove=True)
    engine.cleanup(container_id)


def test_the_clean_up_command_removes_only_what_goes_with_its_end(engine):
    stays, goes = run(engine, name="stays"), run(engine, name="goes", remove=True)
    for one in (stays, goes):
        engine.driver.end(engine.paths.container_run(one))
        engine.cleanup(one)
    assert [v.name for v in engine.containers(all=True)] == ["stays"]


def test_a_failed_start_stays_with_its_reason(engine):
    engine.driver.fail = errors.CommandNotFound("exec: nope")
    container_id = engine.create(RunRequest(image="busybox", name="web"))
    with pytest.raises(errors.CommandNotFound):
        engine.launch(container_id)
    document = engine.inspect_container("web")
    assert document["State"]["Status"] == "created"
    assert document["State"]["ExitCode"] == 127
    assert "exec: nope" in document["State"]["Error"]
    assert not os.path.exists(engine.paths.container_run(container_id))
    assert not is_busy(engine.paths.container(container_id))
    engine.remove("web")


def test_a_failed_start_that_was_to_go_is_gone(engine):
    before = fakes.everything(engine)
    engine.driver.fail = errors.Denied("no")
    container_id = engine.create(RunRequest(image="busybox", remove=True))
    with pytest.raises(errors.Denied):
        engine.launch(container_id)
    assert fakes.everything(engine) == before
    assert engine.store.containers() == []


def test_names(engine):
    run(engine, name="web")
    with pytest.raises(errors.Conflict, match="already in use"):
        engine.create(RunRequest(image="busybox", name="web"))
    for wrong in ("a", "-x", "a b", "é1", "x" * 300, "a/b"):
        with pytest.raises(errors.InvalidArgument, match="Invalid container name"):
            engine.create(RunRequest(image="busybox", name=wrong))


def test_a_missing_image(engine):
    with pytest.raises(errors.NotFound, match="No such image: nope:latest"):
        engine.create(RunRequest(image="nope"))
    asked = []

    def pull(reference):
        asked.append(reference)
        fakes.add_image(engine, image="sha256:" + "3" * 64, reference="docker.io/library/nope:latest")

    engine.create(RunRequest(image="nope"), on_missing=pull)
    assert asked == ["nope:latest"]
    with pytest.raises(errors.NotFound, match="No such image"):
        engine.create(RunRequest(image="other", pull="never"), on_missing=pull)
    engine.create(RunRequest(image="nope", pull="always"), on_missing=pull)
    assert asked == ["nope:latest"] * 2


def test_unpacked_layers_that_are_gone_come_back_by_a_pull(engine):
    files.remove_tree(engine.snapshots.layer_path(fakes.CHAIN))
    asked = []

    def pull(reference):
        asked.append(reference)
        fakes.add_image(engine)

    engine.create(RunRequest(image=fakes.IMAGE), on_missing=pull)
    assert asked == ["docker.io/library/busybox:latest"]


def test_explain_touches_nothing(engine):
    before = fakes.everything(engine)
    document = engine.explain(RunRequest(image="busybox", name="web", volumes=("/no/such:/x",)))
    assert document["spec"]["process"]["args"] == ["sh"]
    assert document["spec"]["linux"]["seccomp"]["defaultAction"]
    assert document["root"][0]["step"] == "overlay"
    assert fakes.everything(engine) == before
    assert engine.store.containers() == []


# --- killed in between --------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Stands for SIGKILL: no undo may run, so the steps are stopped by a patched Rollback."""


STEPS = [
    "os.mkdir",
    "atoll.engine.containers.create.lock_container",
    "atoll.engine.store.Store.add_container",
    "atoll.snapshots.store.Snapshots.create_writable",
    "atoll.base.files.write_atomic",
    "atoll.engine.containers.bundle.save",
]


@pytest.mark.parametrize("remove", [False, True])
@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", STEPS)
def test_killed_while_creating(engine, monkeypatch, step, after, remove):
    before = fakes.everything(engine)
    with monkeypatch.context() as patch:
        patch.setattr("atoll.base.rollback.Rollback.run", lambda self: [])
        real = _resolve(step)

        def dies(*args, **more):
            if step == "os.mkdir" and "containers/" not in args[0]:
                return real(*args, **more)
            if after:
                real(*args, **more)
            raise Killed

        patch.setattr(step, dies)
        if step.endswith("bundle.save") and remove:
            return
        with pytest.raises(Killed):
            engine.create(RunRequest(image="busybox", name="web", remove=remove))
    _next_command_is_right(engine, before)


def _resolve(dotted):
    import importlib

    parts = dotted.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for name in parts[cut:]:
            found = getattr(found, name)
        return found
    raise AssertionError(dotted)


def _next_command_is_right(engine, before):
    """The name can be used again, nothing half made is listed, and check finds nothing after a repair."""
    import gc

    gc.collect()
    engine.locks.clear()
    engine.plans.clear()
    _drop_locks(engine)
    for view in engine.containers(all=True):
        assert view.state == "created"
    findings = engine.check(repair=True)
    assert engine.check() == [], findings
    for view in engine.containers(all=True):
        engine.remove(view.id)
    second = engine.create(RunRequest(image="busybox", name="web"))
    engine.remove(second)
    assert fakes.everything(engine) == before


def _drop_locks(engine):
    """A killed process' descriptors are closed: here, those of directories of containers."""
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(engine.paths.containers + "/"):
            os.close(int(name))


REMOVAL = [
    "atoll.snapshots.store.Snapshots.remove_writable",
    "atoll.base.files.remove_tree",
    "atoll.engine.store.Store.remove_container",
]


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("step", REMOVAL)
def test_killed_while_removing(engine, monkeypatch, step, after):
    before = fakes.everything(engine)
    engine.create(RunRequest(image="busybox", name="web"))
    with monkeypatch.context() as patch:
        real = _resolve(step)

        def dies(*args, **more):
            if after:
                real(*args, **more)
            raise Killed

        patch.setattr(step, dies)
        with pytest.raises(Killed):
            engine.remove("web")
    _drop_locks(engine)
    with pytest.raises(errors.NotFound):  # a removal is finished by the next one
        engine.remove("web")
        engine.remove("web")
    _next_command_is_right(engine, before)


def test_while_it_is_being_made_others_leave_it_alone(engine):
    container_id = engine.create(RunRequest(image="busybox", remove=True))
    assert [v.state for v in engine.containers(all=True)] == ["created"]
    assert engine.check() == []
    engine.launch(container_id)
    assert [v.state for v in engine.containers()] == ["running"]
    assert engine.check() == []


# --- the verbs ----------------------------------------------------------------------------------------------------


def test_stop_asks_then_makes(engine):
    first = run(engine, name="web", stop_signal="SIGINT")
    engine.stop("web", timeout=1)
    assert engine.driver.signals == [2]
    engine.stop("web")
    engine.driver.stubborn = True
    os.unlink(engine.paths.container(first) + "/exit.json")
    engine.launch(first)
    engine.stop("web", timeout=0, signum=10)
    assert engine.driver.signals == [2, 10, "kill"]
    assert engine.wait("web") == 137


def test_stop_of_a_container_that_goes_with_its_end_waits_for_that(engine):
    run(engine, name="web", remove=True)
    engine.stop("web")
    assert engine.store.containers() == []


def test_kill(engine):
    run(engine, name="web")
    engine.kill("web", 9)
    with pytest.raises(errors.FailedPrecondition, match=r"Cannot kill container: web: Container .* is not running"):
        engine.kill("web", 9)


def test_remove_refuses_what_runs(engine):
    container_id = run(engine, name="web")
    with pytest.raises(errors.Conflict, match=f"You cannot remove a running container {container_id}"):
        engine.remove("web")
    engine.remove("web", force=True)
    assert engine.driver.signals == ["kill"]
    with pytest.raises(errors.NotFound, match="No such container: web"):
        engine.remove("web")


def test_wait_for_what_never_ran(engine):
    container_id = engine.create(RunRequest(image="busybox"))
    assert engine.wait(container_id) == 0


def test_exec(engine):
    run(engine, name="web", user="daemon", env=("A=1",))
    engine.exec(ExecRequest(container="web", command=("id",), env=("B=2",), terminal=True, window=(24, 80)))
    process = engine.driver.plans[-1].process
    assert process.args == ("id",)
    assert process.user.username == "daemon"
    assert {"A=1", "B=2", "TERM=xterm"} <= set(process.env)
    assert (process.console_size.height, process.console_size.width) == (24, 80)
    assert process.no_new_privileges is True
    engine.exec(ExecRequest(container="web", command=("id",), user="0:5", workdir="/x", privileged=True))
    process = engine.driver.plans[-1].process
    assert (process.user.username, process.cwd, process.no_new_privileges) == ("0:5", "/x", False)
    assert "CAP_SYS_ADMIN" in process.capabilities.bounding
    with pytest.raises(errors.InvalidArgument, match="absolute"):
        engine.exec(ExecRequest(container="web", command=("id",), workdir="x"))
    engine.kill("web", 9)
    with pytest.raises(errors.FailedPrecondition, match="is not running"):
        engine.exec(ExecRequest(container="web", command=("id",)))


def test_logs(engine):
    container_id = run(engine, name="web")
    path, running = engine.logs("web")
    assert path.endswith(f"{container_id}-json.log")
    assert running()
    engine.kill("web", 9)
    assert not running()
    engine.remove("web")
    assert not running()


def test_lost_reads_as_255(engine):
    container_id = run(engine, name="web")
    run_dir = engine.paths.container_run(container_id)
    engine.driver.processes.clear()
    files.remove_tree(run_dir)  # the machine was restarted
    view = engine.containers(all=True)[0]
    assert (view.state, view.exit_code, view.error) == ("exited", 255, "lost")


def test_anonymous_volumes_go_named_ones_stay(engine):
    run(engine, name="web", remove=True, volumes=("/data", "keep:/k"))
    record = Record.from_text(engine.store.container("web").record)
    assert all(os.path.isdir(m.source) for m in record.mounts)
    engine.stop("web")
    assert os.listdir(engine.paths.volumes) == ["keep"]


def test_inspect_has_dockers_shape(engine):
    container_id = run(engine, name="web", memory=64 << 20, volumes=("/tmp:/x:ro",), labels=("k=v",))
    document = engine.inspect_container("web")
    assert document["Id"] == container_id
    assert document["Name"] == "/web"
    assert document["Path"] == "sh"
    assert document["State"]["Running"] is True
    assert document["Config"]["Labels"] == {"a": "b", "k": "v"}
    assert document["HostConfig"]["Memory"] == 64 << 20
    assert document["Mounts"][0]["RW"] is False
    assert document["Image"] == fakes.IMAGE


# --- check --------------------------------------------------------------------------------------------------------


def test_check_finds_and_mends_strays(engine):
    stray = "f" * 64
    os.mkdir(engine.paths.container(stray))
    engine.snapshots.create_writable("e" * 64)
    os.mkdir(engine.paths.container_run("d" * 64))
    assert len([f for f in engine.check(repair=True) if "belongs to no container" in f]) == 3
    assert [f for f in engine.check() if "container" in f] == []


def test_check_tells_of_missing_content(engine):
    files.remove_tree(engine.paths.content + "/blobs")
    found = engine.check()
    assert any("lacks" in line and "pull it again" in line for line in found)


def test_a_held_lock_is_busy(engine):
    container_id = engine.create(RunRequest(image="busybox"))
    place = engine.paths.container(container_id)
    assert not is_busy(place)
    with lock_container(place):
        assert is_busy(place)
        with pytest.raises(errors.Unavailable, match="another command"):
            lock_container(place, blocking=False)
    assert not is_busy(place)
    assert not is_busy(place + "x")
    lock = lock_container(place)
    os.rename(place, place + ".gone")
    os.rmdir(place) if os.path.isdir(place) else None
    lock.release()
    with pytest.raises(errors.NotFound):
        lock_container(place)
