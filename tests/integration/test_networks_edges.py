"""What networks meet at their edges: other name servers, pools that run out, links of the host, hostile neighbours.

`kit/outside.py` has the host outside. What a container tries, it tries as root with every capability.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time

import pytest

from kit import outside as world
from kit.command import Atoll
from kit.networks import GET, fetch, settings, web
from kit.outside import Outside, ip

CONNECT = (
    "import socket, sys; s = socket.socket(10 if ':' in sys.argv[1] else 2); s.settimeout(1)\n"
    "s.bind((sys.argv[3], 0)) if len(sys.argv) > 3 else None\n"
    "print(s.connect_ex((sys.argv[1], int(sys.argv[2]))))"
)


def dig(net: Atoll, name: str, *words: str) -> str:
    """What dig(1) says in a container, which sees the host's files."""
    return net.good("exec", name, "dig", "+time=3", "+tries=2", *words)


def test_names_as_dig_sees_them(net: Atoll, outside: Outside) -> None:
    """In turns, backwards, by TCP, below the network's name, with a search domain; and those from outside."""
    net.good("network", "create", "--ipv6", "app")
    for number in range(3):
        net.good("run", "-d", "--name", f"web{number}", "--network", "app", "--network-alias", "svc", "host",
                 "sleep", "100")  # fmt: skip
    net.good("run", "-d", "--name", "me", "--network", "app", "--dns-search", "example", "host", "sleep", "100")
    answers = [dig(net, "me", "+short", "svc").splitlines() for _ in range(6)]
    assert all(len(set(one)) == 3 for one in answers)
    assert len({one[0] for one in answers}) == 3
    own = settings(net, "web1", "app")
    assert dig(net, "me", "+short", "+tcp", "web1") == dig(net, "me", "+short", "web1.app") == own["IPAddress"]
    assert dig(net, "me", "+short", "AAAA", "WEB1") == own["GlobalIPv6Address"]
    assert dig(net, "me", "+short", "-x", own["IPAddress"]) == "web1.app."
    assert dig(net, "me", "+short", "-x", own["GlobalIPv6Address"]) == "web1.app."
    assert "status: NXDOMAIN" in dig(net, "me", "nobody")
    whole = dig(net, "me", "web1", "MX")
    assert "status: NOERROR" in whole
    assert "ANSWER: 0" in whole
    found = "import socket; print(socket.gethostbyname('other'))"  # by its search domain
    assert net.good("exec", "me", "python3", "-c", found) == world.HOSTS[1]
    # Renamed, it is found by the new name at once; and its events are told with its networks.
    net.good("rename", "web1", "new")
    assert dig(net, "me", "+short", "new") == own["IPAddress"]
    assert dig(net, "me", "+short", "web1") == ""
    net.good("rm", "-f", "new")
    events = [json.loads(line) for line in net.good("events", "--since", "10m", "--until", "0s", "--format", "json",
                                                    "--filter", "type=network").splitlines()]  # fmt: skip
    told = [(one["Action"], one["Actor"]["Attributes"]["name"]) for one in events]
    assert told.count(("connect", "app")) == 4
    assert told.count(("disconnect", "app")) == 1
    assert told[0] == ("create", "app")

    def listed(*filters: str) -> list[str]:
        return net.good("network", "ls", "--format", "{{.Name}}", *[f"--filter={one}" for one in filters]).split()

    net.good("network", "create", "--label", "team=x", "idle")
    assert listed("dangling=true", "driver=bridge") == ["idle"]
    assert listed("dangling=false", "type=custom") == ["app"]
    assert listed("name=app", "name=idle") == ["app", "idle"]
    net("network", "prune", "-f", "--filter", "odd=1").failed(1, "invalid filter 'odd'")
    assert net.good("network", "prune", "-f", "--filter", "until=1h") == ""
    assert "idle" in net.good("network", "prune", "-f", "--filter", "label=team=x").split()


def test_another_name_server_has_port_53(net: Atoll) -> None:
    """Bound to every address of the host, as dnsmasq and systemd-resolved may be: containers have their names."""
    with socket.create_server(("0.0.0.0", 53)) as one, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("0.0.0.0", 53))
        net.good("network", "create", "app")
        net.good("run", "-d", "--name", "web", "--network", "app", "host", "sleep", "100")
        net.good("run", "-d", "--name", "me", "--network", "app", "host", "sleep", "100")
        address = settings(net, "web", "app")["IPAddress"]
        assert dig(net, "me", "+short", "web") == dig(net, "me", "+short", "+tcp", "web") == address
        net.good("rm", "-f", "me", "web")
        assert world.settled() == []
        assert one.fileno() >= 0
    # Once it has gone port 53 is ours again, and nothing leads elsewhere.
    net.good("run", "-d", "--name", "web", "--network", "app", "host", "sleep", "100")
    assert dig(net, "web", "+short", "web")
    rules = subprocess.run(
        ["nft", "list", "map", "inet", "atoll", "publish4at"], capture_output=True, text=True
    ).stdout
    assert "53" not in rules.partition("elements")[2]


