from __future__ import annotations

import atoll


def test_version(engine):
    client = engine.version()["Client"]
    assert client["Version"] == atoll.__version__
    assert client["Os"] == "linux"


def test_info(engine):
    document = engine.info()
    assert document["Images"] == 1
    assert document["Containers"] == 0
    assert document["DataRoot"] == engine.paths.data
    assert isinstance(document["Warnings"], list)
    assert set(document["Limits"]) == {"memory", "cpu", "pids"}
