"""The program of the host outside (`kit/outside.py`): names, a web server, and ports that say who they are.

53 udp    the names it is given; any other is NXDOMAIN
80, 443   answer the first bytes with "<own address> sees <peer>", as HTTP where it was HTTP
5432      the same for anything
udp 443   echoes
"""

from __future__ import annotations

import json
import socket
import socketserver
import struct
import subprocess
import sys
import threading

ADDRESSES = ("198.51.100.1", "198.51.100.2", "198.51.100.3")


def ip(*words: str) -> None:
    """ip(8)."""
    subprocess.run(["ip", *words], check=True)


class Service(socketserver.BaseRequestHandler):
    """Says who sees whom."""

    def handle(self) -> None:
        self.request.settimeout(3)
        try:
            first = self.request.recv(4096)
            own = self.request.getsockname()[0].removeprefix("::ffff:")
            peer = self.client_address[0].removeprefix("::ffff:")
            said = f"{own} sees {peer}"
            if first[:4] in (b"GET ", b"HEAD", b"POST"):
                said = f"HTTP/1.1 200 OK\r\nContent-Length: {len(said)}\r\nConnection: close\r\n\r\n{said}"
            self.request.sendall(said.encode())
        except OSError:
            return


class Server(socketserver.ThreadingTCPServer):
    """Dual stack."""

    address_family = socket.AF_INET6
    allow_reuse_address = True
    daemon_threads = True


def names(known: dict[str, list[str]]) -> None:
    """A name server of A and AAAA records with a TTL of one second."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", 53))
    while True:
        data, peer = sock.recvfrom(4096)
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        kind = struct.unpack_from(">H", data, at + 1)[0]
        found = known.get(".".join(labels).lower())
        records = b""
        count = 0
        for address in found or ():
            six = ":" in address
            if kind == (28 if six else 1):
                packed = socket.inet_pton(socket.AF_INET6 if six else socket.AF_INET, address)
                records += b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 1, len(packed)) + packed
                count += 1
        flags = 0x8180 | (0 if found else 3)
        sock.sendto(data[:2] + struct.pack(">5H", flags, 1, count, 0, 0) + data[12 : at + 5] + records, peer)


def echo() -> None:
    """UDP at 443, where QUIC would be."""
    sock = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
    sock.bind(("::", 443))
    while True:
        data, peer = sock.recvfrom(4096)
        sock.sendto(data, peer)


def main() -> None:
    """Until killed."""
    print("apart", flush=True)
    sys.stdin.readline()
    ip("link", "set", "lo", "up")
    ip("addr", "add", "203.0.113.2/24", "dev", "up1")
    ip("-6", "addr", "add", "2001:db8:7::2/64", "dev", "up1", "nodad")
    for address in ADDRESSES:
        ip("addr", "add", f"{address}/32", "dev", "up1")
    ip("link", "set", "up1", "up")
    servers = [Server(("::", port), Service) for port in (80, 443, 5432)]
    jobs = [server.serve_forever for server in servers]
    jobs += [lambda: names(json.loads(sys.argv[1])), echo]
    for job in jobs:
        threading.Thread(target=job, daemon=True).start()
    print("serving", flush=True)
    threading.Event().wait()


main()
