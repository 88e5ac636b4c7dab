"""How the unpacking process is started; what it does is in the other files here."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from atoll.snapshots import worker


def test_it_finds_installed_packages_without_site(monkeypatch: pytest.MonkeyPatch) -> None:
    isal = pytest.importorskip("isal")
    place = os.path.dirname(os.path.dirname(os.path.abspath(isal.__file__)))
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one != place])
    program, flags, _, *rest = worker._arguments(3)
    code = "import sys; sys.path[:0] = sys.argv[2:]; import isal; print(isal.__file__, 'site' in sys.modules)"
    done = subprocess.run([program, flags, code, *rest], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [isal.__file__, "False"]


def test_one_that_does_its_job_ends_by_itself(tmp_path) -> None:
    (tmp_path / "tree" / "inner").mkdir(parents=True)
    with worker.Worker(unpacks=True) as one:
        one.remove([str(tmp_path / "tree")])
    assert list(tmp_path.iterdir()) == []
    assert one._process.wait(0) == 0
    one.kill()


def test_one_that_is_killed_before_its_first_job_says_so() -> None:
    one = worker.Worker()
    one._process.kill()
    with pytest.raises(Exception, match="the unpacking process ended early"):
        one.remove([])
    one.kill()
    one.close()
