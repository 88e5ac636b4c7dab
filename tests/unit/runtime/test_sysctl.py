"""Which sysctls a container may have: those of its own namespaces, and nothing else."""

from __future__ import annotations

import os

import pytest

from atoll.base import errors
from atoll.runtime import sysctl

OWN = frozenset(("network", "ipc", "uts"))


@pytest.mark.parametrize(
    "key",
    ["net.ipv4.ip_forward", "net/ipv4/conf/eth0.100/rp_filter", "kernel.msgmax", "kernel.sem", "fs.mqueue.msg_max"],
)
def test_allowed(key):
    sysctl.check(((key, "1"),), OWN)


@pytest.mark.parametrize(
    "key", ["kernel.panic", "vm.swappiness", "kernel.core_pattern", "fs.file-max", "kernel.shmmaxx", ""]
)
def test_the_hosts_are_refused(key):
    with pytest.raises(errors.InvalidArgument, match="not of any namespace"):
        sysctl.check(((key, "1"),), OWN)


@pytest.mark.parametrize(("key", "kind"), [("net.core.somaxconn", "network"), ("kernel.shmall", "ipc")])
def test_the_namespace_must_be_its_own(key, kind):
    with pytest.raises(errors.InvalidArgument, match=f"needs a new {kind} namespace"):
        sysctl.check(((key, "1"),), OWN - {kind})


def test_written_below_the_descriptor(tmp_path):
    folder = tmp_path / "sys/net/ipv4"
    folder.mkdir(parents=True)
    (folder / "ip_forward").write_text("0")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        sysctl.apply(fd, (("net.ipv4.ip_forward", "1"),))
        assert (folder / "ip_forward").read_text() == "1"
        with pytest.raises(OSError, match=r"net\.ipv4\.absent"):
            sysctl.apply(fd, (("net.ipv4.absent", "1"),))
    finally:
        os.close(fd)


def test_no_link_is_followed(tmp_path):
    folder = tmp_path / "sys/net"
    folder.mkdir(parents=True)
    (tmp_path / "target").write_text("kept")
    os.symlink(tmp_path / "target", folder / "x")
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError, match=r"net\.x"):
            sysctl.apply(fd, (("net.x", "1"),))
    finally:
        os.close(fd)
    assert (tmp_path / "target").read_text() == "kept"
