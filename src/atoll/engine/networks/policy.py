"""A container's egress policy: in force before its program runs, changed while it does.

Holds: `apply`, `lift`, `change`. Does not hold: what a policy is (`network/egress.py`), opening names (the helper).
The rules stand in the kernel: a helper that dies opens nothing more, and what goes by it ends.
"""

from __future__ import annotations

import errno

from atoll.base import errors
from atoll.engine.networks import outer, rows
from atoll.linux import nftables as nft
from atoll.linux.nftables import INET
from atoll.network import egress, firewall

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.rows import Endpoint
    from atoll.network.bridge import Host


def apply(host: Host, container: str, endpoints: list[Endpoint], words: tuple[str, ...]) -> None:
    """Put the policy in force, in one batch, in place of an earlier one. Raises AtollError."""
    if not endpoints:
        return
    messages = egress.chain(container, egress.parse(words), endpoints[0].network)
    for one in endpoints:
        messages += firewall.limited(egress.chain_name(container), one.addresses).add()
    try:
        forget_opened(host, endpoints)
        host.commit(messages)
    except OSError as error:
        raise errors.from_os_error(error, "put the egress policy in force") from error


def forget_opened(host: Host, endpoints: list[Endpoint]) -> None:
    """Close what names have opened for these addresses: the next to have one has a policy of its own, or none.
    Raises OSError."""
    own = tuple([address for one in endpoints for address in one.addresses])
    for name, width in (("proxy4", 4), ("proxy6", 16), ("open4", 4), ("open6", 16)):
        found = [key for key, _ in nft.elements(host.filters, INET, firewall.TABLE, name) if key[:width] in own]
        if found:
            gone = firewall.Change().put(name, [nft.Element(key) for key in found])
            host.take_away(gone)


def lift(host: Host, container: str, endpoints: list[Endpoint]) -> None:
    """No policy any more; none before is fine. Raises AtollError."""
    try:
        for one in endpoints:
            host.take_away(firewall.limited(egress.chain_name(container), one.addresses))
        forget_opened(host, endpoints)
        if nft.chain_exists(host.filters, INET, firewall.TABLE, egress.chain_name(container)):
            name = egress.chain_name(container)
            host.commit([nft.flush_chain(INET, firewall.TABLE, name), nft.delete_chain(INET, firewall.TABLE, name)])
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise errors.from_os_error(error, "lift the egress policy") from error


def lift_from(host: Host, container: str, endpoints: list[Endpoint]) -> None:
    """The policy stays for the container's other networks. Raises AtollError."""
    try:
        for one in endpoints:
            host.take_away(firewall.limited(egress.chain_name(container), one.addresses))
        forget_opened(host, endpoints)
    except OSError as error:
        raise errors.from_os_error(error, "lift the egress policy") from error


def change(engine: Engine, name: str, words: tuple[str, ...]) -> None:
    """Another policy for a container, running or not; no words: none. Connections that stand go on.

    Raises NotFound, InvalidArgument, FailedPrecondition for one that is on no network.
    """
    from atoll.engine.locks import lock_container
    from atoll.engine.networks import attach, helpers

    egress.parse(words)
    row = engine.store.container(name)
    bundle = engine.paths.container(row.id)
    with lock_container(bundle):
        try:
            networking, names = attach.load(bundle)
        except errors.NotFound:
            raise errors.FailedPrecondition(f"container {row.name} is on no network of Atoll's") from None
        attach.save(bundle, networking.replace(egress=words), names)
        living = [one for one in rows.of_container(engine.store, row.id) if one.mac]
        if not living:
            return
        host = outer.host(engine)
        try:
            if words:
                apply(host, row.id, living, words)
            else:
                lift(host, row.id, living)
        finally:
            host.close()
        for one in living:
            network = rows.by_id(engine.store, one.network)
            if network is not None and network.network.driver == "bridge":
                helpers.tell(engine, network)


def refusals(engine: Engine, name: str) -> str:
    """What a container was refused, oldest first: a JSON object a line. Raises NotFound."""
    from atoll.base import files

    row = engine.store.container(name)
    text = ""
    for file in ("egress.log.1", "egress.log"):
        try:
            text += files.read_text(f"{engine.paths.container(row.id)}/{file}")
        except FileNotFoundError:
            continue
    return text
