"""A machine in a container's place: the tap of its network namespace is what a veth is, whoever is behind it.

The normal tier puts a Linux stack behind the descriptor (`kit/guest.py`); the whole one also a kernel of its own.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from atoll.base import errors
from atoll.network import tap
from atoll.vm import kernel
from kit import outside as world
from kit import processes, vm
from kit.command import Atoll
from kit.guest import Guest
from kit.networks import GET, get, settings, web
from kit.outside import HOSTS, Outside
from kit.sandbox import Sandbox

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


GUEST = """#!/bin/sh
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
ip link set lo up
ip link set eth0 up mtu {mtu}
ip addr add {address} dev eth0
ip route add default via {gateway}
ask() {{ printf "GET / HTTP/1.0\\r\\n\\r\\n" | nc -w 5 "$1" 80 2>&1 | tail -n 1; }}
echo "said $(ask {web})"
echo "refused $(ask {closed})"
mkdir /tmp/www; echo from the machine > /tmp/www/index.html
httpd -p 80 -h /tmp/www
echo serving
while true; do sleep 1; done
"""


@pytest.mark.full
@pytest.mark.timeout(200)
def test_a_kernel_of_its_own(net: Atoll, sandbox: Sandbox) -> None:
    """A bare QEMU with the descriptor: neighbours by address and out of it, its policy, its published port."""
    net.good("network", "create", "app")
    web(net, "--name", "web", "--network", "app")
    flags = ("--network", "app", "-p", "8080:80", "--egress", f"allow={HOSTS[0]}")
    net.good("run", "-d", "--name", "vm", *flags, "host", "sleep", "200")
    image = kernel.installed(vm.store(sandbox.run_outside)).path
    other = settings(net, "web", "app")["IPAddress"]
    tree = f"{sandbox.scratch}/guest"
    for folder in ("bin", "proc", "sys", "dev", "tmp", "etc"):
        os.makedirs(f"{tree}/{folder}")
    for name, text in (("nsswitch.conf", "hosts: files\n"), ("hosts", "127.0.0.1 localhost\n"), ("resolv.conf", "")):
        with open(f"{tree}/etc/{name}", "w") as stream:
            stream.write(text)
    shutil.copy("/bin/busybox", f"{tree}/bin/busybox")
    for name in ("sh", "mount", "ip", "nc", "printf", "tail", "echo", "mkdir", "httpd", "sleep"):
        os.symlink("busybox", f"{tree}/bin/{name}")
    with taken(net, "vm") as (one,):
        with open(f"{tree}/init", "w") as stream:
            stream.write(GUEST.format(mtu=one.link.mtu, address=one.link.addresses_text[0],
                                      gateway=one.link.gateways[0], web=other, closed=HOSTS[2]))  # fmt: skip
        os.chmod(f"{tree}/init", 0o755)
        disk = vm.erofs(tree, f"{sandbox.scratch}/guest.erofs")
        words = ["qemu-system-x86_64", "-M", "microvm,acpi=off", "-accel", "tcg", "-cpu", "max", "-m", "256",
                 "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-kernel", image,
                 "-append", "console=hvc0 root=/dev/vda rootfstype=erofs ro init=/init quiet",
                 "-global", "virtio-mmio.force-legacy=false",
                 "-drive", f"file={disk},format=raw,if=none,id=root,readonly=on",
                 "-device", "virtio-blk-device,drive=root",
                 "-chardev", "stdio,id=con", "-device", "virtio-serial-device", "-device", "virtconsole,chardev=con",
                 "-netdev", f"tap,id=net,fd={one.fd},vhost=off",
                 "-device", f"virtio-net-device,netdev=net,mac={one.link.mac_text}"]  # fmt: skip
        machine = subprocess.Popen(
            words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, pass_fds=[one.fd]
        )
        processes.KEEP.add(machine.pid)
        said = []
        try:
            assert machine.stdout is not None
            for line in machine.stdout:
                said.append(line.strip())
                if line.startswith("serving"):
                    break
            assert f"said ::ffff:{one.link.addresses_text[0].split('/')[0]}" in said, said
            assert any(line.startswith("refused") and "refused" in line[8:].lower() for line in said), said
            assert get("http://127.0.0.1:8080/index.html") == "from the machine"
        finally:
            machine.kill()
            machine.communicate()
            processes.KEEP.discard(machine.pid)


def net_server(command: list[str]) -> subprocess.Popen[str]:
    """A server that has said that it listens."""
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    assert child.stdout.readline() == "up\n"
    return child
