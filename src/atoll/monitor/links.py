"""The interfaces of a machine: what its container's network namespace was given goes to its keeper, as descriptors.

Holds: `hand_over`. Does not hold: the taps (`network/tap.py`), the namespace's interfaces (`engine`).
Done when the container is started: by then its networks are there, and nothing of its own has run. Where no tap may
be opened (an ordinary user, where /dev/net/tun is root's), the VMM has a network of its own, made of sockets that it
opens inside that namespace: so bridge, policy and rates hold for it as well. It listens there at the ports that are
published or exposed, in the guest's stead; nobody can connect to another of the guest's.
"""

from __future__ import annotations

import os
from _socket import AF_UNIX, SCM_RIGHTS, SOCK_SEQPACKET, SOL_SOCKET, socket
from _struct import pack

from atoll.base import errors, files, jsontext
from atoll.base.rollback import Rollback
from atoll.guest.enter import LAST, NOTE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.vm.machine import Driver

OF_VMM = {
    "name": "eth0",
    "mac": "525400000001",
    "mtu": 1500,
    "addresses": [["0a00020f", 24]],
    "routes": [["", 0, "0a000202"]],
}
"""QEMU's user network, qemu(1): 10.0.2.15/24, gateway 10.0.2.2."""
FORWARDS_MAX = 512


def hand_over(sync: int, pid: int, run: str, bundle: str) -> None:
    """Send the keeper, which `pid` is about to become, what it is to do, where its last word goes, and its
    interfaces. Raises AtollError, OSError."""
    # By descriptor: the jail's root lies over the run directory, where its init mounted it.
    with Rollback() as undo:
        note = os.open(f"{run}/{NOTE}", os.O_RDONLY | os.O_CLOEXEC)
        undo.push(os.close, note)
        last = os.open(f"{run}/{LAST}", os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        undo.push(os.close, last)
        links, fds = _interfaces(pid, bundle, _driver(note))
        undo.release()
    fds[:0] = [note, last]
    end = socket(AF_UNIX, SOCK_SEQPACKET, 0, os.dup(sync))
    try:
        rights = [(SOL_SOCKET, SCM_RIGHTS, pack(f"{len(fds)}i", *fds))]
        end.sendmsg([jsontext.dumps({"links": links}).encode()], rights)
    finally:
        end.close()
        for fd in fds:
            os.close(fd)


def _driver(note: int) -> Driver:
    """What the machine is made by; the note is read again, from its beginning, by the keeper."""
    from atoll.vm.drivers import named

    data = os.pread(note, os.fstat(note).st_size, 0)
    return named(str(jsontext.loads(data).get("driver") or "qemu"))


def _of_vmm(driver: Driver, bundle: str) -> tuple[list[dict[str, Any]], list[int]]:
    """The VMM's own network. Raises Unsupported."""
    if not driver.user_network:
        why = "no tap may be opened here" if driver.taps else "it takes no tap"
        raise errors.Unsupported(
            f"{driver.title} has no network of its own, and {why}",
            hint='--network none, driver = "qemu" in [vm] of atoll.toml, or /dev/net/tun with mode 0666',
        )
    return [{**OF_VMM, "forwards": _forwards(bundle)}], []


def _forwards(bundle: str) -> list[list[Any]]:
    """(protocol, port) of the container's ports that somebody may want to reach. Raises Corrupt."""
    try:
        wishes = jsontext.loads(files.read_bytes(f"{bundle}/network.json"))
        ports = [*wishes.get("ports", ()), *wishes.get("exposed", ())]
        found = {(one.get("protocol", "tcp"), one["container"]) for one in ports}
    except FileNotFoundError:
        return []
    except (ValueError, KeyError, TypeError) as error:
        raise errors.Corrupt(f"{bundle}/network.json is damaged: {error}") from None
    if len(found) > FORWARDS_MAX:
        raise errors.Exhausted(f"a machine with a network of its VMM's has {FORWARDS_MAX} ports at most")
    return [[protocol, port] for protocol, port in sorted(found) if protocol in ("tcp", "udp")]


def _interfaces(pid: int, bundle: str, driver: Driver) -> tuple[list[dict[str, Any]], list[int]]:
    from atoll.network import tap

    try:
        ns = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    except PermissionError:
        return _of_vmm(driver, bundle) if os.path.exists(f"{bundle}/network.json") else ([], [])
    try:
        links = tap.guest_links(ns)
        if not links:
            return [], []
        if not driver.taps:
            return _of_vmm(driver, bundle)
        most = 2 if driver.second else 1
        if len(links) > most:
            raise errors.Unsupported(
                f"a machine that {driver.title} makes is on {most} networks at most, not {len(links)}",
                hint="atoll network disconnect NETWORK CONTAINER",
            )
        try:
            taken = [tap.take(ns, links[0], vnet_header=driver.header)]
        except (errors.Denied, errors.NotFound):  # what it opens in there reaches every network of the container's
            return _of_vmm(driver, bundle)
        try:
            taken += [tap.take(ns, link, vnet_header=False) for link in links[1:]]
        except BaseException:
            taken[0].close()
            raise
        return [tap.told(one.link) for one in taken], [one.fd for one in taken]
    finally:
        os.close(ns)