def test_a_macvlan(net: Atoll, outside: Outside) -> None:
    """A host of its own on the uplink's network, with its own MAC; gone with the container."""
    subnet = ("--subnet", "203.0.113.0/24", "--gateway", world.THERE, "-o", "parent=up0")
    net.good("network", "create", "-d", "macvlan", *subnet, "lan")
    flags = ("--network", "lan", "--ip", "203.0.113.77", "--mac-address", "02:00:00:00:00:77")
    web(net, "--name", "web", *flags)
    assert outside.get("203.0.113.77", 80) == f"::ffff:{world.THERE}"
    assert "02:00:00:00:00:77" in outside.run("ip", "neigh", "show", "203.0.113.77").stdout
    assert net.good("exec", "web", "python3", "-c", GET, f"http://{world.THERE}/").endswith("sees 203.0.113.77")
    assert "link/ether 02:00:00:00:00:77" in net.good("exec", "web", "ip", "link", "show", "eth0")
    net.good("rm", "-f", "web")
    assert outside.get("203.0.113.77", 80) == ""
    net.good("network", "create", "-d", "macvlan", "--subnet", "10.70.0.0/24", "-o", "parent=nothing0", "off")
    assert "no interface nothing0" in net("run", "--rm", "--network", "off", "host", "true").err
    net.good("network", "rm", "lan", "off")


def test_pools_run_out(net: Atoll) -> None:
    """Addresses, ports of a range, names of links: a clear word, nothing kept, and the next one is well."""
    net.good("network", "create", "--subnet", "10.99.0.0/29", "tiny")
    names = [net.good("run", "-d", "--network", "tiny", "host", "sleep", "100") for _ in range(5)]
    said = net("run", "-d", "--name", "late", "--network", "tiny", "host", "true")
    assert said.code == 125
    assert "no available IP addresses" in said.err
    net("rm", "-f", "late")
    net.good("rm", "-f", names[2])
    net.good("run", "--rm", "--network", "tiny", "host", "true")
    ports = ("--network", "bridge", "-p", "9000-9001:80")
    taken = [net.good("run", "-d", *ports, "host", "sleep", "100") for _ in range(2)]
    said = net("run", "-d", "--name", "late", *ports, "host", "true")
    assert said.code == 125
    assert "9000" in said.err or "9001" in said.err
    net("rm", "-f", "late")
    net.good("rm", "-f", taken[0])
    net.good("run", "--rm", *ports, "host", "true")
    # A link whose name is another's already: said, and everything of the container is given back.
    ip("link", "add", "br-mine", "type", "veth", "peer", "name", "br-peer")
    try:
        net.good("network", "create", "-o", "com.docker.network.bridge.name=br-mine", "clash")
        said = net("run", "--rm", "--network", "clash", "host", "true")
        assert said.code == 125
        assert "br-mine is an interface of another kind" in said.err
        assert net.good("system", "check") == "nothing to repair"
    finally:
        ip("link", "del", "br-mine")
    assert net("network", "rm", "clash").code == 0


@pytest.fixture
def listening() -> object:
    """A service of the host's loopback, and one of each of its addresses."""
    with socket.create_server(("127.0.0.1", 7001)) as one:
        threading.Thread(target=lambda: _accept(one), daemon=True).start()
        yield one
        one.shutdown(socket.SHUT_RDWR)


def _accept(one: socket.socket) -> None:
    try:
        while True:
            one.accept()[0].close()
    except OSError:
        return


