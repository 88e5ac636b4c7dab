"""The files that a container finds its names by: /etc/hosts, /etc/resolv.conf.

Holds: their content as pure functions, the host's resolvers, writing them in place (a container has them mounted: a
renamed file would not be seen). Does not hold: /etc/hostname (`plan.py`: it never changes).
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.base.value import Value
from atoll.network import addresses

_LOCAL = (
    "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
    "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
)
_SYSTEMD = "/run/systemd/resolve/resolv.conf"


class Resolvers(Value):
    """What a resolv.conf says (resolv.conf(5)). `alone`: containers reach none of the servers by themselves."""

    servers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    alone: bool = False

    @property
    def reachable(self) -> tuple[str, ...]:
        """Those that answer from another network namespace, too."""
        return () if self.alone else tuple([one for one in self.servers if not is_local(one)])


def is_local(server: str) -> bool:
    """Whether a name server is on the host's own loopback, or bound to one of its links."""
    return server.startswith("127.") or server in ("::1", "0.0.0.0", "::") or "%" in server


def of_host() -> Resolvers:
    """The host's, with those behind systemd-resolved's stub instead of the stub."""
    found = parse(_read("/etc/resolv.conf"))
    if found.servers and not found.reachable and "127.0.0.53" in found.servers:
        behind = parse(_read(_SYSTEMD))
        if behind.reachable:
            return behind
    return found


def _read(path: str) -> str:
    try:
        return files.read_text(path)
    except (OSError, ValueError):
        return ""


def parse(content: str) -> Resolvers:
    """A resolv.conf; what is unknown or wrong in it is passed over."""
    servers: list[str] = []
    search: tuple[str, ...] = ()
    options: list[str] = []
    for line in content.splitlines():
        words = line.split("#", 1)[0].split(";", 1)[0].split()
        if len(words) < 2:
            continue
        if words[0] == "nameserver" and addresses.is_address(words[1].partition("%")[0]):
            servers.append(words[1])
        elif words[0] in ("search", "domain"):
            search = tuple(words[1:])
        elif words[0] == "options":
            options += words[1:]
    return Resolvers(servers=tuple(servers), search=search, options=tuple(options))


def resolv_conf(
    *, host: Resolvers, own: str | None, dns: tuple[str, ...], search: tuple[str, ...], options: tuple[str, ...]
) -> str:
    """`own` is the network's own name server, which asks the others itself; without one the container asks them."""
    servers = (own,) if own else (dns or host.reachable)
    wanted = search or host.search
    lines = [f"nameserver {one}" for one in servers]
    if wanted and wanted != (".",):
        lines.append("search " + " ".join(wanted))
    chosen = options or host.options
    if own and not options:
        chosen = tuple([one for one in chosen if not one.startswith("ndots")] + ["ndots:0"])
    if chosen:
        lines.append("options " + " ".join(chosen))
    return "".join([line + "\n" for line in lines]) or "# This host knows no name server.\n"


def hosts(
    *, names: tuple[str, ...], own: tuple[bytes, ...], extra: tuple[str, ...], gateway: str, local_only: bool = False
) -> str:
    """`own` are the container's addresses, `extra` lines of --add-host, `gateway` this host as seen from inside."""
    lines = [_LOCAL]
    for one in extra:
        name, _, address = one.partition(":")
        lines.append(f"{gateway if address == 'host-gateway' else address}\t{name}\n")
    if gateway and not any(one.startswith(("host.docker.internal:", "host.atoll.internal:")) for one in extra):
        lines.append(f"{gateway}\thost.docker.internal host.containers.internal\n")
    shown = " ".join(dict.fromkeys(names))
    lines += [f"{addresses.show(one)}\t{shown}\n" for one in own]
    if not own:
        lines.append(f"127.0.1.1\t{shown}\n")
    return "".join(lines)


def write_in_place(path: str, content: str) -> None:
    """Replace a file's content, not the file. Raises OSError."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    try:
        files.write_all(fd, content.encode())
    finally:
        os.close(fd)
