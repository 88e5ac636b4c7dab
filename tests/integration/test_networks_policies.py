"""Policies between containers: what the kernel lets through is what the documents say, and what comes later counts.

`verdict` reads the documents the way their specification is worded, apart from everything that Atoll makes of them;
the containers try each other over TCP and UDP, both families, and by the addresses that links give themselves.
"""

from __future__ import annotations

import ipaddress
import json
import random
import socket
import subprocess
import time
from typing import Any

import pytest

from kit import outside as world
from kit.command import Atoll
from kit.networks import settings
from kit.outside import HOSTS, Outside

Way = tuple[str, str, int]
PORTS = (("TCP", 80), ("TCP", 81), ("TCP", 90), ("UDP", 80), ("UDP", 53))
SERVER = (
    "import socket, threading\n"
    "def tcp(p):\n"
    " s = socket.create_server(('::', p), family=10, dualstack_ipv6=True)\n"
    " while True: c, _ = s.accept(); c.sendall(b'y'); c.close()\n"
    "def udp(p):\n"
    " s = socket.socket(10, socket.SOCK_DGRAM); s.bind(('::', p))\n"
    " while True: d, a = s.recvfrom(99); s.sendto(b'y', a)\n"
    + "".join(f"threading.Thread(target={proto.lower()}, args=({port},)).start()\n" for proto, port in PORTS)
    + "print('up', flush=True)"
)
CLIENT = (
    "import json, select, socket, sys, time\n"
    "out, waiting = [], {}\n"
    "for proto, host, port in json.loads(sys.argv[1]):\n"
    " for f, k, _, _, a in socket.getaddrinfo(host, port, type={'TCP': 1, 'UDP': 2}[proto]):\n"
    "  s = socket.socket(f, k); s.setblocking(False)\n"
    "  try: s.connect(a)\n"
    "  except BlockingIOError: pass\n"
    "  except OSError: continue\n"
    "  if proto == 'UDP': s.send(b'x')\n"
    "  waiting[s] = (proto, host, port)\n"
    "expected = [tuple(one) for one in json.loads(sys.argv[2])]\n"
    "patience, grace = time.monotonic() + 8, 0\n"
    "while waiting and time.monotonic() < patience:\n"
    " for s in select.select(list(waiting), [], [], 0.05)[0]:\n"
    "  what = waiting.pop(s)\n"
    "  try:\n"
    "   if s.recv(9) == b'y': out.append(what)\n"
    "  except OSError: pass\n"
    " if not grace and set(out) >= set(expected): patience = grace = time.monotonic() + 0.4\n"
    "print(json.dumps(out))"
)


@pytest.fixture
def app(net: Atoll) -> Atoll:
    net.good("network", "create", "--ipv6", "--label", "tier=front", "app")
    return net


def server(net: Atoll, name: str, network: str, *flags: str) -> None:
    net.good("run", "-d", "--name", name, "--network", network, *flags, "host", "python3", "-c", SERVER)


def ready(net: Atoll, name: str) -> None:
    """It listens."""
    deadline = time.monotonic() + 20
    while "up" not in net.good("logs", name):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def addresses(net: Atoll, name: str, network: str) -> tuple[str, str]:
    own = settings(net, name, network)
    return own["IPAddress"], own["GlobalIPv6Address"]


def tries(net: Atoll, name: str, wanted: list[Way], expected: list[Way] | None = None) -> set[Way]:
    """Those that answer; those that are expected (None: all) get the time that a busy machine takes."""
    sure = wanted if expected is None else expected
    found = net.good("exec", name, "python3", "-c", CLIENT, json.dumps(wanted), json.dumps(sure))
    return {(one[0], one[1], one[2]) for one in json.loads(found)}


def refused(net: Atoll, name: str, wanted: list[Way]) -> bool:
    """Whether none answers."""
    return tries(net, name, wanted, []) == set()


def said(outside: Outside, port: int = 8080) -> str:
    """What a published port says to the host outside."""
    code = f"import socket; s = socket.create_connection(('{world.HERE}', {port}), 1); print(s.recv(9))"
    return outside.run("python3", "-c", code).stdout.strip()


