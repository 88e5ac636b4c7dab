"""Talking to the helpers: starting one, handing it sockets, telling it that something changed.

Holds: `tell`, `tell_if_there`, `socket_path`. Does not hold: what a helper does (`serve.py`, `atoll.network.helper`).
A helper is a program of its own that reads the store when it is told to; it keeps nothing that is not there.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.publish import Held
    from atoll.engine.networks.rows import NetworkRow


def tell(engine: Engine, row: NetworkRow, held: Held) -> None:
    """Have the network's helper, started if there is none, take in what changed, and the sockets in `held`."""


def tell_if_there(engine: Engine, row: NetworkRow) -> None:
    """The same for a helper that runs; none is fine."""
