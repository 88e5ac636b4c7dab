"""One image at every level: the same command with one flag changed, and everything that is asked of it afterwards."""

from __future__ import annotations

import os
import subprocess

import pytest

from kit import outside as world
from kit import vm
from kit.command import Atoll
from kit.networks import get
from kit.outside import HOSTS, Outside
from kit.sandbox import Sandbox
from kit.waiting import said

pytestmark = pytest.mark.timeout(300)

LEVELS = ("container", "gvisor", "vm")
SERVE = "echo up; trap 'echo term; exit 4' TERM; httpd -f -p 80 -h /www & while :; do sleep 0.2; done"
FETCH = ("sh", "-c", r"printf 'GET / HTTP/1.0\r\nHost: %s\r\n\r\n' $0 | nc -w 10 $0 80")
"""By nc: the wget of a static busybox cannot look names up."""


@pytest.mark.parametrize("level", LEVELS)
def test_one_image_through_the_same_command(
    net: Atoll, outside: Outside, busybox: str, sandbox: Sandbox, level: str
) -> None:
    if level == "vm":
        vm.give(net, vm.store(sandbox.run_outside))
    net.good("network", "create", "front")
    pages = f"{sandbox.scratch}/pages-{level}"
    os.mkdir(pages)
    with open(f"{pages}/index.html", "w") as stream:
        stream.write("from the volume\n")
    net.good("run", "-d", "--name", "peer", "--network", "front", busybox, "sh", "-c",
             "mkdir /www; echo from the peer > /www/index.html; exec httpd -f -p 80 -h /www")  # fmt: skip
    web = ("-v", f"{pages}:/www", "-p", "8080:80", "--network", "front", "--network-alias", "pages",
           "-m", "64m", "--cpus", "1", "--pids-limit", "100", "-e", "WORD=given",
           "--egress", "allow=allowed.example",
           "--network-rate-in", "10m", "--network-rate-out", "20m")  # fmt: skip
    net.good("run", "-d", "--name", "web", "--isolation", level, *web, busybox, "sh", "-c", SERVE)
    assert net.inspect("web")["Atoll"]["Isolation"] == level  # type: ignore[index]
    # The published port: from the host's own loopback, and from another host's namespace.
    said(lambda: get("http://127.0.0.1:8080/"), "from the volume")
    said(lambda: outside.get(world.HERE, 8080), "from the volume")
    # Names, both ways.
    for name in ("web", "pages"):
        said(lambda name=name: str(net("exec", "peer", *FETCH, name)), "from the volume")
    said(lambda: str(net("exec", "web", *FETCH, "peer")), "from the peer")
    # The policy: by name what is allowed, and neither by name nor by address what is not.
    said(lambda: str(net("exec", "web", *FETCH, "allowed.example")), f"{HOSTS[0]} sees {world.HERE}")
    for host in ("other.example", HOSTS[2]):
        assert "sees" not in str(net("exec", "web", *FETCH, host)), host
    assert f"tcp {HOSTS[2]}:80" in net.good("network", "egress", "--log", "web")
    # Rates lie on the interface, whoever is behind it.
    shown = subprocess.run(["tc", "qdisc", "show"], capture_output=True, text=True, check=True).stdout
    assert "rate 83886Kbit" in shown
    # Files, both ways; exec, its code, its input, its user; logs; figures.
    net.good("exec", "web", "sh", "-c", "echo $WORD > /www/written")
    with open(f"{pages}/written") as stream:
        assert stream.read() == "given\n"
    assert net("exec", "web", "sh", "-c", "exit 7").code == 7
    assert net("exec", "-i", "web", "cat", stdin="typed").good() == "typed"
    assert net.good("exec", "-u", "1000", "web", "id", "-u") == "1000"
    assert net.good("logs", "web").split() == ["up"]
    assert " / " in net.good("stats", "--no-stream", "--format", "{{.MemUsage}}", "web")
    net.good("stop", "web")
    assert net.state("web")["ExitCode"] == 4
    assert net.good("logs", "web").split() == ["up", "term"]
    # Again from what is on the disk: it serves at the same place.
    net.good("start", "web")
    said(lambda: get("http://127.0.0.1:8080/"), "from the volume")
    net.good("rm", "-f", "web", "peer")
    net.good("network", "rm", "front")
