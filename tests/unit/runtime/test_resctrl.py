"""`linux.intelRdt` on a made-up resctrl: which directories, which writes, what is refused."""

from __future__ import annotations

import os
import shutil
import types
from pathlib import Path

import pytest

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.runtime import resctrl
from atoll.spec.runtime import IntelRdt

DEFAULT = "    L3:0=7ff;1=7ff\n    MB:0=100;1=100\n"


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A resctrl that fills new directories as the kernel does, and keeps what is written last."""
    tree = tmp_path / "resctrl"
    (tree / "info/L3_MON").mkdir(parents=True)
    (tree / "info/last_cmd_status").write_text("ok\n")

    def mkdir(path: str, mode: int = 0o777) -> None:
        os.mkdir(path, mode)
        Path(path, "tasks").write_text("")
        Path(path, "schemata").write_text(DEFAULT)
        if "mon_groups" not in path:
            Path(path, "mon_groups").mkdir()

    changed = types.SimpleNamespace(**{**vars(os), "mkdir": mkdir, "rmdir": shutil.rmtree})
    monkeypatch.setattr(resctrl, "os", changed)
    monkeypatch.setattr(resctrl, "mounted", lambda: str(tree))
    return tree


def applied(asked: IntelRdt, undo: Rollback | None = None) -> dict[str, list[str]]:
    found: dict[str, list[str]] = resctrl.apply(asked, "box", 4711, undo or Rollback())
    return found


@pytest.mark.spec("config-linux#intelRdt.tasks", "config-linux#intelRdt.default-id")
@pytest.mark.spec("config-linux#intelRdt.made")
def test_a_class_of_its_own_is_made_and_removed(top: Path):
    record = applied(IntelRdt(l3_cache_schema="L3:0=7f0;1=1f"))
    assert (top / "box/tasks").read_text() == "4711\n"
    assert (top / "box/schemata").read_text().startswith("L3:0=7f0;1=1f\n")
    resctrl.remove(record)
    assert not (top / "box").exists()
    resctrl.remove(record)


@pytest.mark.spec("config-linux#intelRdt.no-schema")
def test_without_schemata_none_are_written(top: Path):
    applied(IntelRdt())
    assert (top / "box/schemata").read_text() == DEFAULT


def test_a_shared_class_is_joined_and_stays(top: Path):
    resctrl.os.mkdir(str(top / "gold"))
    record = applied(IntelRdt(clos_id="gold", enable_cmt=True))
    assert (top / "gold/tasks").read_text() == "4711\n"
    assert (top / "gold/mon_groups/box/tasks").read_text() == "4711\n"
    resctrl.remove(record)
    assert (top / "gold").exists()
    assert not (top / "gold/mon_groups/box").exists()


@pytest.mark.spec("config-linux#intelRdt.differs", "config-linux#intelRdt.absent")
def test_a_shared_class_must_be_as_it_was_asked_for(top: Path):
    resctrl.os.mkdir(str(top / "gold"))
    applied(IntelRdt(clos_id="gold", l3_cache_schema="L3:1=07FF"))
    with pytest.raises(errors.Conflict, match="class gold has L3:0=7ff, not f"):
        applied(IntelRdt(clos_id="gold", l3_cache_schema="L3:0=f"))
    with pytest.raises(errors.NotFound, match="no class of service silver"):
        applied(IntelRdt(clos_id="silver"))
    assert not (top / "silver").exists()


def test_a_failure_leaves_nothing(top: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(resctrl, "join", lambda tasks, pid: (_ for _ in ()).throw(ProcessLookupError(3, "gone")))
    with pytest.raises(errors.AtollError), Rollback() as undo:
        applied(IntelRdt(l3_cache_schema="L3:0=1", enable_monitoring=True), undo)
    assert not (top / "box").exists()


@pytest.mark.spec("config-linux#intelRdt.combined", "config-linux#intelRdt.schemata-last")
def test_the_order_of_lines():
    asked = IntelRdt(l3_cache_schema="L3:0=1\nMB:0=10", mem_bw_schema="MB:0=20", schemata=("L2:0=f",))
    assert resctrl.lines_of(asked) == ("L3:0=1", "MB:0=20", "L2:0=f")
    assert resctrl.lines_of(IntelRdt(l3_cache_schema="L3:0=1\nMB:0=10")) == ("L3:0=1", "MB:0=10")


@pytest.mark.parametrize(
    ("asked", "kind", "words"),
    [
        (IntelRdt(clos_id="a/b"), errors.InvalidArgument, "closID"),
        (IntelRdt(clos_id="info"), errors.InvalidArgument, "closID"),
        (IntelRdt(clos_id=".."), errors.InvalidArgument, "closID"),
        (IntelRdt(mem_bw_schema="L3:0=1"), errors.InvalidArgument, "memBwSchema"),
        (IntelRdt(schemata=("L3:0=1\nMB:0=1",)), errors.InvalidArgument, r"schemata\[0\]"),
    ],
)
@pytest.mark.spec("config-linux#intelRdt.schema-form")
def test_refused(top: Path, asked: IntelRdt, kind: type[Exception], words: str):
    with pytest.raises(kind, match=words):
        resctrl.check(asked, str(top))


@pytest.mark.spec("config-linux#intelRdt.no-resctrl")
def test_without_resctrl_or_its_monitoring(top: Path):
    with pytest.raises(errors.Unsupported, match="no resctrl"):
        resctrl.check(IntelRdt(), None)
    (top / "info/L3_MON").rmdir()
    with pytest.raises(errors.Unsupported, match="monitoring"):
        resctrl.check(IntelRdt(enable_mbm=True), str(top))
