"""Where the command keeps compiled filters, and how it takes old destinations of mounts."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from atoll.runtime.command import context


def test_filters_lie_beside_the_default_root_in_a_directory_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(context, "default_root", lambda: f"{tmp_path}/atoll-runtime")
    assert context.filter_cache() == f"{tmp_path}/atoll-runtime-filters"
    monkeypatch.setattr(context, "default_root", lambda: f"{tmp_path}/absent/atoll-runtime")
    assert context.filter_cache() is None
    monkeypatch.setattr(context, "default_root", lambda: f"{tmp_path}/atoll-runtime")
    monkeypatch.setattr(os, "geteuid", lambda: os.stat(tmp_path).st_uid + 1)
    assert context.filter_cache() is None


def test_destinations_that_are_not_absolute_count_from_the_top(tmp_path: Path):
    mounts = [{"destination": one, "type": "tmpfs", "source": "x"} for one in ("/a", "b/c", "./d")]
    (tmp_path / "config.json").write_text(json.dumps({"ociVersion": "1.0.0", "mounts": mounts}))
    spec = context.load_spec(str(tmp_path))
    assert [entry.destination for entry in spec.mounts] == ["/a", "/b/c", "/./d"]
