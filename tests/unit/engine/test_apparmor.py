"""The profile of our own: when a container gets it, and that AppArmor's own compiler takes it."""

import os
import subprocess

import pytest

from atoll.base import errors
from atoll.engine.audit.security import sentences
from atoll.engine.containers import apparmor, bundle, facts, security_options
from atoll.engine.containers.plan import Facts
from atoll.engine.containers.record import Record
from atoll.engine.requests import RunRequest


def settled(*given, privileged=False, uid=0):
    return apparmor.settle(security_options.parse(given), privileged=privileged, uid=uid)


@pytest.fixture
def enabled(monkeypatch, tmp_path):
    """A host with AppArmor; `loaded` is what the kernel has, `calls` how often we loaded ours."""
    calls = []
    monkeypatch.setattr(apparmor.lsm, "apparmor_enabled", lambda: True)
    monkeypatch.setattr(apparmor, "load", lambda: calls.append(1))
    place = tmp_path / "profiles"
    monkeypatch.setattr(apparmor.loaded, "__defaults__", (str(place),))
    return place, calls


def test_without_apparmor_nobody_gets_one_by_default(monkeypatch):
    monkeypatch.setattr(apparmor.lsm, "apparmor_enabled", lambda: False)
    assert settled() == ("", None)
    assert settled("apparmor=mine") == ("mine", None)


def test_root_loads_it_once(enabled):
    place, calls = enabled
    assert settled() == (apparmor.NAME, None)
    assert calls == [1]
    place.write_text("docker-default (enforce)\natoll-default (enforce)\n")
    assert settled() == (apparmor.NAME, None)
    assert calls == [1]
    assert settled(privileged=True) == settled("apparmor=unconfined") == ("", None)
    assert settled("apparmor=unconfined", "apparmor=mine") == ("mine", None)


def test_an_ordinary_user_has_what_root_loaded(enabled):
    place, calls = enabled
    name, note = settled(uid=1000)
    assert name == ""
    assert "root has not loaded ours" in note
    place.write_text("atoll-default (enforce)\n")
    assert settled(uid=1000) == (apparmor.NAME, None)
    assert calls == []


def test_a_parser_that_lacks_or_refuses_is_noted(enabled, monkeypatch):
    def refuse():
        raise errors.Unsupported("apparmor_parser is not installed")

    monkeypatch.setattr(apparmor, "load", refuse)
    assert settled() == ("", "no AppArmor profile: apparmor_parser is not installed")


def test_it_reaches_the_runtime_and_the_reports(engine, monkeypatch):
    monkeypatch.setattr(
        facts, "gather", lambda *_: Facts(uid=0, hostname="h", cpus=2, apparmor=(apparmor.NAME, None))
    )
    made = engine.create(RunRequest(image="busybox", starts_later=True))
    document = engine.inspect_container(made)
    assert document["AppArmorProfile"] == apparmor.NAME
    plan = bundle.load(engine.paths.container(made))
    assert plan.spec.process.apparmor_profile == apparmor.NAME
    record = Record.from_text(engine.store.container(made).record)
    assert any("atoll-default" in line for line in sentences(record, uid=0))


@pytest.mark.skipif(not any(map(os.path.exists, apparmor.PARSER)), reason="apparmor_parser is not installed")
def test_the_compiler_takes_it():
    parser = next(one for one in apparmor.PARSER if os.path.exists(one))
    words = [parser, "--skip-kernel-load", "--skip-cache", "--stdout", "--config-file", "/dev/null"]
    done = subprocess.run(words, input=apparmor.TEXT.encode(), capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert apparmor.NAME.encode() in done.stdout
    words = [parser, "--names", "--config-file", "/dev/null"]
    names = subprocess.run(words, input=apparmor.TEXT.encode(), capture_output=True, timeout=60)
    assert names.stdout.split() == [apparmor.NAME.encode()]


def test_ours_is_loaded_again_where_it_is_wanted_and_gone(enabled):
    place, calls = enabled
    apparmor.ensure("mine", 0)
    apparmor.ensure(apparmor.NAME, 1000)
    assert calls == []
    assert settled(f"apparmor={apparmor.NAME}") == (apparmor.NAME, None)
    assert calls == [1]
    place.write_text("atoll-default (enforce)\n")
    apparmor.ensure(apparmor.NAME, 0)
    assert calls == [1]
