"""SIGKILL at each step of putting a container on networks and of taking it off: the next command is right.

`kit/killed_step.py` counts the steps and ends the command at one of them. Root: two networks, a port, egress.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable

from kit import processes
from kit.command import Atoll
from kit.networks import get
from kit.outside import ip

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "kit", "killed_step.py")
Sample = Callable[[list[tuple[str, int]], int], list[tuple[str, int]]]


def step(net: Atoll, when: str, number: int, *words: str) -> int:
    """Run it; how it ended. With 0: how many steps there are."""
    path = f"{net.folder}/steps"
    child = subprocess.Popen(
        [sys.executable, SCRIPT, when, str(number), path, *words], env=net.env, cwd="/",
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    processes.KEEP.add(child.pid)
    _, err = child.communicate(timeout=60)
    processes.KEEP.discard(child.pid)
    if number:
        return child.returncode
    assert child.returncode == 0, err
    with open(path) as stream:
        return int(stream.read())


def left(net: Atoll) -> list[str]:
    """Links and elements of containers that there are none of."""
    found = [line for line in ip("-o", "link").splitlines() if ": atv" in line]
    table = subprocess.run(["nft", "list", "table", "inet", "atoll"], capture_output=True, text=True).stdout
    for name in ("publish4", "publish6", "limited4", "proxy4", "open4"):
        body = table.partition(f" {name} {{")[2].partition("\n\t}")[0]
        found += [f"{name}:{body}"] if "elements" in body else []
    return found


def settled(net: Atoll) -> None:
    """After a repair nothing is left, and the same again works."""
    deadline = time.monotonic() + 15
    while True:
        listed = net.all()
        net("rm", "-f", *listed) if listed else None
        net("system", "check", "--repair")
        if not net.all() and not left(net) and net("system", "check").out.strip() == "nothing to repair":
            return
        assert time.monotonic() < deadline, (net.all(), left(net), net("system", "check").out)
        time.sleep(0.1)


def test_attach_and_detach_killed_at_each_step(net: Atoll, sample: Sample) -> None:
    net.good("network", "create", "app")
    flags = ("--name", "box", "--network", "app", "--network", "bridge", "-p", "8080:80", "--egress", "none")
    run = ("run", "-d", *flags, "host", "sleep", "100")
    verbs = {"run": run, "disconnect": ("network", "disconnect", "app", "box"), "rm": ("rm", "-f", "box")}
    counts: dict[str, int] = {}
    for _ in range(2):  # the first time there are bridges and tables to make, too
        for verb, words in verbs.items():
            counts[verb] = step(net, "before", 0, *words)
    assert min(counts.values()) > 3
    steps = [(f"{when} {verb}", number) for verb, count in counts.items() for number in range(1, count + 1)
             for when in ("before", "after")]  # fmt: skip
    for what, number in sample(steps, 6):
        when, _, verb = what.partition(" ")
        if verb != "run":
            net.good(*run)
        assert step(net, when, number, *verbs[verb]) in (-9, 0), (what, number)  # 0: it had fewer steps this time
        settled(net)
    net.good(*run)
    assert get("http://127.0.0.1:8080/") == ""
    net.good("rm", "-f", "box")
