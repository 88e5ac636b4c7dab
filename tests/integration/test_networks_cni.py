"""Networks of CNI plug-ins, with Debian's: what they make is there, and what they made is gone.

bridge, host-local, portmap, bandwidth, tuning, ptp and loopback in the corner's network namespace; a plug-in of ours
(`kit/cni_plugin.py`) misbehaves in every way that a program can.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable

import pytest

from kit import outside as world
from kit.command import Atoll
from kit.networks import fetch, get, kill_now_and_then, settings, web
from kit.outside import Outside, ip
from kit.sandbox import Sandbox

PLUGINS = "/usr/lib/cni"
SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kit", "cni_plugin.py")
Write = Callable[..., None]


@pytest.fixture
def conf(net: Atoll, sandbox: Sandbox) -> Write:
    """`conf(name, *plugins)` describes a network; `host` is host-local with its files in the scratch."""
    folder, programs = f"{net.folder}/cni", f"{net.folder}/cni-bin"
    os.mkdir(folder)
    os.mkdir(programs)
    with open(net.config, "w") as stream:
        stream.write(f'[network]\ncni_config = ["{folder}"]\ncni_plugins = ["{programs}", "{PLUGINS}"]\n')
    with open(f"{programs}/odd", "w") as stream:
        stream.write(f"#!{sys.executable} -I\n" + open(SCRIPT).read())
    os.chmod(f"{programs}/odd", 0o755)

    def write(name: str, *plugins: dict[str, object], version: str = "1.0.0", **more: object) -> None:
        with open(f"{folder}/{name}.conflist", "w") as stream:
            json.dump({"cniVersion": version, "name": name, "plugins": plugins, **more}, stream)

    return write


def host_local(net: Atoll, *subnets: str) -> dict[str, object]:
    routes = [{"dst": "::/0" if ":" in one else "0.0.0.0/0"} for one in subnets]
    ranges = [[{"subnet": one}] for one in subnets]
    return {"type": "host-local", "ranges": ranges, "routes": routes, "dataDir": f"{net.folder}/ipam"}


def leases(net: Atoll) -> list[str]:
    """Addresses that host-local holds."""
    return [
        name
        for _, _, names in os.walk(f"{net.folder}/ipam")
        for name in names
        if not name.startswith(("lock", "last_reserved"))
    ]


def without_links(kind: str = "veth") -> None:
    """No link of a container is left; the kernel takes a moment."""
    deadline = time.monotonic() + 5
    while left := [line for line in ip("-o", "link", "show", "type", kind).splitlines() if "up0" not in line]:
        assert time.monotonic() < deadline, left
        time.sleep(0.05)


def test_a_chain_of_plug_ins(net: Atoll, conf: Write, outside: Outside) -> None:
    """bridge, portmap, bandwidth, tuning: what they were asked for is so, and all of it goes."""
    conf(
        "chain",
        {
            "type": "bridge", "bridge": "cni9", "isGateway": True, "ipMasq": True, "hairpinMode": True,
            "ipam": host_local(net, "10.97.0.0/24"),
            "dns": {"nameservers": ["10.97.0.1"], "search": ["cni.example"]},
            "capabilities": {"ips": True, "mac": True},
        },
        {"type": "portmap", "capabilities": {"portMappings": True}, "snat": True},
        {"type": "bandwidth", "capabilities": {"bandwidth": True}},
        {"type": "tuning", "sysctl": {"net.core.somaxconn": "500"}},
        disableCheck=True,  # portmap 1.1 looks for rules of IPv6 where there are none
    )  # fmt: skip
    assert json.loads(net.good("network", "inspect", "cni:chain"))[0]["Driver"] == "cni"
    rates = ("--network-rate-in", "1m", "--network-rate-out", "2m")
    fixed = ("--ip", "10.97.0.77", "--mac-address", "02:00:00:00:00:77")
    web(net, "--name", "web", "--network", "cni:chain", "-p", "0.0.0.0:8080:80", *fixed, *rates)
    assert net.good("exec", "web", "cat", "/proc/sys/net/core/somaxconn") == "500"
    own = settings(net, "web", "cni:chain")
    assert (own["IPAddress"], own["IPPrefixLen"], own["Gateway"]) == ("10.97.0.77", 24, "10.97.0.1")
    assert own["MacAddress"] == "02:00:00:00:00:77"
    files = net.good("exec", "web", "cat", "/etc/resolv.conf", "/etc/hosts")
    assert "nameserver 10.97.0.1\nsearch cni.example" in files
    assert "10.97.0.77\tweb" in files or "10.97.0.77\t" in files
    # It is reached by its port from here and from outside, and by a neighbour of another run.
    assert get(f"http://{world.HERE}:8080/")
    assert outside.get(world.HERE, 8080)
    assert fetch(net, "http://10.97.0.77/", "--network", "cni:chain")
    taken = net("run", "--rm", "--network", "bridge", "-p", "8080:80", "host", "true")
    assert "port is already allocated" in taken.err
    shown = subprocess.run(["tc", "qdisc"], capture_output=True, text=True, check=True).stdout
    assert "tbf" in shown
    assert net.good("system", "check") == "nothing to repair"
    net.good("rm", "-f", "web")
    assert leases(net) == []
    without_links()
    rules = subprocess.run(["iptables-save", "-t", "nat"], capture_output=True, text=True).stdout
    assert "10.97.0.77" not in rules
    ip("link", "del", "cni9")
    assert net("network", "rm", "cni:chain").code == 1


def test_older_versions(net: Atoll, conf: Write, sample: Callable[[list[str], int], list[str]]) -> None:
    """The same by ptp, whose answer looks otherwise in each."""
    for version in sample(["0.2.0", "0.3.1", "0.4.0", "1.0.0"], 2):
        _old(net, conf, version)


def _old(net: Atoll, conf: Write, version: str) -> None:
    ipam = host_local(net, "10.96.0.0/24", *(("fd96::/64",) if version > "0.2.0" else ()))
    conf("wire", {"type": "ptp", "ipMasq": True, "ipam": ipam}, version=version)
    said = net.good("run", "--rm", "--network", "cni:wire", "host", "ip", "-o", "addr", "show", "eth0")
    assert "inet 10.96.0." in said
    assert ("inet6 fd96::" in said) == (version > "0.2.0")
    assert leases(net) == []
    without_links()


def test_a_network_more(net: Atoll, conf: Write) -> None:
    """Beside one of ours, connected and disconnected while the container runs; what cannot be done is said."""
    conf("one", {"type": "bridge", "bridge": "cni8", "ipam": host_local(net, "10.95.0.0/24")})
    net.good("network", "create", "app")
    net.good("run", "-d", "--name", "box", "--network", "app", "host", "sleep", "60")
    net.good("network", "connect", "cni:one", "box")
    assert "10.95.0.2/24" in net.good("exec", "box", "ip", "-o", "addr", "show", "eth1")
    assert "10.95.0.2" in net.good("exec", "box", "cat", "/etc/hosts")
    assert '"IPv4Address": "10.95.0.2/24"' in net.good("network", "inspect", "cni:one")
    # CHECK says what somebody broke.
    assert net.good("system", "check") == "nothing to repair"
    inside = ["nsenter", "-t", str(net.state("box")["Pid"]), "-n"]
    subprocess.run([*inside, "ip", "addr", "del", "10.95.0.2/24", "dev", "eth1"], check=True)
    assert "on cni:one: CNI plug-in bridge, CHECK" in net("system", "check").out
    net.good("network", "disconnect", "cni:one", "box")
    assert "eth1" not in net.good("exec", "box", "ip", "-o", "link")
    assert leases(net) == []
    for flags, words in (
        (("-p", "80:80"), "cannot publish ports"),
        (("--network-rate-in", "1m"), "cannot limit rates"),
        (("--egress", "none"), "--egress is not enforced"),
        (("--ip", "10.95.0.200"), ""),
    ):
        said = net("run", "--rm", "--network", "cni:one", *flags, "host", "true")
        assert (said.code, words in said.err) == (125 if words else 0, True), said
    assert "no CNI network nothing" in net("run", "--rm", "--network", "cni:nothing", "host", "true").err
    net.good("rm", "-f", "box")
    ip("link", "del", "cni8")


HOSTILE = {
    "fail": "ADD: as it pleases; more of it",
    "words": "only on standard error",
    "flood": "printed more than",
    "garbage": "this is not JSON",
    "deep": "this is not JSON",
    "list": "expected an object",
    "address": "expected an IP address",
    "newline": "expected",
    "crash": "exit code -11",
    "slow": "did not end within",
    "closed": "did not end within",
    "orphan": "",
}


def test_hostile_plug_ins(net: Atoll, conf: Write) -> None:
    """The second of a chain: the first one's work is undone, the container does not start, nothing of it is left."""
    first = {"type": "bridge", "bridge": "cni7", "ipam": host_local(net, "10.94.0.0/24")}
    with open(net.config, "a") as stream:
        stream.write("cni_timeout = 1\n")
    for how, words in HOSTILE.items():
        conf("odd", first, {"type": "odd", "how": how})
        said = net("run", "--rm", "--network", "cni:odd", "host", "true")
        assert (said.code, words in said.err) == (125 if words else 0, True), (how, said)
        assert (leases(net), net.all()) == ([], []), how
    without_links()
    ip("link", "del", "cni7")


