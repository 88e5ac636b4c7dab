"""The relay: bytes arrive whole, memory is bounded, a hostile peer costs nobody but itself."""

import os
import time
from _socket import AF_UNIX, SOCK_STREAM, socketpair

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base.loop import Loop
from atoll.monitor import peer as peers
from atoll.monitor.client import Attachment
from atoll.monitor.peer import Peer
from atoll.monitor.protocol import STDIN, STDOUT, WINDOW, control, frame
from atoll.monitor.relay import Relay


class Rig:
    def __init__(self):
        self.logged = bytearray()
        self.messages = []
        self.gone = []
        self.relay = Relay(
            Loop(),
            log=lambda stream, data: self.logged.extend(data),
            on_message=lambda peer, message: self.messages.append(message),
            on_gone=self.gone.append,
        )
        out, self.into = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(out, False)
        os.set_blocking(self.into, False)
        self.relay.add_output(STDOUT, out)

    def attach(self, **flags):
        ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
        peer = Peer(theirs)
        peer.known = True
        for name, value in {"output": True, "input": True, **flags}.items():
            setattr(peer, name, value)
        self.relay.add_peer(peer)
        return Attachment(ours), peer

    def open_input(self):
        source, into = os.pipe2(os.O_CLOEXEC)
        os.set_blocking(into, False)
        self.relay.set_input(into)
        return source

    def turns(self, count=50):
        for _ in range(count):
            self.relay.turn(0)


@pytest.fixture
def rig():
    return Rig()


def _write(fd, data):
    try:
        return os.write(fd, data)
    except BlockingIOError:
        return 0


def test_output_goes_to_the_log_and_every_peer(rig):
    one, _ = rig.attach()
    two, _ = rig.attach()
    quiet, _ = rig.attach(output=False)
    os.write(rig.into, b"hello")
    os.close(rig.into)
    rig.turns()
    assert bytes(rig.logged) == b"hello"
    assert one.read() == two.read() == (STDOUT, b"hello")
    assert not rig.relay.open_outputs
    rig.relay.remove_peer(rig.relay.peers[-1])
    assert quiet.read() is None


def test_a_peer_that_does_not_read_holds_up_the_output_within_bounds_and_lets_it_go_on(rig):
    blocked, peer = rig.attach()
    written = 0
    for _ in range(400):
        written += _write(rig.into, b"x" * 65536)
        rig.turns(3)
    # What waits: the peer's queue and one read, the socket, the pipe.
    assert peer.blocked
    assert written < 2 << 20
    assert len(peer._out) < peers.HIGH + 2 * 65536 + 100
    got = 0
    while got < len(rig.logged):
        rig.turns(3)
        got += sum(len(data) for _, data in blocked.receive())
    assert not peer.blocked
    _write(rig.into, b"more")
    rig.turns()
    assert rig.logged.endswith(b"more")


def test_the_output_flows_again_when_the_blocked_peer_leaves(rig):
    blocked, _ = rig.attach()
    for _ in range(100):
        _write(rig.into, b"x" * 65536)
        rig.turns(3)
    blocked.close()
    before = len(rig.logged)
    for _ in range(20):
        _write(rig.into, b"x" * 65536)
        rig.turns(3)
    assert len(rig.logged) > before + (1 << 20)
    assert not rig.relay.peers
    assert len(rig.gone) == 1


def test_without_peers_it_never_stops(rig):
    for _ in range(200):
        _write(rig.into, b"x" * 65536)
        rig.turns(2)
    assert len(rig.logged) >= 10 << 20


def test_a_held_output_does_not_spin(rig):
    rig.attach()
    for _ in range(100):
        _write(rig.into, b"x" * 65536)
        rig.turns(3)
    os.close(rig.into)  # POLLHUP, which poll reports unasked
    start = time.process_time()
    rig.relay.turn(0.2)
    assert time.process_time() - start < 0.1


