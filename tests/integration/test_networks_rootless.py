"""Networks of an ordinary user: the same as root's, in an outer namespace of his, by each way out; what may not leave
it does not, and whatever is killed is made again.
"""

from __future__ import annotations

import json
import os
import random
import signal
import time
from collections.abc import Callable, Iterator

import pytest

from kit import egress, processes, system
from kit import outside as world
from kit.command import Atoll
from kit.networks import GET, STEPS, clear, fetch, get, kill_at, settings, web
from kit.outside import HOSTS, Outside, ip
from kit.sandbox import Sandbox

UPLINKS = ("pasta", pytest.param("slirp4netns", marks=pytest.mark.full), "forwarder")


@pytest.fixture(scope="module")
def tun(sandbox: Sandbox) -> Iterator[None]:
    """A /dev/net/tun that ordinary users may open, in the corner's mounts only."""
    node = os.path.join(sandbox.scratch, "tun")
    os.mknod(node, 0o666 | 0o020000, os.makedev(10, 200))
    os.chmod(node, 0o666)
    system.mount(node, "/dev/net/tun", flags=system.MS_BIND)
    yield
    system.umount("/dev/net/tun")
    os.unlink(node)


@pytest.fixture
def mine(tun: None, outside: Outside, fresh_rootless: Callable[..., Atoll]) -> Iterator[Callable[..., Atoll]]:
    """A function that makes an ordinary user's Atoll with a way out; afterwards nothing of his networks is left."""
    ip("-6", "route", "add", "default", "via", world.THERE6)
    made: list[Atoll] = []

    def make(uplink: str = "pasta") -> Atoll:
        one = fresh_rootless("atoll-full")
        with open(one.config, "w") as stream:
            stream.write(f'[network]\nuplink = "{uplink}"\n')
        made.append(one)
        return one

    yield make
    for one in made:
        one.good("rm", "-f", *one.all()) if one.all() else None
        one.good("network", "prune", "-f", "--all")
        assert world.settled() == []
        assert named("atoll:[outer", "pasta", "slirp4netns") == []
        assert one.good("system", "check") == "nothing to repair"
        assert os.listdir(f"{one.run_root}/networks") == ["lock"]
    ip("-6", "route", "del", "default")


def named(*beginnings: str) -> list[processes.Process]:
    """The session's living processes that are called so."""
    processes.reap()
    found = [p for p in processes.descendants(os.getpid()) if p.state != "Z"]
    return [p for p in found if os.path.basename(p.title.split(" ")[0]).startswith(beginnings)]


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something."""
    deadline = time.monotonic() + seconds
    while not true():
        processes.reap()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize("uplink", UPLINKS)
def test_a_web_service_and_its_database(mine: Callable[..., Atoll], outside: Outside, uplink: str) -> None:
    """The issue's own sentence, for an ordinary user."""
    net = mine(uplink)
    net.good("network", "create", "--ipv6", "app")
    web(net, "--name", "db", "--network", "app", "--network-alias", "data")
    web(net, "--name", "web", "--network", "app", "-p", "8080:80")
    ask = (
        "import socket as s, urllib.request as u\n"
        "families = {f for f, *_ in s.getaddrinfo('db', 80, proto=6)}\n"
        "print(s.gethostbyname('db') == s.gethostbyname('data'), len(families))\n"
        "print(u.urlopen('http://db/', timeout=3).status, s.gethostbyname('other.example'))\n"
        f"print(u.urlopen('http://{HOSTS[0]}/', timeout=3).read().decode())\n"
        f"print(u.urlopen('http://[{world.THERE6}]/', timeout=3).read().decode())\n"
    )
    said = net.good("exec", "web", "python3", "-c", ask).splitlines()
    assert said[:2] == ["True 2", f"200 {HOSTS[1]}"]
    assert said[2] == f"{HOSTS[0]} sees {world.HERE}"
    assert said[3] == f"{world.THERE6} sees {world.HERE6}"
    # Through the published port from everywhere; whoever comes from outside is seen as who it is.
    for address in ("127.0.0.1", "[::1]", world.HERE, f"[{world.HERE6}]"):
        assert get(f"http://{address}:8080/"), address
    assert outside.get(world.HERE, 8080) == f"::ffff:{world.THERE}"
    assert outside.get(world.HERE6, 8080) == world.THERE6
    assert "-> 0.0.0.0:8080" in net.good("port", "web")
    # Nothing of the host's loopback, and no cloud's metadata.
    for closed in ("127.0.0.1:8080", "169.254.169.254", "10.0.2.2:8080"):
        assert not fetch(net, f"http://{closed}/", "--network", "app"), closed
    assert named("pasta", "slirp4netns") == [] if uplink == "forwarder" else len(named(uplink)) == 1


