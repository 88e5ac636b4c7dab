"""The helper's word on its own end."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.engine.networks import serve
from atoll.network.helper.loop import Loop


def worker() -> serve.Worker:
    """Without sockets."""
    made = serve.Worker.__new__(serve.Worker)
    made.network, made.name, made.loop, made.handed = "n" * 64, "app", Loop(), {}
    return made


def test_a_helper_whose_store_is_gone_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATOLL_CONFIG", str(tmp_path / "gone.toml"))
    monkeypatch.setenv("ATOLL_DATA_ROOT", str(tmp_path / "gone"))
    monkeypatch.setenv("ATOLL_RUN_ROOT", str(tmp_path / "run"))
    for act in ("_end_if_idle", "_refresh_quietly"):
        one = worker()
        getattr(one, act)()
        assert not one.loop.running, act
    # Settings that cannot be read just now are no reason to leave containers without names.
    (tmp_path / "gone").mkdir()
    one = worker()
    one._end_if_idle()
    assert one.loop.running
