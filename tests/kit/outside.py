"""A world outside: a host in a network namespace of its own, behind a link of the corner's.

Holds: `Outside` (the link, the host, its services), `State` (what of this machine's network must be as before).
Does not hold: the services themselves (`outside_host.py`, which runs there).

    corner 203.0.113.1, 2001:db8:7::1  ── up0 ═ up1 ──  outside 203.0.113.2, 2001:db8:7::2; 198.51.100.1, .2, .3
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence

from kit import leaks, processes, system

HERE, THERE = "203.0.113.1", "203.0.113.2"
HERE6, THERE6 = "2001:db8:7::1", "2001:db8:7::2"
HOSTS = ("198.51.100.1", "198.51.100.2", "198.51.100.3")
NAMES = {
    "allowed.example": [HOSTS[0]],
    "www.allowed.example": [HOSTS[0]],
    "other.example": [HOSTS[1]],
    "same.example": [HOSTS[0]],
    "inside.example": ["10.83.0.1"],
    "mapped.example": ["::ffff:10.83.0.1"],
}


def ip(*words: str) -> str:
    """ip(8) in this network namespace."""
    return subprocess.run(["ip", *words], check=True, capture_output=True, text=True).stdout


class Outside:
    """The other host; a context manager."""

    def __init__(self, scratch: str) -> None:
        self.scratch = scratch

    def __enter__(self) -> Outside:
        script = os.path.join(os.path.dirname(os.path.abspath(__file__)), "outside_host.py")
        self.process = subprocess.Popen(
            ["unshare", "-n", sys.executable, script, json.dumps(NAMES)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        processes.KEEP.add(self.process.pid)
        assert self.process.stdout is not None
        assert self.process.stdin is not None
        assert self.process.stdout.readline() == "apart\n"
        ip("link", "add", "up0", "type", "veth", "peer", "name", "up1")
        ip("link", "set", "up1", "netns", str(self.process.pid))
        ip("addr", "add", f"{HERE}/24", "dev", "up0")
        ip("-6", "addr", "add", f"{HERE6}/64", "dev", "up0", "nodad")
        ip("link", "set", "up0", "up")
        ip("route", "add", "default", "via", THERE)
        self.process.stdin.write("linked\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "serving\n"
        self.resolv_conf = os.path.join(self.scratch, "outside-resolv.conf")
        with open(self.resolv_conf, "w") as stream:
            stream.write(f"nameserver {THERE}\n")
        system.mount(self.resolv_conf, "/etc/resolv.conf", flags=system.MS_BIND)
        return self

    def __exit__(self, *_: object) -> None:
        system.umount("/etc/resolv.conf")
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                stream.close()
        processes.KEEP.discard(self.process.pid)
        subprocess.run(["ip", "link", "del", "up0"], check=False, capture_output=True)
        subprocess.run(["ip", "route", "flush", "default"], check=False, capture_output=True)

    def run(self, *words: str, timeout: float = 10) -> subprocess.CompletedProcess[str]:
        """A command on that host."""
        command = ["nsenter", "-t", str(self.process.pid), "-n", *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout)

    def get(self, address: str, port: int) -> str:
        """What a service of ours says to that host; "" when it is refused or silent. It says the peer's address."""
        shown = f"[{address}]" if ":" in address else address
        code = (
            "import urllib.request as u, sys\n"
            "try: print(u.urlopen(sys.argv[1], timeout=2).read().decode())\n"
            "except OSError as e: print(end='')"
        )
        return self.run(sys.executable, "-c", code, f"http://{shown}:{port}/").stdout.strip()


def state(run: object, **how: object) -> dict[str, object]:
    """Links, addresses, routes, rules, tables and sysctls, as `run` (a runner of commands) sees them."""
    assert callable(run)
    found: dict[str, object] = {}
    commands: dict[str, Sequence[str]] = {
        "addresses": ["ip", "-o", "addr"],
        "routes": ["ip", "route"],
        "routes6": ["ip", "-6", "route"],
        "rules": ["ip", "rule"],
        "tables": ["nft", "-s", "list", "ruleset"],
        "rules6": ["ip", "-6", "rule"],
        "sysctls": ["sh", "-c", "grep -r '' /proc/sys/net/ipv4 /proc/sys/net/ipv6 2>/dev/null"],
    }
    for name, command in commands.items():
        text = run(command, capture_output=True, check=False, **how).stdout
        # Lifetimes run down; everything else is to stay.
        found[name] = sorted(line.split("valid_lft")[0] for line in text.splitlines())
    return found


def settled(seconds: float = 8.0) -> list[str]:
    """Helpers of networks that still run after so long: their titles."""
    deadline = time.monotonic() + seconds
    while True:
        processes.reap()
        found = [p.title for p in processes.descendants(os.getpid()) if p.title.startswith("atoll:[net")]
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.1)


__all__ = ["HOSTS", "NAMES", "Outside", "ip", "leaks", "settled", "state"]
