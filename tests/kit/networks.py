"""Root's networks in a test: the fixtures, and containers that serve, fetch and tell where they are.

Holds: `outside`, `net` (fixtures that tests/integration/conftest.py takes up), `web`, `get`, `fetch`, `settings`,
`kill_now_and_then`, `clear`.
Does not hold: the host outside (`outside.py`), a machine at a tap (`guest.py`).
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kit import outside as world
from kit import processes
from kit.command import Atoll
from kit.outside import Outside, ip
from kit.sandbox import Sandbox
from kit.waiting import until

WEB = (
    "import http.server as h\n"
    "class H(h.BaseHTTPRequestHandler):\n"
    " def do_GET(self):\n"
    "  self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())\n"
    "class S(h.ThreadingHTTPServer):\n"
    " address_family = 10\n"
    "S(('::', 80), H).serve_forever()"
)
GET = "import urllib.request as u, sys\nprint(u.urlopen(sys.argv[1], timeout=3).read().decode())"


@pytest.fixture(scope="module")
def untouched(sandbox: Sandbox) -> Iterator[None]:
    """The machine itself, outside the corner: its links, addresses, routes, rules, tables and sysctls stay."""
    before = world.state(sandbox.run_outside)
    yield
    assert world.state(sandbox.run_outside) == before


@pytest.fixture
def outside(sandbox: Sandbox, untouched: None, leak_check: None) -> Iterator[Outside]:
    """A host beyond the corner's uplink. Set up before the Atolls, so that it goes after them."""
    with Outside(sandbox.scratch) as host:
        yield host


@pytest.fixture
def net(outside: Outside, fresh: Callable[..., Atoll]) -> Iterator[Atoll]:
    """Root's Atoll with that outside; afterwards no bridge, no table, no helper is left, no address, route, rule."""
    one = fresh()
    before = _corner()
    yield one
    one.good("rm", "-f", *one.all()) if one.all() else None
    one.good("network", "prune", "-f", "--all")
    assert world.settled() == []
    assert one.good("system", "check") == "nothing to repair"
    tables = subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout
    assert "atoll" not in tables
    deadline = time.monotonic() + 8  # links go with their namespaces, which the kernel takes its time over
    while left := [line for line in ip("-o", "link").splitlines() if ": br-" in line or ": at" in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)
    after = _corner()
    assert after == before, (before, after)


def kill_now_and_then(net: Atoll, rng: random.Random, *words: str, times: int, longest: float) -> None:
    """Give a command so many times, each ended by SIGKILL within `longest` seconds, and clear what that left."""
    for _ in range(times):
        child = net.popen(*words)
        time.sleep(rng.uniform(0.02, longest))
        child.kill()
        child.communicate()
        processes.KEEP.discard(child.pid)
    clear(net)


def clear(net: Atoll) -> None:
    """Remove every container, and repair what killed commands left."""
    until(lambda: not net.all() or (net("rm", "-f", *net.all()) and not net.all()))
    net.good("system", "check", "--repair")


def _corner() -> dict[str, object]:
    """Addresses, routes and rules of the corner itself. That it forwards is not taken back: others may rely on it."""
    here = world.state(subprocess.run, text=True)
    found: dict[str, object] = {}
    for name in ("addresses", "routes", "routes6", "rules", "rules6"):
        lines = here[name]
        assert isinstance(lines, list)
        # What a link gives itself comes a moment after it, and so does its carrier.
        kept = [line for line in lines if "fe80:" not in line and "multicast" not in line]
        found[name] = [line.replace(" linkdown", "") for line in kept]
    return found


def web(net: Atoll, *flags: str) -> str:
    """A web server that says whom it sees."""
    name = net.good("run", "-d", *flags, "host", "python3", "-c", WEB)
    deadline = time.monotonic() + 10
    while "00:50" not in net.good("exec", name, "cat", "/proc/net/tcp6").replace(":0050 ", ":00:50 "):
        assert time.monotonic() < deadline, net("logs", name)
        time.sleep(0.05)
    return name


def get(url: str) -> str:
    """What is there, from the corner itself; "" for nothing."""
    return subprocess.run([sys.executable, "-c", GET, url], capture_output=True, text=True).stdout.strip()


def fetch(net: Atoll, url: str, *flags: str) -> str:
    """The same from a container."""
    return net("run", "--rm", *flags, "host", "python3", "-c", GET, url).out.strip()


def settings(net: Atoll, name: str, network: str) -> dict[str, Any]:
    """A container's place on a network, as `inspect` has it."""
    found = net.inspect(name)["NetworkSettings"]["Networks"][network]  # type: ignore[index]
    assert isinstance(found, dict)
    return found


STEPS = tuple(
    [
        (f"{when}:{point}", count)
        for point, most in (
            ("addresses", 1), ("ports", 1), ("bridge", 2), ("attach", 2), ("rules", 4), ("links", 6), ("tell", 1),
            ("withdraw", 2), ("forget", 2), ("rows", 1),
        )
        for when in ("before", "after")
        for count in range(1, most + 1)
    ]
)  # fmt: skip
"""Points of a command that puts a container on two networks with a port, and takes it off again."""


def kill_at(net: Atoll, step: tuple[str, int], *words: str) -> None:
    """Run a command that ends by SIGKILL at a step (`killed.py`), if it gets there."""
    path = os.path.join(net.folder, "killed")
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "killed.py")
    source = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(program))), "src")
    with open(path, "w") as stream:
        stream.write(
            f'#!/bin/sh\nPYTHONPATH={source} exec {sys.executable} {program} {step[0]} {step[1]} --cli "$@"\n'
        )
    os.chmod(path, 0o755)
    net(*words, program=path)