def tries_here(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 2) as one:
        return one.recv(9) == b"y"


def apply(net: Atoll, *documents: dict[str, Any], network: str = "app") -> None:
    text = "\n---\n".join(json.dumps(one) for one in documents)
    net.good("network", "policy", "create", "--replace", "-f", "-", network, stdin=text)


def policy(name: str, **spec: object) -> dict[str, Any]:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": {"name": name}, "spec": spec}


def test_a_database_and_those_who_may_ask_it(app: Atoll, outside: Outside) -> None:
    """Closed but for one label and one port; live while containers come, go and change networks; told and logged."""
    net = app
    server(net, "db", "app", "--label", "role=db", "-p", "8080:80")
    net.good("run", "-d", "--name", "web", "--label", "role=web", "--network", "app", "host", "sleep", "100")
    net.good("run", "-d", "--name", "bad", "--privileged", "--network", "app", "host", "sleep", "100")
    ask = [("TCP", "db", 80)]
    ready(net, "db")
    assert tries(net, "bad", ask) == set(ask)
    db = ("app", "db", "--select", "role=db", "--allow-in", "role=web:80", "--deny-out")
    assert net.good("network", "policy", "create", *db) == "app/db"
    assert net("network", "policy", "create", *db).code == 1
    # By no address of it, whatever the sender does: nor by what its link gives itself.
    own = settings(net, "db", "app")
    link = "fe80::" + net.good("exec", "db", "ip", "-6", "addr", "show", "scope", "link").partition("fe80::")[2]
    link = link.partition("/")[0] + "%eth0"
    ways = [("TCP", one, 80) for one in ("db", *addresses(net, "db", "app"), link)]
    assert refused(net, "bad", [*ways, ("TCP", world.HERE, 8080)])
    assert tries(net, "web", ways) == set(ways)
    # Not from outside by its port, but from this host; it goes nowhere itself, but knows names.
    assert said(outside) == ""
    assert tries_here(8080)
    assert refused(net, "db", [("TCP", HOSTS[0], 80)])
    assert net("exec", "db", "python3", "-c", "import socket; socket.gethostbyname('web')").code == 0
    # Who comes later with that label is let in, and nobody who leaves leaves a hole.
    net.good("run", "-d", "--name", "web2", "--label", "role=web", "--network", "app", "host", "sleep", "100")
    assert tries(net, "web2", ask) == set(ask)
    gone = settings(net, "web2", "app")["IPAddress"]
    net.good("rm", "-f", "web2")
    net.good("run", "-d", "--name", "heir", "--network", "app", "--ip", gone, "host", "sleep", "100")
    assert refused(net, "heir", ask)
    net.good("network", "disconnect", "app", "web")
    net.good("network", "connect", "app", "web")
    assert tries(net, "web", ask) == set(ask)
    # It is told.
    assert "role=db" in net.good("network", "policy", "ls")
    shown = json.loads(net.good("network", "policy", "inspect", "app/db"))[0]
    assert len(shown["status"]["containers"]) == 1
    assert "only:  whom a policy of network app lets in (db)" in net.good("port", "--explain", "db")
    assert json.loads(net.good("network", "inspect", "app"))[0]["Policies"] == {"default": "allow", "names": ["db"]}
    log = [json.loads(line) for line in net.good("network", "policy", "log", "db").splitlines()]
    assert any(one["refused"] == f"tcp {own['IPAddress']}:80" and "lets" in one["reason"] for one in log), log
    assert any(one["refused"] == f"tcp {HOSTS[0]}:80" and "out" in one["reason"] for one in log), log
    net.good("network", "policy", "rm", "app/db")
    assert tries(net, "bad", ask) == set(ask)
    assert said(outside) == "b'y'"