def test_input_arrives_whole_and_gives_its_window_back(rig):
    source = rig.open_input()
    client, _ = rig.attach()
    sent = os.urandom(1 << 20)
    got, position = b"", 0
    while len(got) < len(sent):
        room = min(client.room, len(sent) - position, 32768)
        client.send_stdin(sent[position : position + room])
        position += room
        rig.turns(4)
        got += os.read(source, 1 << 16)
        rig.turns(2)
        if client.room < WINDOW:
            client.receive()
    assert got == sent
    client.close_stdin()
    rig.turns()
    assert rig.messages == [{"do": "close-stdin"}]


def test_input_ends_after_what_was_sent_before(rig):
    source = rig.open_input()
    client, _ = rig.attach()
    client.send_stdin(b"last words")
    rig.turns()
    rig.relay.close_input()
    assert os.read(source, 100) == b"last words"
    assert os.read(source, 100) == b""


def test_control_passes_input_that_nobody_reads(rig):
    rig.open_input()
    client, _ = rig.attach()
    for _ in range(WINDOW // 32768):
        client.send_stdin(b"x" * 32768)
        rig.turns(4)
    assert client.room == 0 or client.receive() == []
    client.signal(2)
    rig.turns(200)
    assert rig.messages == [{"do": "signal", "signal": 2}]


def test_input_beyond_the_window_drops_the_peer(rig):
    rig.open_input()
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    peer = Peer(theirs)
    peer.known = peer.input = True
    rig.relay.add_peer(peer)
    ours.setblocking(False)
    for _ in range(100):
        try:
            ours.send(frame(STDIN, b"x" * 65536))
        except OSError:
            pass
        if rig.gone:
            break
        rig.turns(3)
    assert rig.gone == [peer]


def test_input_after_the_process_closed_it_is_swallowed_and_credited(rig):
    source = rig.open_input()
    client, _ = rig.attach()
    os.close(source)
    client.send_stdin(b"x" * 1000)
    rig.turns()
    client.send_stdin(b"y" * 1000)
    rig.turns()
    while client.room < WINDOW:
        client.receive()
    assert rig.relay.peers


def test_many_small_frames_do_not_become_many_objects(rig):
    rig.open_input()
    client, _ = rig.attach()
    client.send_stdin(b"x" * 100000)  # fills the pipe
    rig.turns()
    for _ in range(2000):
        client.send_stdin(b"y")
        rig.relay.turn(0)
    assert len(rig.relay._pending) < 5


def test_a_peer_that_asks_and_never_reads_is_dropped(rig):
    ours, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    peer = Peer(theirs)
    peer.known = True
    rig.relay.add_peer(peer)
    for _ in range(200):
        rig.relay.tell(peer, {"is": "warning", "error": "x" * 60000})
        rig.turns(2)
    assert rig.gone == [peer]
    ours.close()


@settings(max_examples=60)
@given(st.lists(st.one_of(st.binary(max_size=200), st.just(control({"do": "resize"}))), max_size=10))
def test_no_bytes_of_a_peer_raise_or_touch_another(chunks):
    rig = Rig()
    good, _ = rig.attach()
    bad, theirs = socketpair(AF_UNIX, SOCK_STREAM)
    peer = Peer(theirs)
    peer.known = True
    rig.relay.add_peer(peer)
    for chunk in chunks:
        try:
            bad.send(chunk)
        except OSError:
            break
        rig.turns(2)
    bad.close()
    os.write(rig.into, b"still here")
    rig.turns()
    assert good.read() == (STDOUT, b"still here")
    assert rig.gone == [peer]
    good.close()
    rig.turns()
    os.close(rig.into)
    rig.turns()


def test_lifted_backpressure_takes_what_is_left(rig):
    rig.attach()
    for _ in range(100):
        _write(rig.into, b"x" * 65536)
        rig.turns(3)
    os.close(rig.into)
    rig.relay.lift()
    rig.turns(20)
    assert not rig.relay.open_outputs
