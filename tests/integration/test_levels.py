"""One image at every level: the same command with one flag changed, and everything that is asked of it afterwards."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable

import pytest

from kit import kernels, vm
from kit import outside as world
from kit.command import Atoll
from kit.networks import get
from kit.outside import HOSTS, Outside
from kit.sandbox import Sandbox
from kit.waiting import said

pytestmark = pytest.mark.timeout(300)

LEVELS = ("container", "gvisor", "vm")
SERVE = "echo up; trap 'echo term; exit 4' TERM; httpd -f -p 80 -h /www & while :; do sleep 0.2; done"
HUNGRY = ("dd", "if=/dev/zero", "of=/dev/null", "bs=100M", "count=1")
PIDS_MAX = "cat /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null"
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
    _limits(net, level)
    said(lambda: get("http://127.0.0.1:8080/"), "from the volume")
    net.good("stop", "web")
    state = net.state("web")
    assert (state["ExitCode"], state["OOMKilled"]) == (4, level != "gvisor")
    assert net.good("logs", "web").split() == ["up", "term"]
    # Again from what is on the disk: it serves at the same place.
    net.good("start", "web")
    said(lambda: get("http://127.0.0.1:8080/"), "from the volume")
    net.good("rm", "-f", "web", "peer")
    net.good("network", "rm", "front")


def _limits(box: Atoll, level: str) -> None:
    """What is beyond them is killed, and the server stays. gVisor's are kept by the host for its sandbox as a whole,
    which a want of memory would end."""
    if level == "gvisor":
        return
    assert box("exec", "web", *HUNGRY).code == 137
    assert box("exec", "web", "sh", "-c", PIDS_MAX).out.split() == ["100"]


@pytest.mark.full
@pytest.mark.parametrize("level", ["container", "vm"])
def test_an_ordinary_user_through_the_same_command(
    outside: Outside, fresh_rootless: Callable[..., Atoll], busybox: str, sandbox: Sandbox, level: str
) -> None:
    """His too: with the limits of a cgroup that is his, and a network in a namespace that is. test_vm.py has one of
    a template, without a volume."""
    box = fresh_rootless("atoll-full")
    kernels.allow(box)
    with open(box.config, "a") as stream:
        stream.write('[network]\nuplink = "forwarder"\n')
    if level == "vm":
        box.good("vm", "kernel", "install", "--from", kernels.wheel(sandbox.run_outside))
    box.good("network", "create", "front")
    assert box.user is not None
    pages = f"{sandbox.scratch}/his-pages-{level}"
    os.mkdir(pages)
    with open(f"{pages}/index.html", "w") as stream:
        stream.write("from the volume\n")
    for path in (pages, f"{pages}/index.html"):
        os.chown(path, box.user.uid, box.user.gid)
    box.good("run", "-d", "--name", "peer", "--network", "front", busybox, "sh", "-c",
             "mkdir /www; echo from the peer > /www/index.html; exec httpd -f -p 80 -h /www")  # fmt: skip
    web = ("-v", f"{pages}:/www", "-p", "8080:80", "--network", "front", "--network-alias", "pages",
           "-m", "64m", "--pids-limit", "100", "-e", "WORD=given", "--egress", f"allow={HOSTS[0]}")  # fmt: skip
    box.good("run", "-d", "--name", "web", "--isolation", level, *web, busybox, "sh", "-c", SERVE, timeout=200)
    assert box.inspect("web")["Atoll"]["Isolation"] == level  # type: ignore[index]
    said(lambda: get("http://127.0.0.1:8080/"), "from the volume")
    for name in ("web", "pages"):
        said(lambda name=name: str(box("exec", "peer", *FETCH, name)), "from the volume")
    said(lambda: str(box("exec", "web", *FETCH, "peer")), "from the peer")
    said(lambda: str(box("exec", "web", *FETCH, HOSTS[0])), f"{HOSTS[0]} sees")
    assert "sees" not in str(box("exec", "web", *FETCH, HOSTS[2]))
    box.good("exec", "web", "sh", "-c", "echo $WORD > /www/written")
    with open(f"{pages}/written") as stream:
        assert stream.read() == "given\n"
    _limits(box, level)
    said(lambda: get("http://127.0.0.1:8080/"), "from the volume")
    box.good("stop", "web")
    state = box.state("web")
    assert (state["ExitCode"], state["OOMKilled"]) == (4, True)
    box.good("rm", "-f", "web", "peer")
    box.good("network", "rm", "front")
    box.good("network", "prune", "-f", "--all")
    assert world.settled() == []