def test_verbs(mine: Callable[..., Atoll]) -> None:
    net = mine()
    net.good("network", "create", "--subnet", "10.99.0.0/24", "one")
    net.good("network", "create", "two")
    net.good("network", "create", "--internal", "shut")
    assert set(net.good("network", "ls", "--format", "{{.Name}}").split()) >= {"bridge", "one", "two", "shut", "none"}
    web(net, "--name", "web", "--network", "one", "--ip", "10.99.0.77", "--network-rate-in", "1m")
    address = str(settings(net, "web", "one")["IPAddress"])
    assert address == "10.99.0.77"
    assert fetch(net, "http://web/", "--network", "one")
    assert not fetch(net, f"http://{address}/", "--network", "two")
    assert not fetch(net, f"http://{HOSTS[0]}/", "--network", "shut")
    net.good("network", "connect", "--alias", "w", "two", "web")
    assert fetch(net, "http://w/", "--network", "two")
    net.good("network", "disconnect", "two", "web")
    assert not fetch(net, "http://w/", "--network", "two")
    assert net("network", "rm", "one").code == 1
    assert net.good("run", "--rm", "--network", "container:web", "host", "python3", "-c", GET, "http://127.0.0.1/")
    pid = net.state("web")["Pid"]  # an ordinary user gets there by way of the container
    assert fetch(net, "http://127.0.0.1/", "--network", f"ns:/proc/{pid}/ns/net")
    assert "eth0" not in net.good("run", "--rm", "--network", "none", "host", "cat", "/proc/net/dev")
    assert "up0" in net.good("run", "--rm", "--network", "host", "host", "cat", "/proc/net/dev")
    low = net("run", "--rm", "--network", "bridge", "-p", "80:80", "host", "true")
    low.failed(125, "ip_unprivileged_port_start=80")
    net("network", "create", "-d", "macvlan", "--subnet", "10.98.0.0/24", "m").failed(1, "ordinary user")


def test_udp_and_a_port_that_is_taken(mine: Callable[..., Atoll], outside: Outside) -> None:
    net = mine()
    echo = (
        "import socket as s\n"
        "k = s.socket(s.AF_INET, s.SOCK_DGRAM); k.bind(('', 53)); print('up', flush=True)\n"
        "while True:\n    d, p = k.recvfrom(99); k.sendto(p[0].encode(), p)\n"
    )
    net.good("run", "-d", "--name", "echo", "--network", "bridge", "-p", "5353:53/udp", "host", "python3", "-c", echo)
    until(lambda: "up" in net.good("logs", "echo"))
    said = net("run", "--rm", "--network", "bridge", "-p", "5353:53/udp", "host", "true")
    assert "port is already allocated" in said.failed(125)
    ask = (
        "import socket as s\nk = s.socket(s.AF_INET, s.SOCK_DGRAM); k.settimeout(2)\n"
        f"k.sendto(b'x', ('{world.HERE}', 5353)); print(k.recv(99).decode())"
    )
    assert outside.run("python3", "-c", ask).stdout.strip() == world.THERE


