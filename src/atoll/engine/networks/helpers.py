"""Talking to the helpers: starting one, handing it sockets, telling it that something changed.

Holds: `tell`, `tell_if_there`, `end`. Does not hold: what a helper does (`serve.py`, `atoll.network.helper`). A
helper reads the store when it is told to, and keeps nothing that is not there but open connections.

    command                                  helper
    connect to <run>/networks/<id>.sock  →   (nobody: the command binds it anew and executes one)
    "reload" and a list, sockets with it →   takes the sockets, reads the store
                                         ←   "ok", or what it could not do, in words
    "end"                                →   lets go of all, and ends
"""

from __future__ import annotations

import os
import struct
from _socket import SCM_RIGHTS, SOL_SOCKET, socket

from atoll.base import errors, jsontext
from atoll.base.launch import argv
from atoll.engine.networks import outer
from atoll.network.helper import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.networks.publish import Held
    from atoll.engine.networks.rows import NetworkRow

MODULE = "atoll.engine.networks.serve"
PATIENCE = 10.0
_LIMIT = 1 << 16
_MOST_FDS = 250
"""What one message can carry (SCM_MAX_FD is 253); ports beyond that the helper binds itself."""


def folder(engine: Engine) -> str:
    """Where helpers' sockets are."""
    return f"{engine.paths.run}/networks"


def socket_path(engine: Engine, network: str) -> str:
    """A network's helper's."""
    return f"{folder(engine)}/{network[:16]}.sock"


def tell(engine: Engine, row: NetworkRow, held: Held | None = None) -> None:
    """Have the network's helper, started if there is none, take in what changed, and the sockets in `held`. Raises
    Unavailable with its words."""
    try:
        os.makedirs(folder(engine), 0o700, exist_ok=True)
        peer = start.connect(socket_path(engine, row.id)) or _start(engine, row)
    except OSError as error:
        raise errors.from_os_error(error, f"reach the helper of network {row.name}") from error
    _reload(peer, row, held)


def tell_if_there(engine: Engine, row: NetworkRow) -> None:
    """The same for a helper that runs; none is fine, and so is one that is just ending."""
    try:
        peer = start.connect(socket_path(engine, row.id))
    except OSError:
        return
    if peer is None:
        return
    try:
        _reload(peer, row, None)
    except errors.Unavailable:
        return


def end(engine: Engine, row: NetworkRow) -> None:
    """Have a helper end that is in a namespace which is nobody's any more, with the ports that it holds; none is
    fine, and so is one that is just ending."""
    try:
        peer = start.connect(socket_path(engine, row.id))
        if peer is None:
            return
        peer.settimeout(PATIENCE)
        try:
            peer.send(jsontext.dumps({"do": "end", "sockets": []}).encode())
            peer.recv(_LIMIT)
        finally:
            peer.close()
    except OSError:
        return


def _start(engine: Engine, row: NetworkRow) -> socket:
    peer = start.begin(
        socket_path(engine, row.id), f"{folder(engine)}/lock", lambda listener: _execute(engine, row, listener)
    )
    if peer is None:
        raise errors.Unavailable(f"the helper of network {row.name} does not listen")
    return peer


def _execute(engine: Engine, row: NetworkRow, listener: int) -> None:
    environ = {
        **engine.environ,
        "ATOLL_DATA_ROOT": engine.paths.data,
        "ATOLL_RUN_ROOT": engine.paths.run,
    }
    said = f"{engine.paths.run}/faults.log"
    if outer.is_host(engine):
        start.execute(argv(row.id, row.name, module=MODULE), environ, said, (listener,))
        return
    there = outer.keeper(engine)
    try:
        start.execute(argv(row.id, row.name, "outer", module=MODULE), environ, said, (listener, there.net))
    finally:
        there.close()


def _reload(peer: socket, row: NetworkRow, held: Held | None) -> None:
    sockets = list(held.sockets.items()) if held is not None else []
    for _, one in sockets[_MOST_FDS:]:
        one.close()
    sockets = sockets[:_MOST_FDS]
    message = jsontext.dumps({"do": "reload", "sockets": [list(key) for key, _ in sockets]}).encode()
    fds = struct.pack(f"{len(sockets)}i", *[one.fileno() for _, one in sockets])
    peer.settimeout(PATIENCE)
    try:
        peer.sendmsg([message], [(SOL_SOCKET, SCM_RIGHTS, fds)] if sockets else [])
        answer = peer.recv(_LIMIT)
    except OSError as error:
        raise errors.Unavailable(f"the helper of network {row.name} does not answer: {error}") from None
    finally:
        peer.close()
    if answer != b"ok":
        raise errors.Unavailable(
            f"the helper of network {row.name}: {answer.decode(errors='replace') or 'it has ended'}"
        )
