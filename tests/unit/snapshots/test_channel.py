"""The conversation with a confined process, both ends in this one."""

import os
import socket

import pytest

from atoll.base import errors
from atoll.snapshots.channel import Channel, Ended, heard, tell


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    channel = Channel(theirs.detach())
    yield ours, channel
    ours.close()
    channel.socket.close()


def test_messages_and_descriptors_pass(ends):
    ours, channel = ends
    reader, writer = os.pipe()
    tell(ours, {"do": "get", "path": "/ä"}, [writer])
    os.close(writer)
    message, fds = channel.receive()
    assert message == {"do": "get", "path": "/ä"}
    os.write(fds[0], b"through")
    os.close(fds[0])
    assert os.read(reader, 100) == b"through"
    os.close(reader)
    tell(ours, {"do": "nothing"})
    assert channel.receive() == ({"do": "nothing"}, [])
    channel.send({"done": {"n": 1}})
    assert heard(ours) == {"done": {"n": 1}}


def test_an_error_is_raised_on_the_other_side(ends):
    ours, channel = ends
    channel.send({"error": errors.NotFound("no such file", hint="look").to_json()})
    with pytest.raises(errors.NotFound, match="no such file") as raised:
        heard(ours)
    assert raised.value.hint == "look"


def test_either_side_may_be_gone(ends):
    ours, channel = ends
    ours.shutdown(socket.SHUT_WR)
    with pytest.raises(Ended):
        channel.receive()
    channel.socket.close()
    with pytest.raises(Ended):
        heard(ours)
