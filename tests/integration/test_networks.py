"""Networks of root: links, addresses, names, ports, isolation, and that nothing of them is left.

The host outside, its names and services are `kit/outside.py`'s. Everything happens in the corner's network namespace.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import time

import pytest

from kit import egress, processes
from kit import outside as world
from kit.command import Atoll
from kit.networks import fetch, get, kill_now_and_then, web
from kit.outside import HOSTS, Outside, ip
from kit.waiting import until


def test_two_containers_and_the_world(net: Atoll, outside: Outside) -> None:
    net.good("network", "create", "--ipv6", "app")
    web(net, "--name", "web", "--network", "app", "--network-alias", "www", "-p", "8080:80")
    # By name, by alias, over both families; and backwards.
    code = (
        "import socket as s\n"
        "own = s.gethostbyname('web')\n"
        "print(own == s.gethostbyname('WWW'), own == s.gethostbyname('web.app'))\n"
        "print(len({f for f, *_ in s.getaddrinfo('web', 80, proto=6)}))\n"
        "print(s.gethostbyaddr(s.gethostbyname('web'))[0], s.gethostbyname('other.example'))"
    )
    said = net.good("run", "--rm", "--network", "app", "host", "python3", "-c", code)
    assert said.splitlines() == ["True True", "2", f"web.app {HOSTS[1]}"]
    assert fetch(net, "http://web/", "--network", "app")
    # From the host's loopback, both of them, from its own address, and from outside, whose address is kept.
    for address in ("127.0.0.1", "[::1]", world.HERE, f"[{world.HERE6}]"):
        assert get(f"http://{address}:8080/"), address
    assert outside.get(world.HERE, 8080) == f"::ffff:{world.THERE}"
    assert outside.get(world.HERE6, 8080) == world.THERE6
    # Outwards it is the host; the peer sees the host's address.
    assert fetch(net, f"http://{HOSTS[0]}/", "--network", "app") == f"{HOSTS[0]} sees {world.HERE}"
    # What is not published is not reached, not even by its own address.
    address = net.inspect("web")["NetworkSettings"]["Networks"]["app"]["IPAddress"]  # type: ignore[index]
    outside.run("ip", "route", "add", f"{address}/32", "via", world.HERE)
    assert outside.get(address, 80) == ""
    assert "8080" in net.good("port", "--explain", "web")


def test_networks_are_apart_and_internal_ones_closed(net: Atoll) -> None:
    net.good("network", "create", "one")
    net.good("network", "create", "two")
    net.good("network", "create", "--internal", "shut")
    web(net, "--name", "web", "--network", "one")
    address = net.inspect("web")["NetworkSettings"]["Networks"]["one"]["IPAddress"]  # type: ignore[index]
    assert fetch(net, f"http://{address}/", "--network", "one")
    assert not fetch(net, f"http://{address}/", "--network", "two")
    assert not fetch(net, f"http://{HOSTS[0]}/", "--network", "shut")
    assert not fetch(net, "http://169.254.169.254/", "--network", "one")
    net.good("network", "connect", "--alias", "w", "two", "web")
    assert fetch(net, "http://w/", "--network", "two")
    net.good("network", "disconnect", "two", "web")
    assert not fetch(net, "http://w/", "--network", "two")
    assert '"two"' not in json.dumps(net.inspect("web")["NetworkSettings"])
    assert net("network", "rm", "one").code == 1


def test_a_neighbour_cannot_be_played(net: Atoll) -> None:
    net.good("network", "create", "--ipv6", "app")
    web(net, "--name", "web", "--network", "app")
    net.good("run", "-d", "--name", "bad", "--privileged", "--network", "app", "host", "sleep", "60")
    settings = net.inspect("web")["NetworkSettings"]["Networks"]["app"]  # type: ignore[index]
    probe = (
        "import socket, sys\n"
        "s = socket.socket()\n"
        "s.settimeout(1)\n"
        "s.bind((sys.argv[2], 0))\n"
        "print(s.connect_ex((sys.argv[1], 80)))"
    )
    own = net.inspect("bad")["NetworkSettings"]["Networks"]["app"]["IPAddress"]  # type: ignore[index]
    assert net.good("exec", "bad", "python3", "-c", probe, settings["IPAddress"], own) == "0"
    # Another's address, another's MAC, an answer to ARP and to a neighbour solicitation that is not its own.
    stranger = settings["IPAddress"].rsplit(".", 1)[0] + ".200"
    net.good("exec", "bad", "ip", "addr", "add", f"{stranger}/24", "dev", "eth0")
    assert net.good("exec", "bad", "python3", "-c", probe, settings["IPAddress"], stranger) != "0"
    bridge = f"br-{settings['NetworkID'][:12]}"
    before = ip("neigh", "show", "dev", bridge)
    send = (
        "import socket, sys\n"
        "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
        "own = open('/sys/class/net/eth0/address').read().strip().replace(':', '')\n"
        "ip4 = socket.inet_aton(sys.argv[1]); me = bytes.fromhex(own)\n"
        "arp = bytes.fromhex('0001080006040002') + me + ip4 + b'\\xff' * 6 + ip4\n"
        "for n in range(3): s.send(b'\\xff' * 6 + me + b'\\x08\\x06' + arp)\n"
    )
    net.good("exec", "bad", "python3", "-c", send, settings["IPAddress"])
    time.sleep(0.3)
    after = ip("neigh", "show", "dev", bridge)
    mac = net.inspect("bad")["NetworkSettings"]["Networks"]["app"]["MacAddress"]  # type: ignore[index]
    assert f"{settings['IPAddress']} lladdr {mac}" not in after, (before, after)
    net.good("exec", "bad", "ip", "link", "set", "eth0", "address", settings["MacAddress"])
    assert net.good("exec", "bad", "python3", "-c", probe, settings["IPAddress"], own) != "0"


def test_ports_are_refused_before_anything_starts(net: Atoll) -> None:
    import socket

    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        taken = other.getsockname()[1]
        said = net("run", "--rm", "--network", "bridge", "-p", f"{taken}:80", "host", "touch", "/proc/self/x")
    assert said.code == 125
    assert "address already in use" in said.err
    web(net, "--name", "web", "--network", "bridge", "-p", "127.0.0.1::80", "-p", "9000-9010:80")
    said = net("run", "-d", "--name", "late", "--network", "bridge", "-p", "9000:80", "host", "true")
    assert said.code == 125
    assert "port is already allocated" in said.err
    lines = net.good("port", "web").splitlines()
    assert "80/tcp -> 0.0.0.0:9000" in lines
    ephemeral = next(line.rpartition(":")[2] for line in lines if "127.0.0.1" in line)
    assert get(f"http://127.0.0.1:{ephemeral}/")
    assert not get(f"http://{world.HERE}:{ephemeral}/")


def test_static_addresses_and_files(net: Atoll) -> None:
    ranges = ("--ip-range", "10.99.0.128/25", "--gateway", "10.99.0.9")
    net.good("network", "create", "--subnet", "10.99.0.0/24", *ranges, "n")
    flags = (
        "--network",
        "n",
        "--ip",
        "10.99.0.77",
        "--mac-address",
        "02:00:00:00:00:77",
        "--add-host",
        "db:10.1.2.3",
    )
    look = "ip -o addr show eth0; ip link show eth0; cat /etc/hosts /etc/resolv.conf; ip route"
    said = net.good("run", "--rm", "--hostname", "me", *flags, "host", "sh", "-c", look)
    assert "inet 10.99.0.77/24 brd 10.99.0.255" in said
    assert "02:00:00:00:00:77" in said
    assert "10.99.0.77\tme" in said
    assert "10.1.2.3\tdb" in said
    assert "10.99.0.9\thost.docker.internal" in said
    assert "nameserver 10.99.0.9" in said
    assert "default via 10.99.0.9" in said
    assert "10.99.0.129/24" in net.good("run", "--rm", "--network", "n", "host", "ip", "-o", "addr")
    assert net("run", "--rm", "--network", "n", "--ip", "10.98.0.1", "host", "true").code == 125


def test_joined_namespaces(net: Atoll) -> None:
    web(net, "--name", "web", "--network", "bridge")
    assert fetch(net, "http://127.0.0.1/", "--network", "container:web")
    own = net.good("exec", "web", "cat", "/etc/hosts")
    assert net.good("run", "--rm", "--network", "container:web", "host", "cat", "/etc/hosts") == own
    pid = net.state("web")["Pid"]
    assert fetch(net, "http://127.0.0.1/", "--network", f"ns:/proc/{pid}/ns/net")


@pytest.mark.parametrize("words", [("--egress", "none"), ("--egress", "allow=allowed.example,203.0.113.2:5432")])
def test_egress(net: Atoll, words: tuple[str, ...]) -> None:
    """Whatever the container tries: by name, by address, by another name, by another protocol."""
    net.good("network", "create", "--ipv6", "app")
    net.good("run", "-d", "--name", "box", "--network", "app", *words, "host", "sleep", "100")
    said = egress.tried(net, "box")
    good = {name for name, found in said.items() if found in ("got", "200")}
    assert good == (set() if words[1] == "none" else {"name", "sni", "cidr"}), said
    if words[1] != "none":
        assert said["wrong sni"] == said["not tls"] == said["wrong host"] == "reset"
        assert said["address"] == said["cidr port"] == "refused"
    log = [json.loads(line) for line in net.good("network", "egress", "--log", "box").splitlines()]
    assert any(f"tcp {HOSTS[2]}:80" == one["refused"] for one in log), log
    # Changed while it runs: more, and nothing.
    net.good("network", "egress", "box", "allow=other.example")
    ask = "import urllib.request as u, sys; print(u.urlopen('http://' + sys.argv[1], timeout=3).status)"
    assert net("exec", "box", "python3", "-c", ask, "other.example").out.strip() == "200"
    assert net("exec", "box", "python3", "-c", ask, "allowed.example").code
    net.good("network", "egress", "--open", "box")
    assert net("exec", "box", "python3", "-c", ask, "allowed.example").out.strip() == "200"


def test_a_name_does_not_lead_inside(net: Atoll) -> None:
    net.good("network", "create", "app")
    web(net, "--name", "web", "--network", "bridge", "-p", "80:80")
    code = (
        "import socket, sys\n"
        "for n in ('inside.example', 'mapped.example'):\n"
        "    try: print(socket.getaddrinfo(n, 80))\n"
        "    except OSError as e: print('no')\n"
    )
    flags = ("--network", "app", "--egress", "allow=inside.example,mapped.example")
    assert net.good("run", "--rm", *flags, "host", "python3", "-c", code).split() == ["no", "no"]
    flags = ("--network", "app", "--egress", "deny-private")
    assert fetch(net, "http://10.83.0.1/", *flags) == ""
    assert fetch(net, f"http://{HOSTS[0]}/", *flags) == f"{HOSTS[0]} sees {world.HERE}"


def helpers() -> list[processes.Process]:
    """The workers of this session's networks."""
    return [p for p in processes.descendants(os.getpid()) if p.title.startswith("atoll:[net] ")]


