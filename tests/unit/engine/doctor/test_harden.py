"""The plan that hardens a host, on a made-up one: what is looked at, written, noted and put back."""

import json
import os

import pytest

from atoll.base import errors
from atoll.engine.doctor import harden
from atoll.engine.doctor.findings import Host

PARAMETERS = {
    "kernel.kptr_restrict": 0,
    "fs.protected_fifos": 2,
    "kernel.sysrq": 176,
    "kernel.perf_event_paranoid": 4,
}


@pytest.fixture
def host(tmp_path):
    for name, value in PARAMETERS.items():
        path = tmp_path / "proc/sys" / name.replace(".", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{value}\n")
    mounts = tmp_path / "proc/self/mounts"
    mounts.parent.mkdir(parents=True)
    mounts.write_text("tmpfs /dev/shm tmpfs rw,nosuid,nodev 0 0\ntmpfs /tmp tmpfs rw,nosuid,nodev 0 0\n")
    return Host(0, str(tmp_path))


def states(steps):
    return {step.setting: step.state for step in steps}


def test_the_plan_names_what_differs_and_touches_nothing(host):
    assert states(harden.plan(host)) == {
        "kernel.kptr_restrict": harden.DIFFERS,
        "kernel.perf_event_paranoid": harden.KEPT,  # stricter than asked for
        "fs.protected_fifos": harden.KEPT,
        "kernel.sysrq": harden.DIFFERS,
        "mount /tmp": harden.KEPT,
        "mount /dev/shm": harden.YOURS,
    }
    assert {name: host.sysctl(name) for name in PARAMETERS} == PARAMETERS
    assert not host.exists(harden.DROP_IN)


def test_applied_and_put_back(engine, host):
    done = states(harden.apply(engine, host))
    assert done["kernel.kptr_restrict"] == done["kernel.sysrq"] == harden.CHANGED
    assert host.sysctl("kernel.kptr_restrict") == 2
    assert host.sysctl("kernel.sysrq") == 0
    assert host.sysctl("kernel.perf_event_paranoid") == 4
    assert "kernel.sysrq = 0\n" in host.read(harden.DROP_IN) + "\n"
    assert harden.DIFFERS not in states(harden.plan(host)).values()
    harden.apply(engine, host)  # a second time changes nothing, and forgets nothing
    assert set(states(harden.undo(engine, host)).values()) == {harden.RESTORED}
    assert {name: host.sysctl(name) for name in PARAMETERS} == PARAMETERS
    assert not host.exists(harden.DROP_IN)
    with pytest.raises(errors.FailedPrecondition, match="nothing to undo"):
        harden.undo(engine, host)


def test_what_somebody_else_changed_since_is_left_alone(engine, host):
    harden.apply(engine, host)
    with open(host.root + "/proc/sys/kernel/sysrq", "w") as file:
        file.write("16\n")
    done = states(harden.undo(engine, host))
    assert done == {"kernel.kptr_restrict": harden.RESTORED, "kernel.sysrq": harden.KEPT}
    assert host.sysctl("kernel.sysrq") == 16


def test_what_the_kernel_refuses_is_told_and_stays_undoable(engine, host, monkeypatch):
    real = harden.files.write_file

    def refusing(path, data, **how):
        if path.endswith("sysrq"):
            raise PermissionError(1, "Operation not permitted")
        real(path, data, **how)

    monkeypatch.setattr(harden.files, "write_file", refusing)
    assert states(harden.apply(engine, host))["kernel.sysrq"] == harden.FAILED
    assert host.sysctl("kernel.kptr_restrict") == 2
    monkeypatch.undo()
    assert states(harden.undo(engine, host))["kernel.kptr_restrict"] == harden.RESTORED


def test_only_root_and_only_our_note(engine, host):
    with pytest.raises(errors.Denied):
        harden.apply(engine, Host(1000, host.root))
    for note in ("{", json.dumps({"kernel.core_pattern": "1"}), json.dumps({"kernel.sysrq": "|/bin/sh"})):
        with open(os.path.join(engine.paths.data, harden.NOTE), "w") as file:
            file.write(note)
        with pytest.raises(errors.Corrupt):
            harden.undo(engine, host)
    assert {name: host.sysctl(name) for name in PARAMETERS} == PARAMETERS