@pytest.mark.parametrize("uplink", ["pasta", pytest.param("forwarder", marks=pytest.mark.full)])
def test_egress_in_a_container_with_all_rights(mine: Callable[..., Atoll], uplink: str) -> None:
    """The policy is kept in a namespace that its root cannot enter; what it does in its own opens nothing."""
    net = mine(uplink)
    net.good("network", "create", "--ipv6", "app")
    words = ("--egress", f"allow=allowed.example,{world.THERE}:5432")
    net.good("run", "-d", "--name", "box", "--privileged", "--network", "app", *words, "host", "sleep", "100")
    assert open_ways(net) == {"name", "sni", "cidr"}
    own = settings(net, "box", "app")
    gateway = str(own["Gateway"])
    free = str(own["IPAddress"]).rsplit(".", 1)[0] + ".200"
    attacks = (
        f"ip addr add {free}/24 dev eth0 && ip addr del {own['IPAddress']}/24 dev eth0;"
        f"ip route replace default via {gateway} src {free}",
        f"ip link set eth0 address 02:42:aa:bb:cc:dd; ip route replace default via {gateway};"
        "nft flush ruleset; ip rule add pref 1 table main; echo 1 > /proc/sys/net/ipv4/ip_forward",
    )
    for attack in attacks:
        net("exec", "box", "sh", "-c", attack)
        assert open_ways(net) <= {"name", "sni", "cidr"}, attack
    outer = named("atoll:[outer]")[0].pid
    for place in (f"/proc/{outer}/ns/net", "/proc/1/root/proc/self/ns/net"):
        assert net("exec", "box", "nsenter", f"--net={place}", "ip", "link", "show", "up0").code, place
    log = [json.loads(line)["refused"] for line in net.good("network", "egress", "--log", "box").splitlines()]
    assert f"tcp {HOSTS[2]}:80" in log


def open_ways(net: Atoll) -> set[str]:
    """Those that led out of the container `box`."""
    return {name for name, found in egress.tried(net, "box").items() if found in ("got", "200")}


def test_policies_are_closed_when_helpers_die(mine: Callable[..., Atoll]) -> None:
    net = mine("forwarder")
    net.good("network", "create", "app")
    net.good(
        "run", "-d", "--name", "box", "--network", "app", "--egress", "allow=allowed.example", "host", "sleep", "99"
    )
    by_name = ("exec", "box", "python3", "-c", GET, "http://allowed.example/")
    by_address = (
        "import socket as s\n"
        f"k = s.create_connection(('{HOSTS[0]}', 80), 3)\n"
        "k.sendall(b'GET / HTTP/1.1\\r\\nHost: allowed.example\\r\\n\\r\\n')\n"
        "print(len(k.recv(99)) > 0)"
    )
    assert HOSTS[0] in net.good(*by_name)
    assert net("exec", "box", "python3", "-c", by_address).out == "True\n"  # opened by the name, a moment ago
    both = named("atoll:[net]", "atoll:[net+]")
    assert len(both) == 2
    for number in (signal.SIGSTOP, signal.SIGKILL):
        for one in both:
            os.kill(one.pid, number)
    assert "True" not in net("exec", "box", "python3", "-c", by_address).out
    net.good("network", "egress", "box", "allow=allowed.example")  # whoever needs the helper makes it again
    assert HOSTS[0] in net.good(*by_name)


_RARE = [pytest.param(one, marks=pytest.mark.full) for one in ("atoll:[outer+]", "atoll:[net]")]


@pytest.mark.parametrize("victims", ["atoll:[outer]", "pasta", "both", *_RARE])
def test_what_is_killed_is_made_again(mine: Callable[..., Atoll], victims: str) -> None:
    net = mine()
    net.good("network", "create", "app")
    web(net, "--name", "web", "--network", "app", "-p", "8080:80")
    there = named("atoll:[outer]", "atoll:[outer+]") if victims == "both" else named(victims)[:1]
    for one in there:
        os.kill(one.pid, signal.SIGSTOP)
    for one in there:
        os.kill(one.pid, signal.SIGKILL)
    if victims == "both":  # the next command makes a namespace, and puts whoever runs into it
        assert fetch(net, "http://web/", "--network", "app")
    else:
        until(lambda: len(named(victims)) == 1 and named(victims)[0].pid != there[0].pid)
    until(lambda: len(named("pasta")) == 1 and len(named("atoll:[outer")) == 2)
    until(lambda: get("http://127.0.0.1:8080/"))
    assert fetch(net, "http://web/", "--network", "app")
    until(lambda: net("exec", "web", "python3", "-c", GET, f"http://{HOSTS[0]}/").code == 0)