def test_closed_by_default(app: Atoll, outside: Outside) -> None:
    """`-o policy=deny`: nothing but what is allowed; other networks' containers by their network's labels."""
    net = app
    net.good("network", "create", "-o", "policy=deny", "shut")
    server(net, "one", "shut", "--label", "role=a", "-p", "8081:80")
    server(net, "two", "shut")
    net.good("run", "-d", "--name", "front", "--network", "app", "host", "sleep", "100")
    ready(net, "one")
    a = addresses(net, "one", "shut")[0]
    everything = [("TCP", a, 80), ("TCP", a, 81), ("TCP", a, 90), ("UDP", a, 80)]
    assert refused(net, "two", everything)
    assert said(outside, 8081) == ""
    assert net("network", "create", "-o", "policy=maybe", "x").code == 1
    ports = [{"port": 80, "endPort": 85}, {"protocol": "UDP", "port": 80}]
    apply(net, policy("out", podSelector={}, policyTypes=["Egress"], egress=[{"to": [{"podSelector": {}}]}]),
          policy("in", podSelector={"matchLabels": {"role": "a"}}, ingress=[
              {"from": [{"podSelector": {}}], "ports": ports},
              {"from": [{"namespaceSelector": {"matchLabels": {"tier": "front"}}}], "ports": [{"port": 80}]},
              {"from": [{"ipBlock": {"cidr": "203.0.113.0/24", "except": ["203.0.113.128/25"]}}]}]),
          network="shut")  # fmt: skip
    assert tries(net, "two", everything, [("TCP", a, 80), ("TCP", a, 81), ("UDP", a, 80)]) == {
        ("TCP", a, 80),
        ("TCP", a, 81),
        ("UDP", a, 80),
    }
    assert said(outside, 8081) == "b'y'"
    assert tries(net, "front", [("TCP", world.HERE, 8081)]) == {("TCP", world.HERE, 8081)}
    # By IPv6, which it has none of, the helper would have led strangers on.
    strange = f"import socket; s = socket.create_connection(('{world.HERE6}', 8081), 2); print(s.recv(9))"
    assert outside.run("python3", "-c", strange).stdout == ""
    # The tables come back with what is in force.
    for family in ("inet", "bridge"):
        subprocess.run(["nft", "delete", "table", family, "atoll"], check=True)
    net.good("system", "check", "--repair")
    assert tries(net, "two", everything, [("TCP", a, 80), ("TCP", a, 81), ("UDP", a, 80)]) == {
        ("TCP", a, 80),
        ("TCP", a, 81),
        ("UDP", a, 80),
    }


# --- a model --------------------------------------------------------------------------------------------------------


