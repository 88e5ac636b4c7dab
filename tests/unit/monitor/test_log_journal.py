"""The journal's native protocol, at a stand-in for its socket."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from atoll.monitor import log_journal

FIELDS = (("CONTAINER_ID", "abc"), ("NOTE", "two\nlines"))


@pytest.fixture
def journald(tmp_path):
    peer = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    peer.bind(str(tmp_path / "socket"))
    peer.settimeout(5)
    yield peer
    peer.close()


def receive(peer):
    """One entry as its fields, however it came."""
    data, ancillary, _, _ = peer.recvmsg(1 << 20, socket.CMSG_LEN(4))
    for _, _, content in ancillary:
        fd = struct.unpack("i", content)[0]
        data = os.pread(fd, os.fstat(fd).st_size, 0)
        with pytest.raises(OSError):
            os.write(fd, b"sealed")
        os.close(fd)
    fields = {}
    while data:
        line, _, data = data.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            length = struct.unpack("<Q", data[:8])[0]
            value, data = data[8 : 8 + length], data[9 + length :]
        fields[key.decode()] = value
    return fields


def test_a_line_is_an_entry(journald, tmp_path):
    writer = log_journal.Journal(str(tmp_path / "socket"), FIELDS)
    writer.write(1, b"one\ntw", 0)
    writer.write(2, b"bad \xff=\n", 0)
    writer.write(1, b"o\nrest", 0)
    writer.close()
    same = {"CONTAINER_ID": b"abc", "NOTE": b"two\nlines"}
    assert receive(journald) == {**same, "PRIORITY": b"6", "MESSAGE": b"one"}
    assert receive(journald) == {**same, "PRIORITY": b"3", "MESSAGE": b"bad \xff="}
    assert receive(journald) == {**same, "PRIORITY": b"6", "MESSAGE": b"two"}
    assert receive(journald) == {
        **same,
        "PRIORITY": b"6",
        "MESSAGE": b"rest",
        "CONTAINER_PARTIAL_MESSAGE": b"true",
    }


def test_a_long_line_is_several_entries_and_the_part_held_back_is_bounded(journald, tmp_path):
    writer = log_journal.Journal(str(tmp_path / "socket"), ())
    for _ in range(5):
        writer.write(1, b"x" * 30_000, 0)
    writer.write(1, b"\n", 0)
    found = []
    while not found or "CONTAINER_PARTIAL_MESSAGE" in found[-1]:
        found.append(receive(journald))
    assert b"".join(one["MESSAGE"] for one in found) == b"x" * 150_000
    assert len(found) == 4
    writer.close()


def test_what_is_too_long_for_a_datagram_goes_as_a_sealed_file(journald, tmp_path, monkeypatch):
    monkeypatch.setattr(log_journal, "SEND_BUFFER", 4096)
    label = "v" * 500_000
    writer = log_journal.Journal(str(tmp_path / "socket"), (("LABEL", label),))
    writer.write(2, b"one\n", 0)
    assert receive(journald) == {"LABEL": label.encode(), "PRIORITY": b"3", "MESSAGE": b"one"}
    writer.close()


def test_a_journal_that_was_started_anew_is_found_again(tmp_path):
    path = str(tmp_path / "socket")
    writer = log_journal.Journal(path, ())
    for turn in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as peer:
            peer.bind(path)
            writer.write(1, b"%d\n" % turn, 0)
            assert receive(peer)["MESSAGE"] == b"%d" % turn
        os.unlink(path)
    with pytest.raises(OSError):
        writer.write(1, b"nobody\n", 0)
    writer.close()


def test_a_journal_that_does_not_read_costs_the_entry_not_the_container(journald, tmp_path, monkeypatch):
    monkeypatch.setattr(log_journal, "SEND_SECONDS", 0.05)
    writer = log_journal.Journal(str(tmp_path / "socket"), ())
    with pytest.raises(OSError):
        for _ in range(100_000):
            writer.write(1, b"x" * 4000 + b"\n", 0)
    writer.close()
