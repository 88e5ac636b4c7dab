"""How the level `container` tells a status from records and the kernel; no container is made."""

import os
import time

import pytest

from atoll.base import errors
from atoll.isolation import container
from atoll.isolation.container import ContainerDriver
from atoll.linux import process
from atoll.monitor import record
from atoll.runtime import state


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(container, "SETTLE_SECONDS", 0.3)
    monkeypatch.setattr(container, "MOURN_SECONDS", 0.1)
    run, bundle = tmp_path / "run", tmp_path / "bundle"
    run.mkdir()
    bundle.mkdir()
    return str(run), str(bundle)


@pytest.fixture
def driver(tmp_path):
    return ContainerDriver(str(tmp_path / "root"), "")


@pytest.fixture
def sleeper():
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    yield pid
    try:
        os.kill(pid, 9)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def remember(run, pid, **changes):
    """A state record that names `pid` as the init."""
    known = state.State(
        id="i",
        pid=pid,
        start_time=process.start_time(pid),
        boot_id=state.boot_id(),
        bundle="/b",
        created=state.now(),
        oci_version="1.2.0",
    )
    state.write(run, known.replace(**changes))


def charge(run, bundle, pid):
    """A monitor's record that names `pid` as the monitor."""
    record.write_monitor(record.Charge(what="create", id="i", run=run, bundle=bundle), pid=pid, version=1)


def test_an_exit_record_is_the_end_whatever_else_there_is(place, driver, sleeper):
    run, bundle = place
    remember(run, sleeper)
    record.write_exit(bundle, record.of_status(9, started="t0", oom=True))
    status = driver.status(run, bundle)
    assert (status.status, status.exit_code, status.signal, status.oom_killed) == ("exited", 137, 9, True)
    assert (status.error, status.started_at) == ("out of memory", "t0")
    assert status.ended


def test_the_exit_record_of_a_full_disk_is_found_in_the_run_directory(place, driver):
    run, bundle = place
    record.write_exit(run, record.of_status(0, started=None))
    assert driver.status(run, bundle).exit_code == 0


def test_created_and_running(place, driver, sleeper):
    run, bundle = place
    remember(run, sleeper)
    os.mkfifo(f"{run}/{state.FIFO}")
    assert driver.status(run, bundle).status == "created"
    os.unlink(f"{run}/{state.FIFO}")
    record.write_started(run)
    status = driver.status(run, bundle)
    assert (status.status, status.pid) == ("running", sleeper)
    assert status.started_at == record.read_started(run)


@pytest.mark.parametrize("change", [{"start_time": 5}, {"boot_id": "of another boot"}, {"start_time": 0}])
def test_another_process_of_that_number_is_not_the_container(place, driver, sleeper, change):
    run, bundle = place
    remember(run, sleeper, **change)
    status = driver.status(run, bundle)
    assert (status.status, status.exit_code) == ("lost", 255)
    assert status.error
    assert status.ended


def test_a_living_monitor_is_given_time_to_record_the_end(place, driver, sleeper):
    run, bundle = place
    remember(run, sleeper, start_time=1)
    charge(run, bundle, os.getpid())
    writer = os.fork()
    if writer == 0:
        time.sleep(0.1)
        record.write_exit(bundle, record.of_status(7 << 8, started=None))
        os._exit(0)
    assert driver.status(run, bundle).exit_code == 7
    os.waitpid(writer, 0)


def test_nothing_left_reads_as_lost_with_the_reason(place, driver):
    run, bundle = place
    os.rmdir(run)
    status = driver.status(run, bundle)
    assert (status.status, status.exit_code) == ("lost", 255)
    assert "restarted" in status.error


def test_wait_without_a_monitor_follows_the_init(place, driver, sleeper):
    run, bundle = place
    remember(run, sleeper)
    assert driver.wait(run, bundle, 0.05).status == "running"
    os.kill(sleeper, 9)
    os.waitpid(sleeper, 0)
    assert driver.wait(run, bundle, 5).status == "lost"


def test_signals_and_deletes_of_nothing(place, driver):
    run, bundle = place
    with pytest.raises(errors.NotFound):
        driver.signal(run, 15)
    driver.delete(run, bundle)
    assert not os.path.exists(run)
    driver.delete(run, bundle)


def test_start_without_a_monitor(place, driver):
    with pytest.raises(errors.FailedPrecondition, match="monitor"):
        driver.start(place[0])


def test_probe_names_an_old_kernel(driver, monkeypatch):
    assert driver.probe().ok
    old = os.uname_result(("Linux", "n", "5.10.0-9-amd64", "v", "x86_64"))
    monkeypatch.setattr(os, "uname", lambda: old)
    assert "5.14" in driver.probe().reason