def random_policy(rng: random.Random, number: int) -> dict[str, Any]:
    def selector() -> dict[str, Any]:
        key = rng.choice("xy")
        kind = rng.randrange(5)
        if kind == 0:
            return {}
        if kind == 1:
            return {"matchLabels": {key: rng.choice("01")}}
        if kind == 2:
            return {"matchExpressions": [{"key": key, "operator": rng.choice(["Exists", "DoesNotExist"])}]}
        values = rng.sample(["0", "1", "2"], rng.randint(1, 2))
        return {"matchExpressions": [{"key": key, "operator": rng.choice(["In", "NotIn"]), "values": values}]}

    def peer() -> dict[str, Any]:
        kind = rng.randrange(4)
        if kind == 0:
            base = rng.choice(["10.99.0.0/24", "10.99.0.0/29", "fd99::/64", "0.0.0.0/0", "10.99.0.4/30"])
            parts = [one for one in ("10.99.0.3/32", "10.99.0.0/30", "fd99::4/126")
                     if ipaddress.ip_network(one).version == ipaddress.ip_network(base).version]  # fmt: skip
            return {"ipBlock": {"cidr": base, **({"except": rng.sample(parts, 1)} if rng.random() < 0.5 else {})}}
        if kind == 1:
            return {"namespaceSelector": {"matchLabels": {"tier": rng.choice(["front", "none"])}}}
        return {"podSelector": selector()}

    def port() -> dict[str, Any]:
        protocol = rng.choice(["TCP", "UDP"])
        if rng.random() < 0.3:
            return {"protocol": protocol}
        first = rng.choice([53, 80, 81])
        return {"protocol": protocol, "port": first, **({"endPort": first + 8} if rng.random() < 0.5 else {})}

    def rule(direction: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        if rng.random() < 0.8:
            found[direction] = [peer() for _ in range(rng.randint(1, 2))]
        if rng.random() < 0.6:
            found["ports"] = [port() for _ in range(rng.randint(1, 2))]
        return found

    kinds = rng.choice([["Ingress"], ["Egress"], ["Ingress", "Egress"]])
    spec: dict[str, Any] = {"podSelector": selector(), "policyTypes": kinds}
    for kind, direction in (("Ingress", "from"), ("Egress", "to")):
        if kind in kinds:
            spec[kind.lower()] = [rule(direction) for _ in range(rng.randint(0, 2))]
    return policy(f"p{number}", **spec)


def selects(selector: dict[str, Any] | None, labels: dict[str, str]) -> bool:
    found = all(labels.get(key) == value for key, value in (selector or {}).get("matchLabels", {}).items())
    for one in (selector or {}).get("matchExpressions", []):
        there = one["key"] in labels
        found &= {
            "Exists": there,
            "DoesNotExist": not there,
            "In": there and labels[one["key"]] in one.get("values", []),
            "NotIn": not there or labels[one["key"]] not in one.get("values", []),
        }[one["operator"]]
    return bool(found)


def opens(rule: dict[str, Any], direction: str, peer: dict[str, str], address: str, protocol: str, port: int) -> bool:
    def fits(one: dict[str, Any]) -> bool:
        if "ipBlock" in one:
            where = ipaddress.ip_address(address)
            block = one["ipBlock"]
            return where in ipaddress.ip_network(block["cidr"]) and not any(
                where in ipaddress.ip_network(part) for part in block.get("except", [])
            )
        if "namespaceSelector" in one and not selects(one["namespaceSelector"], {"tier": "front"}):
            return False
        return selects(one.get("podSelector"), peer)

    ports = rule.get("ports") or []
    whom = rule.get(direction) or []
    return (not whom or any(fits(one) for one in whom)) and (
        not ports
        or any(
            one["protocol"] == protocol
            and ("port" not in one or one["port"] <= port <= one.get("endPort", one["port"]))
            for one in ports
        )
    )


def verdict(
    policies: list[dict[str, Any]], source: tuple[dict[str, str], str], target: tuple[dict[str, str], str],
    protocol: str, port: int,
) -> bool:  # fmt: skip
    """Whether the specification lets a connection be: labels and address of both."""
    for kind, direction, own, other in (("Egress", "to", source, target), ("Ingress", "from", target, source)):
        mine = [
            one["spec"] for one in policies
            if kind in one["spec"]["policyTypes"] and selects(one["spec"]["podSelector"], own[0])
        ]  # fmt: skip
        rules = [rule for one in mine for rule in one.get(kind.lower(), [])]
        if mine and not any(opens(rule, direction, other[0], other[1], protocol, port) for rule in rules):
            return False
    return True


def test_the_kernel_says_what_the_documents_say(net: Atoll, rng: random.Random, full: bool) -> None:
    """Random policies, random labels: each pair over each port, by both families."""
    subnets = ("--subnet", "10.99.0.0/24", "--subnet", "fd99::/64")
    net.good("network", "create", "--ipv6", *subnets, "--label", "tier=front", "app")
    places = []
    for number in range(3):
        labels = {key: rng.choice("012") for key in "xy" if rng.random() < 0.7}
        flags = [word for key, value in labels.items() for word in ("--label", f"{key}={value}")]
        server(net, f"c{number}", "app", *flags)
        places.append((labels, addresses(net, f"c{number}", "app")))
    for number in range(3):
        ready(net, f"c{number}")
    for _ in range(60 if full else 4):
        policies = [random_policy(rng, number) for number in range(rng.randint(1, 3))]
        apply(net, *policies)
        for number, (labels, own) in enumerate(places):
            wanted, expected = [], set()
            for labels2, there in [place for other, place in enumerate(places) if other != number]:
                for mine, address in zip(own, there, strict=True):
                    for protocol, port in PORTS:
                        wanted.append((protocol, address, port))
                        if verdict(policies, (labels, mine), (labels2, address), protocol, port):
                            expected.add((protocol, address, port))
            assert tries(net, f"c{number}", wanted, sorted(expected)) == expected, json.dumps(policies, indent=1)
        net.good("network", "policy", "rm", *[f"app/{one['metadata']['name']}" for one in policies])
