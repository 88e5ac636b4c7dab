"""`--log-driver` and `--log-opt` without a container."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.engine.config import Config
from atoll.engine.containers import journal_log, log_options
from atoll.engine.containers.record import Record
from atoll.isolation.protocol import LogPlan

CONFIG = Config()
RECORD = Record(image="web:1", args=("a",), labels=(("team", "red"), ("te.am", "x")), env=("A=1", "B=2"))


def test_bounds_are_dockers():
    options = ("max-size=10k", "max-file=5", "compress=true", "mode=non-blocking")
    kind, size, count, given = log_options.read("json-file", options, CONFIG)
    assert (kind, size, count) == ("json-file", 10 << 10, 5)
    assert dict(given)["compress"] == "true"
    assert log_options.read("k8s-file", ("max-size=-1",), CONFIG)[1] == 0


def test_local_has_its_own_bounds_and_is_compressed():
    """docs.docker.com, "Local file logging driver"."""
    kind, size, count, given = log_options.read("local", (), CONFIG)
    assert (kind, size, count, dict(given)) == ("json-file", 20 << 20, 5, {"compress": "true"})
    plan = log_options.settled(LogPlan(driver=kind), RECORD.replace(log_opts=given), "c" * 64, "name", "")
    assert plan.compress is True
    _, size, count, given = log_options.read("local", ("max-size=1m", "max-file=1"), CONFIG)
    assert (size, count, dict(given)) == (1 << 20, 1, {"max-size": "1m", "max-file": "1"})
    assert dict(log_options.read("local", ("compress=false",), CONFIG)[3]) == {"compress": "false"}
    assert log_options.read("json-file", (), CONFIG)[1:] == (CONFIG.log_max_size, CONFIG.log_max_files, ())


def test_the_journal_has_dockers_fields(tmp_path):
    (tmp_path / "socket").touch()
    options = ("labels-regex=^te", "env=A")
    kind, *_, given = log_options.read("journald", options, CONFIG, socket=str(tmp_path / "socket"))
    plan = log_options.settled(
        LogPlan(driver=kind), RECORD.replace(log_opts=given), "c" * 64, "name", "sha256:" + "d" * 64
    )
    assert dict(plan.attributes) == {
        "A": "1",
        "TEAM": "red",
        "TE_AM": "x",
        "CONTAINER_ID": "c" * 12,
        "CONTAINER_ID_FULL": "c" * 64,
        "CONTAINER_NAME": "name",
        "CONTAINER_TAG": "c" * 12,
        "IMAGE_NAME": "web:1",
        "SYSLOG_IDENTIFIER": "c" * 12,
    }


@pytest.mark.parametrize(
    ("label", "field"), [("com.x-y", "COM_X_Y"), ("_PID", "PID"), ("9lives", "LIVES"), ("é", "LABEL")]
)
def test_labels_cannot_be_fields_that_only_journald_sets(label, field):
    assert log_options.field_name(label) == field


def test_tags():
    assert log_options.tag("{{ .Name }}-{{.ImageID}}", "c" * 64, "n", "sha256:" + "d" * 64, "i") == "n-" + "d" * 12
    for wrong in ("{{.Nope}}", "{{range .}}", "a\nb"):
        with pytest.raises(errors.InvalidArgument):
            log_options.tag(wrong, "", "", "", "")


@pytest.mark.parametrize("driver", ["syslog", "fluentd", "passthrough"])
def test_what_sends_logs_elsewhere_is_refused_by_name(driver):
    with pytest.raises(errors.Unsupported, match=driver):
        log_options.read(driver, (), CONFIG)


def test_a_journal_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(errors.Unsupported, match="systemd-journald"):
        log_options.read("journald", (), CONFIG, socket=str(tmp_path / "none"))


def test_a_journal_that_cannot_be_read_is_said():
    how = {"follow": False, "since": None, "until": None, "tail": None, "running": lambda: False}
    with pytest.raises(errors.Unsupported, match="journalctl"):
        journal_log.read("c", **how, places=("/nowhere/journalctl",))
    with pytest.raises(errors.Unavailable, match="could not read"):
        list(journal_log.read("c", **how, places=("/bin/false",)))
