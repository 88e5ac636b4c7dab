"""Where the kernel's own limits are: the table of connections, the ports of a bridge. What is said, what goes on."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atoll.network import firewall
from atoll.network.bridge import Host
from kit import outside as world
from kit import processes, system
from kit.command import Atoll
from kit.outside import Outside

# To as many ports of a place as are wanted, by UDP: each makes a connection in the kernel's table.
FLOOD = (
    "import socket, sys\n"
    "for at in range(int(sys.argv[2])):\n"
    " if at % 20000 == 0: out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n"
    " try: out.sendto(b'x', (sys.argv[1], 1000 + at % 20000))\n"
    " except OSError: pass"
)
REACH = (
    "import socket, sys\n"
    "out = socket.socket(); out.settimeout(20)\n"
    "print(out.connect_ex((sys.argv[1], int(sys.argv[2]))))"
)
AGAIN = f"{FLOOD}\nprint(any(socket.socket().connect_ex((sys.argv[1], 80)) for _ in range(60)))"
COUNT = "/proc/sys/net/netfilter/nf_conntrack_count"


def test_a_flood_of_connections_stays_with_its_container(net: Atoll, outside: Outside) -> None:
    """One container opens as many as it can: it has its share, and everybody else goes on."""
    host = Host.here()
    host.commit(firewall.everything(2048))  # of which every second one is counted
    host.close()
    net.good("run", "-d", "--name", "bad", "--network", "bridge", "host", "sleep", "600")
    net.good("run", "-d", "--name", "good", "--network", "bridge", "host", "sleep", "600")
    before = int(Path(COUNT).read_text())
    net.good("exec", "bad", "python3", "-c", FLOOD, world.THERE, "20000")
    taken = int(Path(COUNT).read_text()) - before
    # Five times the deviation of a sum of chances to either side, and what passes while nobody is counted.
    assert 1500 < taken < 3000
    # Refused as what a policy closes, at one of the next that are counted.
    assert net.good("exec", "bad", "python3", "-c", AGAIN, world.THERE, "20000") == "True"
    assert net.good("exec", "good", "python3", "-c", REACH, world.THERE, "80") == "0"
    own = subprocess.run([sys.executable, "-c", REACH, world.THERE, "80"], capture_output=True, text=True)
    assert own.stdout == "0\n"
    assert int(net.good("network", "inspect", "-f", "{{.Connections.open}}", "bridge")) > 1000


@pytest.fixture
def apart(fresh: Callable[..., Atoll]) -> Iterator[Callable[..., object]]:
    """A function that runs commands in a network namespace of their own, which goes with all that is in it."""
    holder = subprocess.Popen(
        ["unshare", "-n", "sh", "-c", "ip link set lo up; echo; exec sleep 600"], stdout=subprocess.PIPE
    )
    processes.KEEP.add(holder.pid)
    assert holder.stdout is not None
    holder.stdout.readline()
    ns = os.open(f"/proc/{holder.pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    atoll = fresh()

    def enter() -> None:
        system.setns(ns, system.CLONE_NEWNET)

    def run(*words: str, ip: str = "") -> object:
        if ip:
            return subprocess.run(["ip", "-batch", "-"], input=ip, text=True, check=True, preexec_fn=enter)
        return atoll(*words, before=enter)

    yield run
    run("rm", "-f", "one")
    os.close(ns)
    holder.kill()
    holder.wait()
    holder.stdout.close()
    processes.KEEP.discard(holder.pid)


@pytest.mark.full
def test_a_bridge_is_full(apart: Callable[..., object]) -> None:
    """The thousand and twenty-fourth port: said in words, nothing kept; once one has gone the next one is well."""
    apart("network", "create", "-o", "com.docker.network.bridge.name=brmany", "many").good()
    apart("run", "-d", "--name", "one", "--network", "many", "host", "sleep", "600").good()
    apart(ip="".join(f"link add p{n} type veth peer name q{n}\nlink set p{n} master brmany\n" for n in range(1022)))
    for _ in range(2):
        said = apart("run", "--rm", "--network", "many", "host", "true")
        said.failed(125, "brmany has 1023 ports", "a second network")
    assert apart("system", "check").good() == "nothing to repair"
    apart("network", "create", "second").good()
    apart("run", "--rm", "--network", "second", "host", "true").good()
    apart(ip="link del p7\n")
    apart("run", "--rm", "--network", "many", "host", "true").good()
