"""The table of connections: read, nearly full, a container's share of it."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.engine.doctor.findings import Host
from atoll.engine.doctor.networks import _connections
from atoll.network import conntrack, firewall


def host(root: Path, count: int, most: int) -> str:
    folder = root / "proc/sys/net/netfilter"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "nf_conntrack_count").write_text(f"{count}\n")
    (folder / "nf_conntrack_max").write_text(f"{most}\n")
    return str(root)


def test_a_quarter(tmp_path: Path):
    assert conntrack.table(str(tmp_path)) is None
    assert conntrack.share(None) == conntrack.USUAL // 4
    found = conntrack.table(host(tmp_path, 3, 262144))
    assert found == conntrack.Table(count=3, most=262144)
    assert conntrack.share(found) == 65536
    assert conntrack.share(conntrack.Table(count=0, most=2000)) == conntrack.LEAST
    assert conntrack.table(host(tmp_path, 0, 0)) is None


@pytest.mark.parametrize(
    ("count", "outcome", "words"),
    [(10, "ok", "10 of 1000"), (800, "warning", "when there is no"), (1000, "warning", "own too")],
)
def test_doctor(tmp_path: Path, count: int, outcome: str, words: str):
    (found,) = _connections(Host(0, host(tmp_path, count, 1000)))
    assert found.outcome == outcome
    assert words in found.said
    assert found.fix == ("" if outcome == "ok" else "sysctl -w net.netfilter.nf_conntrack_max=2000")
    assert _connections(Host(0, "/nonexistent")) == []


def test_without_a_limit_there_is_no_rule_for_it():
    assert len(firewall.everything(4096)) == len(firewall.everything()) + 4 + 8
