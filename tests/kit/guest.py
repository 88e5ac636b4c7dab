"""A machine on the other end of a tap, without a machine: a network namespace whose only link is fed with its frames.

Holds: `Guest` (a context manager; commands run in it). Does not hold: the program of its process (`guest_host.py`).
To the tap's side it is a guest: its MAC, its addresses, Linux's own stack behind them.

    … eth0 ──fwd── tapeth0 ═ descriptor ── this program ── descriptor ═ eth0 of the guest's namespace
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from types import TracebackType

from kit import processes

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "guest_host.py")


class Guest:
    """`tap` is a `network.tap.Tap`, taken with a vnet header; `mac` another than its own for one that lies."""

    def __init__(self, tap: object, *, mac: str = "") -> None:
        link = tap.link  # type: ignore[attr-defined]
        ways = [
            ("::/0" if one.gateway and len(one.gateway) == 16 else "0.0.0.0/0") for one in link.routes if not one.to
        ]
        self.fd = tap.fd  # type: ignore[attr-defined]
        self.wanted = {
            "mac": mac or link.mac_text,
            "mtu": link.mtu,
            "addresses": link.addresses_text,
            "gateways": list(zip(ways, link.gateways, strict=True)),
        }

    def __enter__(self) -> Guest:
        command = ["unshare", "-n", sys.executable, SCRIPT, str(self.fd), json.dumps(self.wanted)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, pass_fds=[self.fd])
        processes.KEEP.add(self.process.pid)
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "up\n"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()
        processes.KEEP.discard(self.process.pid)

    def run(self, *words: str, timeout: float = 20) -> subprocess.CompletedProcess[str]:
        """A command in the guest."""
        command = ["nsenter", "-t", str(self.process.pid), "-n", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)

    def python(self, code: str, *words: str) -> str:
        """What a program in the guest prints; its last line of complaint where it fails."""
        done = self.run(sys.executable, "-c", code, *words)
        return done.stdout.strip() or (done.stderr.strip().splitlines() or [""])[-1]
