"""The outer namespace's way out: pasta, slirp4netns, or a forwarder of our own.

Holds: which of them this user can have (`usable`), the command of the first two as data (`command`), what is done
when the link has come (`settle`). Does not hold: starting and watching it (`keeper.py`), our own (`forwarder.py`).

    pasta          TCP, UDP, ping over IPv4 and IPv6; the host's own address; needs /dev/net/tun and a default route
    slirp4netns    TCP, UDP, ping over IPv4, IPv6 as far as libslirp has it; needs /dev/net/tun
    forwarder      outbound TCP; needs nothing

The host's loopback is shut in all three: pasta's --no-map-gw, slirp4netns's --disable-host-loopback, ours refuses.
"""

from __future__ import annotations

import os

from atoll.base.value import Value
from atoll.linux import rtnetlink
from atoll.network import addresses

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from atoll.linux.netlink import Netlink

PASTA, SLIRP, FORWARDER = "pasta", "slirp4netns", "forwarder"
KINDS = (PASTA, SLIRP, FORWARDER)
LINK = "up0"
MTU = 65520
"""Of the link and of all behind it: at 1500 the copies of small packets cost most of the throughput."""
TUN = "/dev/net/tun"
SLIRP_NET = addresses.parse_subnet("10.0.2.0/24")
_SLIRP6, _SLIRP6_DOOR = addresses.parse("fd00::100"), addresses.parse("fd00::2")
_PLACES = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


class Uplink(Value):
    """One that this user can have: its kind, and the program where it is one."""

    kind: str
    program: str = ""


def usable(environ: Mapping[str, str], wanted: str = "auto") -> tuple[Uplink, ...]:
    """Those that this user can have, best first: of all, or of the one that is wanted. Ours comes last, always."""
    found = []
    if os.access(TUN, os.R_OK | os.W_OK):
        for kind in (PASTA, SLIRP):
            program = _program(kind, environ.get("PATH", "") + ":" + _PLACES)
            if program and wanted in ("auto", kind):
                found.append(Uplink(kind=kind, program=program))
    if wanted in ("auto", FORWARDER):
        found.append(Uplink(kind=FORWARDER))
    return tuple(found)


def why_not(kind: str, environ: Mapping[str, str]) -> str:
    """Why this user cannot have pasta or slirp4netns, in words."""
    if not _program(kind, environ.get("PATH", "") + ":" + _PLACES):
        return f"{kind} is not installed"
    return f"{TUN} is not open to this user" if not os.access(TUN, os.R_OK | os.W_OK) else ""


def _program(name: str, path: str) -> str:
    for folder in path.split(":"):
        if folder.startswith("/") and os.access(f"{folder}/{name}", os.X_OK):
            return f"{folder}/{name}"
    return ""


def command(uplink: Uplink, user: int, net: int, *, options: Sequence[str] = (), link: str = LINK) -> list[str]:
    """The command that makes the link in the network namespace with the descriptor `net`, owned by the user namespace
    `user`, and stays. Nothing of the host is forwarded inwards by it, and nothing of the host's loopback outwards."""
    user_path, net_path = f"/proc/self/fd/{user}", f"/proc/self/fd/{net}"
    if uplink.kind == PASTA:
        return [
            uplink.program, "--config-net", "--quiet", "--foreground", "--ns-ifname", link, "--mtu", str(MTU),
            "--no-map-gw", "--no-dhcp", "--no-dhcpv6", "--no-ra", "--tcp-ports", "none", "--udp-ports", "none",
            "--tcp-ns", "none", "--udp-ns", "none", *options, "--userns", user_path, "--netns", net_path,
        ]  # fmt: skip
    return [
        uplink.program, "--configure", f"--mtu={MTU}", "--disable-host-loopback", "--disable-dns", "--enable-ipv6",
        *options, f"--userns-path={user_path}", "--netns-type=path", net_path, link,
    ]  # fmt: skip


def is_whole(route: Netlink, link: str = LINK) -> bool:
    """Whether the link is there with a default route by it. Raises OSError."""
    found = rtnetlink.link(route, link)
    if found is None or not found.up:
        return False
    return any(
        not to and index == found.index for family in (2, 10) for to, _, index, _ in rtnetlink.routes(route, family)
    )


def settle(route: Netlink, uplink: Uplink, link: str = LINK) -> None:
    """What is left to do once the link has come: slirp4netns waits for an advertisement, which a namespace that
    forwards does not hear. Raises OSError."""
    found = rtnetlink.link(route, link)
    if uplink.kind == SLIRP and found is not None:
        route.send(
            [
                rtnetlink.new_address(found.index, _SLIRP6, 64, exclusive=False),
                rtnetlink.new_route(found.index, _SLIRP6_DOOR),
            ]
        )