def test_a_del_that_fails(net: Atoll, conf: Write) -> None:
    """It is known still, said, tried again by the next command, and can be forgotten."""
    flag = f"{net.folder}/broken"
    first = {"type": "bridge", "bridge": "cni6", "ipam": host_local(net, "10.93.0.0/24")}
    conf("odd", first, {"type": "odd", "how": "del", "flag": flag})
    net.good("run", "-d", "--name", "box", "--network", "cni:odd", "host", "sleep", "60")
    open(flag, "w").close()
    said = net("rm", "-f", "box")
    assert (said.code, "DEL: not now" in said.err) == (1, True), said
    assert len(leases(net)) == 1
    os.unlink(flag)
    deadline = time.monotonic() + 15  # a try of its monitor's may be under way
    while leases(net):
        assert time.monotonic() < deadline
        net("system", "check", "--repair")
        time.sleep(0.1)
    net("rm", "-f", "box")
    ip("link", "del", "cni6")


def test_gc(net: Atoll, conf: Write) -> None:
    """Those that live are on the list; a version that does not know the verb is refused by name."""
    seen = f"{net.folder}/seen"
    conf("odd", {"type": "odd", "how": "gc", "flag": seen}, version="1.1.0")
    name = net.good("run", "-d", "--network", "cni:odd", "host", "sleep", "60")
    net.good("network", "gc", "cni:odd")
    with open(seen) as stream:
        assert json.load(stream) == [{"containerID": name, "ifname": "eth0"}]
    conf("odd", {"type": "odd", "how": "gc", "flag": seen}, version="1.0.0")
    assert "knows no GC" in net("network", "gc", "cni:odd").err


def test_a_killed_command(net: Atoll, conf: Write, rng: random.Random, full: bool) -> None:
    """SIGKILL at any moment of ADD: the next command undoes it."""
    conf("one", {"type": "bridge", "bridge": "cni5", "ipam": host_local(net, "10.92.0.0/24")})
    words = ("run", "--rm", "--network", "cni:one", "host", "true")
    kill_now_and_then(net, rng, *words, times=20 if full else 3, longest=0.4)
    assert leases(net) == []
    without_links()
    net.good("run", "--rm", "--network", "cni:one", "host", "true")
    assert leases(net) == []
    without_links()
    ip("link", "del", "cni5")
