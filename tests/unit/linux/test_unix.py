import socket

from atoll.linux import unix


def test_unread_until_it_is_read():
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        assert not unix.unread(ours.fileno())
        ours.send(b"x")
        assert unix.unread(ours.fileno())
        theirs.recv(1)
        assert not unix.unread(ours.fileno())
