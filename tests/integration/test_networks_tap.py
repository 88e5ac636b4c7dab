"""A machine in a container's place: the tap of its network namespace is what a veth is, whoever is behind it.

The normal tier puts a Linux stack behind the descriptor (`kit/guest.py`); the whole one also a kernel of its own.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from atoll.base import errors
from atoll.network import tap
from kit import outside as world
from kit.command import Atoll
from kit.guest import Guest
from kit.networks import GET, get, settings, web
from kit.outside import HOSTS, Outside

SERVE = (
    "import http.server as h, sys\n"
    "class H(h.BaseHTTPRequestHandler):\n"
    " def do_GET(self):\n"
    "  self.send_response(200); self.end_headers(); self.wfile.write(self.client_address[0].encode())\n"
    "class S(h.ThreadingHTTPServer):\n"
    " address_family = 10\n"
    "s = S(('::', 80), H); print('up', flush=True); s.serve_forever()"
)
NAME = (
    "import socket, struct, sys\n"
    "labels = b''.join(bytes((len(p),)) + p.encode() for p in sys.argv[2].split('.'))\n"
    "q = b'\\0\\7\\1\\0\\0\\1\\0\\0\\0\\0\\0\\0' + labels\n"
    "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.settimeout(3); s.connect((sys.argv[1], 53))\n"
    "s.send(q + b'\\0\\0\\1\\0\\1'); a = s.recv(512)\n"
    "print(socket.inet_ntoa(a[-4:]) if a[7] else 'none')"
)


@contextmanager
def taken(net: Atoll, name: str) -> Iterator[list[tap.Tap]]:
    """The taps of a container's namespace."""
    ns = os.open(f"/proc/{net.state(name)['Pid']}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    taps: list[tap.Tap] = []
    try:
        taps = tap.take_all(ns)
        yield taps
    finally:
        for one in taps:
            one.close()
        os.close(ns)


def test_a_machine_is_on_its_networks_as_a_container_is(net: Atoll, outside: Outside) -> None:
    net.good("network", "create", "--ipv6", "app")
    web(net, "--name", "web", "--network", "app")
    flags = ("--network", "app", "--network-alias", "machine", "-p", "8080:80", "--network-rate-in", "100m")
    net.good("run", "-d", "--name", "vm", *flags, "--egress", f"allow={HOSTS[0]}", "host", "sleep", "100")
    own, other = settings(net, "vm", "app"), settings(net, "web", "app")
    with taken(net, "vm") as (one,):
        assert one.link.mac_text == own["MacAddress"]
        assert set(one.link.addresses_text) == {
            f"{own['IPAddress']}/{own['IPPrefixLen']}",
            f"{own['GlobalIPv6Address']}/{own['GlobalIPv6PrefixLen']}",
        }
        assert set(one.link.gateways) == {own["Gateway"], own["IPv6Gateway"]}
        with Guest(one) as guest:
            # Names of the network, from the gateway that the bundle's resolv.conf names; neighbours by both families.
            assert guest.python(NAME, own["Gateway"], "web") == other["IPAddress"]
            assert guest.python(GET, f"http://{other['IPAddress']}/").endswith(own["IPAddress"])
            assert guest.python(GET, f"http://[{other['GlobalIPv6Address']}]/") == own["GlobalIPv6Address"]
            # Its egress policy: what is allowed, and what is refused looks refused.
            assert guest.python(GET, f"http://{HOSTS[0]}/") == f"{HOSTS[0]} sees {world.HERE}"
            assert "refused" in guest.python(GET, f"http://{HOSTS[2]}/")
            log = [json.loads(line) for line in net.good("network", "egress", "--log", "vm").splitlines()]
            assert {"tcp " + HOSTS[2] + ":80"} <= {one["refused"] for one in log}
            # It serves: to a neighbour by its alias, by its published port, with the source kept.
            command = ["nsenter", "-t", str(guest.process.pid), "-n", "python3", "-c", SERVE]
            served = net_server(command)
            try:
                there = net.good("exec", "web", "python3", "-c", GET, "http://machine/")
                assert there.removeprefix("::ffff:") in (other["IPAddress"], other["GlobalIPv6Address"])
                for address in ("127.0.0.1", "[::1]", world.HERE, f"[{world.HERE6}]"):
                    assert get(f"http://{address}:8080/"), address
                assert outside.get(world.HERE, 8080) == f"::ffff:{world.THERE}"
                big = "print(__import__('urllib.request').request.urlopen('http://machine/').status)"
                assert net.good("exec", "web", "python3", "-c", big) == "200"
            finally:
                served.kill()
                served.communicate()
            # Nobody else: not its neighbour's address.
            stranger = other["IPAddress"].rsplit(".", 1)[0] + ".200"
            guest.run("ip", "addr", "add", f"{stranger}/24", "dev", "eth0")
            bound = (
                "import socket, sys; s = socket.socket(); s.settimeout(1); s.bind((sys.argv[2], 0)); "
                "print(s.connect_ex((sys.argv[1], 80)))"
            )
            assert guest.python(bound, other["IPAddress"], own["IPAddress"]) == "0"
            assert guest.python(bound, other["IPAddress"], stranger) != "0"
        with pytest.raises(errors.AtollError, match="open /dev/net/tun"), taken(net, "vm"):
            pass
    # Closed, the namespace has its interface back; taken again, it is as the first time.
    assert net.good("exec", "web", "python3", "-c", "import socket; socket.create_connection(('web', 80), 3)") == ""
    with taken(net, "vm") as (one,), Guest(one, mac="02:00:00:00:00:99") as liar:
        assert "timed out" in liar.python(GET, f"http://{other['IPAddress']}/")


def net_server(command: list[str]) -> object:
    """A server that has said that it listens."""
    import subprocess

    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child