def test_the_helper_is_replaced(net: Atoll) -> None:
    net.good("network", "create", "app")
    web(net, "--name", "web", "--network", "app", "-p", "8080:80")
    for title in ("atoll:[net] app", "atoll:[net+] app", "atoll:[net] app"):
        found = [p for p in processes.descendants(os.getpid()) if p.title == title]
        assert len(found) == 1, title
        os.kill(found[0].pid, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while True:
            now = [p for p in processes.descendants(os.getpid()) if p.title == title and p.state != "Z"]
            if now and now[0].pid != found[0].pid:
                break
            assert time.monotonic() < deadline, title
            processes.reap()
            time.sleep(0.05)
    deadline = time.monotonic() + 5
    while not get("http://[::1]:8080/") and time.monotonic() < deadline:
        time.sleep(0.1)
    assert get("http://[::1]:8080/")
    assert fetch(net, "http://web/", "--network", "app")


def test_a_killed_command_leaves_what_the_next_one_clears(net: Atoll, rng: random.Random, full: bool) -> None:
    """SIGKILL after a time that falls into any step of a launch on two networks with a port."""
    net.good("network", "create", "app")
    flags = ("--network", "app", "--network", "bridge", "-p", "8080:80")
    kill_now_and_then(net, rng, "run", "--rm", *flags, "host", "true", times=40 if full else 6, longest=0.25)
    assert net.good("run", "--rm", *flags, "host", "echo", "up") == "up"
    until(lambda: not [line for line in ip("-o", "link").splitlines() if " atv" in line])


def test_many_at_once(net: Atoll, full: bool) -> None:
    """No address twice, no failure."""
    net.good("network", "create", "--subnet", "10.99.0.0/24", "app")
    count = 200 if full else 24
    children = [net.popen("run", "-d", "--network", "app", "host", "sleep", "60") for _ in range(count)]
    ends = [(child.communicate(timeout=240), child.returncode) for child in children]
    for child in children:
        processes.KEEP.discard(child.pid)
    assert all(code == 0 for _, code in ends), [said for said, code in ends if code]
    members = json.loads(net.good("network", "inspect", "app"))[0]["Containers"].values()
    assert len({one["IPv4Address"] for one in members}) == count


def test_a_rate_is_kept(net: Atoll) -> None:
    found = net.good(
        "run", "--rm", "--network", "bridge", "--network-rate-in", "1m", "--network-rate-out", "2m", "host", "cat",
        "/proc/net/dev",
    )  # fmt: skip
    assert "eth0" in found
    rates = ("--network-rate-in", "1m", "--network-rate-out", "2m")
    net.good("run", "-d", "--name", "slow", "--network", "bridge", *rates, "host", "sleep", "60")
    link = next(line.split(": ")[1].partition("@")[0] for line in ip("-o", "link").splitlines() if ": atv" in line)
    shown = subprocess.run(["tc", "qdisc", "show", "dev", link], capture_output=True, text=True, check=True).stdout
    assert "tbf" in shown
    assert "rate 8388Kbit" in shown
    table = subprocess.run(["nft", "list", "table", "netdev", "atoll"], capture_output=True, text=True).stdout
    assert "limit rate over 2 mbytes/second" in table


def test_the_default_network(net: Atoll, busybox: str) -> None:
    """A bridge for images, as Docker's users expect; nothing for this machine's own programs; a setting for both."""
    with open(net.config, "w") as stream:
        stream.write('[network]\ndefault = "bridge"\n')
    assert "eth0" in net.good("run", "--rm", busybox, "cat", "/proc/net/dev")
    assert "eth0" not in net.good("run", "--rm", "host", "cat", "/proc/net/dev")
    assert "eth0" in net.good("run", "--rm", "--network", "default", "host", "cat", "/proc/net/dev")
    net.good("run", "-d", "--name", "web", "-p", "8080:80", "host", "sleep", "60")
    assert net.inspect("web")["HostConfig"]["NetworkMode"] == "bridge"  # type: ignore[index]
    with open(net.config, "w") as stream:
        stream.write('[network]\ndefault = "host"\n')
    assert "up0" in net.good("run", "--rm", busybox, "cat", "/proc/net/dev")


@pytest.mark.parametrize("gone", [(), ("inet", "bridge")], ids=["rules-left", "rules-gone"])
def test_a_store_where_another_was_removed(net: Atoll, gone: tuple[str, ...]) -> None:
    """`rm -rf` of the data root leaves its bridge, which the next store at that place finds under its own name."""
    net.good("run", "--rm", "--network", "bridge", "host", "true")
    gateway = json.loads(net.good("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"]
    net.end_spawner()
    shutil.rmtree(net.data)
    for family in gone:
        subprocess.run(["nft", "delete", "table", family, "atoll"], check=True)
    web(net, "--name", "web", "--network", "bridge", "-p", "8080:80")
    assert json.loads(net.good("network", "inspect", "bridge"))[0]["IPAM"]["Config"][0]["Gateway"] == gateway
    assert get("http://127.0.0.1:8080/")
    assert fetch(net, f"http://{HOSTS[0]}/", "--network", "bridge") == f"{HOSTS[0]} sees {world.HERE}"


def test_an_ordinary_user_without_a_way_out_is_told(rootless: Atoll, busybox: str) -> None:
    """Here nobody but root may open /dev/net/tun."""
    with open(rootless.config, "w") as stream:
        stream.write('[network]\ndefault = "bridge"\n')
    done = rootless("run", "--rm", busybox, "cat", "/proc/net/dev")
    assert "eth0" not in done.good()
    assert "no network: /dev/net/tun is not open to this user" in done.err
