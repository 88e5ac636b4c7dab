"""Several networks of a container in a machine: from the beginning, and while it runs."""

from __future__ import annotations

import pytest

from atoll.guest import setup
from kit import vm
from kit.command import PATIENCE, Atoll
from kit.waiting import until

pytestmark = pytest.mark.timeout(600)
BOOT = 240.0 * PATIENCE
VM = ("--isolation", "vm", "--cap-add", "NET_ADMIN")
SERVE = "while :; do hostname | nc -l -p 80; done"


def _answers(net: Atoll, name: str, other: str, hostname: str = "") -> None:
    """`other` says its host name to `name`, in time."""
    until(lambda: net("exec", name, "nc", "-w", "5", other, "80").out.strip() == (hostname or other))


def _has(net: Atoll, name: str, network: str, interface: str) -> None:
    """The guest's interface has what the network gave the container."""
    mine = net.inspect(name)["NetworkSettings"]["Networks"][network]  # type: ignore[index]
    shown = net.good("exec", name, "ip", "address", "show", interface)
    assert f"inet {mine['IPAddress']}/{mine['IPPrefixLen']}" in shown, (network, shown)
    assert mine["MacAddress"] in shown
    assert "UP" in shown


def _speaks_to_nobody(net: Atoll) -> None:
    """What the guest sends while its interface is at no network is lost, as by a cable that ends nowhere: once, it
    was kept by the machine, and nothing that came after it was sent."""
    (spare,) = [word[:-1] for word in net.good("exec", "web", "ip", "link").split() if word.startswith(setup.SPARE)]
    net.good("exec", "web", "ip", "link", "set", spare, "up")
    net.good("exec", "web", "ip", "address", "add", "192.0.2.1/24", "dev", spare)
    assert net("exec", "web", "nc", "-w", "2", "192.0.2.2", "80").code != 0
    net.good("exec", "web", "ip", "address", "del", "192.0.2.1/24", "dev", spare)
    net.good("exec", "web", "ip", "link", "set", spare, "down")


def _fork(net: Atoll) -> None:
    """A copy is on the networks that the machine is on by now, with addresses of its own."""
    net.good("fork", "--name", "copy", "web", timeout=BOOT)
    seen = []
    for network, interface in (("front", "eth0"), ("side", "eth1")):
        for name in ("web", "copy"):
            _has(net, name, network, interface)
            mine = net.inspect(name)["NetworkSettings"]["Networks"][network]  # type: ignore[index]
            seen += [mine["IPAddress"], mine["MacAddress"]]
    assert len(set(seen)) == len(seen)
    for other in ("at-front", "at-side"):
        _answers(net, other, "copy", str(net.inspect("copy")["Id"])[:12])
    net.good("rm", "-f", "copy")


def test_networks_of_a_machine(net: Atoll, busybox: str, machine_store: str, full: bool) -> None:
    """Two from the beginning; one taken away and another given while it runs; what it has at its next start."""
    vm.give(net, machine_store)
    for network in ("front", "back", "side"):
        net.good("network", "create", network)
        peer = ("--name", f"at-{network}", "--hostname", f"at-{network}", "--network", network)
        net.good("run", "-d", *peer, busybox, "sh", "-c", SERVE)
    flags = ("--name", "web", "--hostname", "web", "--network", "front", "--network", "back")
    net.good("run", "-d", *VM, *flags, busybox, "sh", "-c", SERVE, timeout=BOOT)
    _has(net, "web", "front", "eth0")
    _has(net, "web", "back", "eth1")
    routes = net.good("exec", "web", "ip", "route")
    assert routes.count("default via") == 1
    for other in ("at-front", "at-back"):
        _answers(net, "web", other)
        _answers(net, other, "web")
    assert net("exec", "web", "nc", "-w", "1", "at-side", "80").code != 0
    net("network", "connect", "side", "web").failed(1, "on two networks at most", "network disconnect")
    assert "side" not in net.inspect("web")["NetworkSettings"]["Networks"]  # type: ignore[index]
    net.good("network", "disconnect", "back", "web")
    assert "eth1" not in net.good("exec", "web", "ip", "link")
    _speaks_to_nobody(net)
    net.good("network", "connect", "--alias", "other", "side", "web")
    _has(net, "web", "side", "eth1")
    _answers(net, "web", "at-side")
    until(lambda: net("exec", "at-side", "nc", "-w", "5", "other", "80").out.strip() == "web")
    side = net.inspect("web")["NetworkSettings"]["Networks"]["side"]["IPAddress"]  # type: ignore[index]
    assert side in net.good("exec", "web", "cat", "/etc/hosts")
    assert net("exec", "web", "nc", "-w", "1", "at-back", "80").code != 0
    _answers(net, "web", "at-front")
    if full:
        _fork(net)
        net.good("restart", "-t", "0", "web", timeout=BOOT)
        _has(net, "web", "front", "eth0")
        _has(net, "web", "side", "eth1")
        _answers(net, "at-side", "web")
    net.good("rm", "-f", "web", *[f"at-{one}" for one in ("front", "back", "side")])
    for network in ("front", "back", "side"):
        net.good("network", "rm", network)
    assert net("system", "check").code == 0
