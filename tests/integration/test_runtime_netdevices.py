"""`linux.netDevices` on real interfaces: dummies of the test's own network namespace, moved into containers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from kit.bundle import Bundle, Runtime


def ip(*words: str) -> list[dict[str, Any]]:
    """ip(8) in the test's own network namespace."""
    done = subprocess.run(["ip", "-j", *words], capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout or "[]")
    return found


@pytest.fixture
def dummy(sandbox: object, leak_check: None) -> Iterator[str]:
    """An interface with a permanent global address of each family, a link-local one, and an MTU of its own."""
    made = subprocess.run(["ip", "link", "add", "atoll-nd0", "type", "dummy"], capture_output=True, text=True)
    if made.returncode != 0:
        made = subprocess.run(
            ["ip", "link", "add", "atoll-nd0", "type", "veth", "peer", "name", "atoll-nd1"],
            capture_output=True,
            text=True,
        )
    assert made.returncode == 0, made.stderr
    ip("link", "set", "atoll-nd0", "mtu", "1400")
    ip("addr", "add", "192.0.2.7/24", "brd", "+", "dev", "atoll-nd0")
    ip("addr", "add", "2001:db8::7/64", "dev", "atoll-nd0", "nodad")
    ip("addr", "add", "169.254.7.7/16", "scope", "link", "dev", "atoll-nd0")
    ip("link", "set", "atoll-nd0", "up")
    yield "atoll-nd0"
    subprocess.run(["ip", "link", "del", "atoll-nd0"], capture_output=True, check=False)


def bundle_of(runtime: Runtime, devices: dict[str, Any]) -> Bundle:
    bundle = runtime.bundle()
    bundle.config["linux"]["netDevices"] = devices
    return bundle


def inside(pid: int, *words: str) -> list[dict[str, Any]]:
    """ip(8) in the network of a process."""
    done = subprocess.run(
        ["nsenter", "-t", str(pid), "-n", "ip", "-j", *words], capture_output=True, text=True, check=True
    )
    found: list[dict[str, Any]] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize(
    ("given", "expected"), [({}, "atoll-nd0"), ({"name": "eth0"}, "eth0"), ({"name": "nd%d"}, "nd0")]
)
@pytest.mark.parametrize("user_namespace", [False, True], ids=["initial-user", "own-user"])
@pytest.mark.spec("config-linux#netDevices.moved", "config-linux#netDevices.attributes")
@pytest.mark.spec("config-linux#netDevices.up")
def test_it_arrives_up_with_its_addresses(
    root_runtime: Runtime, dummy: str, given: dict[str, str], expected: str, user_namespace: bool
):
    bundle = bundle_of(root_runtime, {dummy: given})
    if user_namespace:
        linux = bundle.config["linux"]
        linux["namespaces"].append({"type": "user"})
        linux["uidMappings"] = linux["gidMappings"] = [{"containerID": 0, "hostID": 0, "size": 65536}]
    name = root_runtime.started(bundle)
    pid = root_runtime.state(name)["pid"]
    (link,) = [one for one in inside(pid, "addr", "show") if one["ifname"] == expected]
    assert link["mtu"] == 1400
    assert "UP" in link["flags"]
    addresses = {one["local"]: one for one in link["addr_info"] if one["scope"] == "global"}
    assert set(addresses) == {"192.0.2.7", "2001:db8::7"}
    assert addresses["192.0.2.7"]["prefixlen"] == 24
    assert addresses["192.0.2.7"]["broadcast"] == "192.0.2.255"
    assert "169.254.7.7" not in [one.get("local") for one in link["addr_info"]]  # of link scope: not kept
    assert dummy not in [one["ifname"] for one in ip("link", "show")]


@pytest.mark.spec("config-linux#netDevices.back")
def test_a_failed_creation_gives_it_back(root_runtime: Runtime, dummy: str):
    bundle = bundle_of(root_runtime, {dummy: {"name": "eth0"}})
    root_runtime.run(bundle, "no-such-program").failed(1, "executable file not found")
    (link,) = ip("addr", "show", "dev", dummy)
    assert "UP" in link["flags"]
    assert {one["local"] for one in link["addr_info"] if one["scope"] == "global"} == {"192.0.2.7", "2001:db8::7"}


@pytest.mark.spec("config-linux#netDevices.possible", "config-linux#netDevices.name-taken")
@pytest.mark.spec("config-linux#netDevices.name-valid")
def test_what_cannot_be_moved_is_refused(root_runtime: Runtime, dummy: str):
    for devices, words in (
        ({"atoll-none": {}}, "move the network device atoll-none"),
        ({"lo": {}}, "move the network device lo"),
        ({dummy: {"name": "lo"}}, "move the network device atoll-nd0"),
        ({dummy: {"name": "a/b"}}, "cannot name an interface"),
        ({dummy: {"name": "much-too-long-a-name"}}, "cannot name an interface"),
        ({dummy: {"name": "eth0"}, "lo": {"name": "eth0"}}, "given twice"),
    ):
        root_runtime.run(bundle_of(root_runtime, devices), "true").failed(1, words)
        assert ip("link", "show", "dev", dummy)
    shared = bundle_of(root_runtime, {dummy: {}})
    kinds = shared.config["linux"]["namespaces"]
    kinds[:] = [one for one in kinds if one["type"] != "network"]
    root_runtime.run(shared, "true").failed(1, "linux.netDevices: needs a network namespace")
