"""The table of connections full, which is the whole host's: what a container's flood does, and what is said of it.

The limit of the table is the kernel's first network namespace's to set: so only here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from kit.command import Atoll

pytestmark = pytest.mark.skipif(os.environ["ATOLL_TEST_HOST"] == "uml", reason="a kernel without nftables")
SYSCTL = Path("/proc/sys/net/netfilter/nf_conntrack_max")
COUNT = Path("/proc/sys/net/netfilter/nf_conntrack_count")
MOST = 8192
# Each port of each of a few addresses that nobody answers for: as many connections as are wanted.
FLOOD = """
import socket, sys
for at in range(int(sys.argv[1])):
    if at % 1000 == 0:
        out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        out.sendto(b"x", ("198.51.100.2", 1000 + at % 1000))
    except OSError:
        pass
"""
ANSWER = """
import socket
one = socket.create_server(("", 80), backlog=100)
while True:
    asked = one.accept()[0]
    asked.sendall(b"well")
    asked.close()
"""
OPEN = "import socket, sys; print(socket.create_connection((sys.argv[1], int(sys.argv[2])), 60).recv(10).decode())"


@pytest.fixture(scope="module")
def world() -> Iterator[None]:
    """A place beyond the host, 198.51.100.2, that takes what it is sent, and a small table."""
    subprocess.run(["ip", "netns", "add", "far"], check=True)
    for words in (
        "link add up0 type veth peer name up1 netns far",
        "addr add 198.51.100.1/24 dev up0",
        "link set up0 up",
        "-n far addr add 198.51.100.2/24 dev up1",
        "-n far link set up1 up",
        "-n far link set lo up",
        "route add default via 198.51.100.2",
    ):
        subprocess.run(["ip", *words.split()], check=True)
    server = subprocess.Popen(["ip", "netns", "exec", "far", sys.executable, "-c", ANSWER])
    subprocess.run(["modprobe", "nf_conntrack"], check=True)
    before = SYSCTL.read_text()
    SYSCTL.write_text(str(MOST))
    yield
    SYSCTL.write_text(before)
    server.kill()
    server.wait()
    subprocess.run(["ip", "link", "del", "up0"], check=True)
    subprocess.run(["ip", "netns", "del", "far"], check=True)


def test_a_flood_does_not_take_the_host_off_the_network(world: None, atoll: Atoll):
    subprocess.run(["nft", "delete", "table", "inet", "atoll"], capture_output=True)
    subprocess.run(["nft", "delete", "table", "bridge", "atoll"], capture_output=True)
    for name in ("bad", "good"):
        atoll.good("run", "-d", "--name", name, "--network", "bridge", "host", "sleep", "3600")
    atoll.good("exec", "bad", "python3", "-c", FLOOD, str(2 * MOST))
    share = MOST // 4
    taken = int(COUNT.read_text())
    assert share * 0.7 < taken < share * 1.4
    assert atoll.good("exec", "good", "python3", "-c", OPEN, "198.51.100.2", "80") == "well"
    own = subprocess.run([sys.executable, "-c", OPEN, "198.51.100.2", "80"], capture_output=True, text=True)
    assert own.stdout == "well\n", own.stderr
    shown = json.loads(atoll.good("network", "inspect", "bridge"))[0]["Connections"]
    assert shown["most"] == MOST
    assert shown["perContainer"] == share
    assert "warning" not in shown


def test_without_the_bound_it_would_and_it_is_said(world: None, atoll: Atoll):
    """The rules taken out, as on a kernel that lacks what they are made of: so it is they that help."""
    atoll.good("run", "-d", "--name", "bad", "--network", "bridge", "host", "sleep", "3600")
    for chain in ("forward", "input"):
        listed = subprocess.run(
            ["nft", "-a", "list", "chain", "inet", "atoll", chain], capture_output=True, text=True
        )
        for line in listed.stdout.splitlines():
            if "more connections than it may have" in line:
                handle = line.rpartition(" ")[2]
                subprocess.run(["nft", "delete", "rule", "inet", "atoll", chain, "handle", handle], check=True)
    stop = threading.Event()

    def flood() -> None:
        while not stop.is_set():
            atoll("exec", "bad", "python3", "-c", FLOOD, str(2 * MOST))

    flooding = threading.Thread(target=flood)
    flooding.start()
    try:
        while int(COUNT.read_text()) < MOST * 0.9:
            assert flooding.is_alive()
        line = json.loads(_line(atoll.good("doctor", "--format", "json"), "connections"))
        assert line["Outcome"] == "warning"
        assert line["Fix"] == f"sysctl -w net.netfilter.nf_conntrack_max={2 * MOST}"
        assert "warning" in json.loads(atoll.good("network", "inspect", "bridge"))[0]["Connections"]
    finally:
        stop.set()
        flooding.join()
    said = subprocess.run(["dmesg"], capture_output=True, text=True, check=True).stdout
    assert "nf_conntrack: table full, dropping packet" in said


def _line(text: str, title: str) -> str:
    return next(line for line in text.splitlines() if f'"{title}"' in line)
