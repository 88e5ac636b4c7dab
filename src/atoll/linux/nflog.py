"""Copies of packets that a rule logs to a group: nfnetlink_log (linux/netfilter/nfnetlink_log.h).

Holds: `Log`, a socket bound to one group. Does not hold: the rule (`nftables.log`), reading the packet.
"""

from __future__ import annotations

import struct
from _socket import AF_NETLINK, SOCK_CLOEXEC, SOCK_RAW, socket

from atoll.linux import netlink
from atoll.linux.netlink import NETLINK_NETFILTER, NLM_F_ACK, NLM_F_REQUEST, Message, attr

_SUBSYSTEM = 4 << 8
_PACKET, _CONFIG = 0, 1
_CFG_CMD, _CFG_MODE = 1, 2
_BIND, _COPY_PACKET = 1, 2
_PAYLOAD, _PREFIX = 9, 10


class Log:
    """The packets of one group, in this network namespace; one socket can have a group (EBUSY). Raises OSError."""

    def __init__(self, group: int, length: int = 128) -> None:
        self._socket = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER)
        try:
            self._ask(group, attr(_CFG_CMD, bytes((_BIND,))), "bind an nflog group")
            mode = attr(_CFG_MODE, struct.pack(">IBB", length, _COPY_PACKET, 0))
            self._ask(group, mode, "copy packets to an nflog group")
        except OSError:
            self._socket.close()
            raise
        self._socket.setblocking(False)

    def _ask(self, group: int, body: bytes, what: str) -> None:
        message = Message(_SUBSYSTEM | _CONFIG, 0, struct.pack(">BBH", 0, 0, group) + body, what)
        self._socket.send(message.encode(1, NLM_F_REQUEST | NLM_F_ACK))
        answer = self._socket.recv(4096)
        code = -int(struct.unpack_from("=i", answer, 16)[0])
        if code:
            raise OSError(code, "refused", what)

    def fileno(self) -> int:
        """For poll(2)."""
        return self._socket.fileno()

    def packets(self) -> list[tuple[str, bytes]]:
        """(prefix, the packet from its network header on) of those that are there. Raises OSError (ENOBUFS: some
        were lost)."""
        found = []
        try:
            data = self._socket.recv(1 << 16)
        except BlockingIOError:
            return []
        at = 0
        while at + 16 <= len(data):
            length, kind = struct.unpack_from("=IH", data, at)
            if length < 20:
                break
            if kind == _SUBSYSTEM | _PACKET:
                known = netlink.attributes(data[at + 20 : at + length])
                prefix = known.get(_PREFIX, b"").rstrip(b"\0").decode(errors="replace")
                found.append((prefix, known.get(_PAYLOAD, b"")))
            at += (length + 3) & ~3
        return found

    def close(self) -> None:
        """Give the group back."""
        self._socket.close()