def test_what_is_closed_however_it_is_asked(net: Atoll, outside: Outside, listening: object) -> None:
    """The host's loopback by a route to it (CVE-2020-8558), the clouds' metadata, a neighbour's addresses of IPv6."""
    outside.run("ip", "addr", "add", "169.254.169.254/32", "dev", "up1")
    ip("route", "add", "169.254.169.254/32", "via", world.THERE)
    try:
        probe = subprocess.run(["python3", "-c", CONNECT, "169.254.169.254", "80"], capture_output=True, text=True)
        assert probe.stdout.strip() == "0"  # there is one
        net.good("network", "create", "--ipv6", "app")
        web(net, "--name", "web", "--network", "app")
        net.good("run", "-d", "--name", "bad", "--privileged", "--network", "app", "host", "sleep", "100")
        own, other = settings(net, "bad", "app"), settings(net, "web", "app")

        def reaches(*words: str) -> bool:
            return net.good("exec", "bad", "python3", "-c", CONNECT, *words) == "0"

        assert not reaches("169.254.169.254", "80")
        assert reaches(other["GlobalIPv6Address"], "80")
        # The host's loopback, over the bridge.
        net.good("exec", "bad", "sh", "-c", "echo 1 > /proc/sys/net/ipv4/conf/eth0/route_localnet")
        net.good("exec", "bad", "ip", "rule", "add", "pref", "5", "to", "127.0.0.1", "lookup", "99")
        net.good("exec", "bad", "ip", "route", "add", "127.0.0.1/32", "via", own["Gateway"], "src", own["IPAddress"],
                 "dev", "eth0", "table", "99")  # fmt: skip
        net.good("exec", "bad", "ip", "rule", "del", "pref", "0")
        assert not reaches("127.0.0.1", "7001")
        # Another's IPv6 address, taken on; and a neighbour advertisement for it, sent to everybody.
        stranger = other["GlobalIPv6Address"].rpartition(":")[0] + ":7777"
        net.good("exec", "bad", "ip", "-6", "addr", "add", f"{stranger}/64", "dev", "eth0", "nodad")
        assert not reaches(other["GlobalIPv6Address"], "80", stranger)
        advertise = (
            "import socket, struct, sys\n"
            "s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW); s.bind(('eth0', 0))\n"
            "me = bytes.fromhex(open('/sys/class/net/eth0/address').read().strip().replace(':', ''))\n"
            "src, dst = socket.inet_pton(10, sys.argv[1]), socket.inet_pton(10, 'ff02::1')\n"
            "na = struct.pack('>BBHI', 136, 0, 0, 0x20000000) + src + b'\\2\\1' + me\n"
            "pseudo = src + dst + struct.pack('>II', len(na), 58) + na\n"
            "total = sum(struct.unpack('>%dH' % (len(pseudo) // 2), pseudo))\n"
            "total = (total & 0xffff) + (total >> 16); total += total >> 16\n"
            "na = na[:2] + struct.pack('>H', ~total & 0xffff) + na[4:]\n"
            "head = struct.pack('>IHBB', 6 << 28, len(na), 58, 255) + src + dst\n"
            "for n in range(3): s.send(bytes.fromhex('333300000001') + me + b'\\x86\\xdd' + head + na)\n"
        )
        bridge = f"br-{own['NetworkID'][:12]}"
        ip("-6", "neigh", "flush", "dev", bridge)
        subprocess.run(["python3", "-c", CONNECT, other["GlobalIPv6Address"], "80"], check=True, capture_output=True)
        net.good("exec", "bad", "python3", "-c", advertise, other["GlobalIPv6Address"])
        time.sleep(0.3)
        assert own["MacAddress"] not in ip("-6", "neigh", "show", other["GlobalIPv6Address"], "dev", bridge)
        # Router advertisements of a container change nobody's routes.
        before = net.good("exec", "web", "ip", "-6", "route")
        router = advertise.replace("struct.pack('>BBHI', 136, 0, 0, 0x20000000) + src + b'\\2\\1' + me",
                                   "struct.pack('>BBHBBHII', 134, 0, 0, 64, 0, 1800, 0, 0)")  # fmt: skip
        net.good("exec", "bad", "python3", "-c", router, own["GlobalIPv6Address"])
        time.sleep(0.2)
        assert net.good("exec", "web", "ip", "-6", "route") == before
        assert fetch(net, f"http://{other['IPAddress']}/", "--network", "app")
    finally:
        ip("route", "del", "169.254.169.254/32")


def test_published_to_one_address_only(net: Atoll, outside: Outside) -> None:
    """127.0.0.1 is this host's alone, also for a neighbour outside that sends to it by a route."""
    web(net, "--name", "web", "--network", "bridge", "-p", "127.0.0.1:8080:80")
    outside.run("ip", "route", "replace", "127.0.0.1/32", "via", world.HERE)
    assert outside.get(world.HERE, 8080) == ""
    assert "programs of this host only" in net.good("port", "--explain", "web")