def test_a_killed_command_leaves_what_the_next_one_clears(mine: Callable[..., Atoll], rng: random.Random, full: bool):
    """SIGKILL of the command, of the monitor or of the spawner after a time that falls into any step."""
    net = mine("forwarder")
    net.good("network", "create", "app")
    flags = ("--network", "app", "--network", "bridge", "-p", "8080:80")
    for _ in range(30 if full else 4):
        child = net.popen("run", "--rm", *flags, "host", "true")
        time.sleep(rng.uniform(0.02, 0.5))
        victim = rng.choice(("command", "atoll:[monitor]", "atoll:[spawner]"))
        for one in named(victim)[:1]:
            os.kill(one.pid, signal.SIGKILL)
        if victim == "command":
            child.kill()
        child.communicate(timeout=30)
        processes.KEEP.discard(child.pid)
    clear(net)
    assert net.good("run", "--rm", *flags, "host", "echo", "up") == "up"


def test_a_way_out_by_name(mine: Callable[..., Atoll]) -> None:
    net = mine("auto")
    assert fetch(net, f"http://{HOSTS[0]}/", "--network", "slirp4netns") == f"{HOSTS[0]} sees {world.HERE}"
    assert len(named("slirp4netns")) == 1
    net.good("run", "-d", "--name", "box", "--network", "pasta", "host", "sleep", "60")
    assert len(named("pasta")) == 1
    said = net("run", "--rm", "--network", "slirp4netns", "host", "true")
    said.failed(125, "go out by pasta, not by slirp4netns")
    net("run", "--rm", "--network", "pasta:--mtu,1400", "host", "true").failed(125, "takes no options")


@pytest.mark.parametrize("who", ["root", "user"])
def test_killed_at_a_step(
    tun: None, who: str, request: pytest.FixtureRequest, rng: random.Random, full: bool
) -> None:
    """Wherever a command is killed that attaches and detaches, the next ones find the truth and leave nothing."""
    net: Atoll = request.getfixturevalue("net") if who == "root" else request.getfixturevalue("mine")("forwarder")
    net.good("network", "create", "app")
    words = ("run", "--rm", "--network", "app", "--network", "bridge", "-p", "8080:80", "host", "true")
    for step in STEPS if full else rng.sample(STEPS, 3):
        kill_at(net, step, *words)
        until(lambda: not net.all() or (net("rm", "-f", *net.all()) and not net.all()))
        net.good("system", "check", "--repair")
        assert net.good("system", "check") == "nothing to repair", step
        assert net.good(*words[:-1], "echo", "up") == "up", step
    until(lambda: not [line for line in ip("-o", "link").splitlines() if " atv" in line])


def test_the_outer_namespace_goes_by_itself(mine: Callable[..., Atoll]) -> None:
    net = mine()
    net.good("run", "--rm", "--network", "bridge", "host", "true")
    assert len(named("atoll:[outer")) == 2
    net.good("network", "prune", "-f", "--all")
    assert named("atoll:[outer", "pasta") == []


def test_without_any_program(mine: Callable[..., Atoll]) -> None:
    """Neither pasta nor slirp4netns: what they would carry is refused at once, and what is left is told."""
    net = mine("forwarder")
    ping = (
        "import socket as s\nk = s.socket(s.AF_INET, s.SOCK_DGRAM); k.settimeout(2)\n"
        f"k.connect(('{HOSTS[0]}', 443)); k.send(b'x')\n"
        "try: k.recv(9)\nexcept OSError as e: print(type(e).__name__)"
    )
    assert net.good("run", "--rm", "--network", "bridge", "host", "python3", "-c", ping) == "OSError"  # unreachable
    assert fetch(net, "http://allowed.example/", "--network", "bridge") == f"{HOSTS[0]} sees {world.HERE}"
