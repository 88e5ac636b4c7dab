"""system reset: everything goes, and the roots are as on the first day.

Holds: `reset`. The order is the one in which things stand on one another: containers, networks, volumes, secrets,
images; then whatever else lies in the two roots. A command that is killed half-way has removed a part, and the next
reset removes the rest; no part is ever half there without `system check` saying so.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.engine.containers.remove import remove as remove_container
from atoll.engine.images.remove import remove as remove_image
from atoll.engine.networks.remove import clear as clear_networks
from atoll.engine.networks.remove import prune as prune_networks
from atoll.engine.secrets.manage import list_secrets
from atoll.engine.secrets.manage import remove as remove_secret
from atoll.engine.system.check import check
from atoll.engine.volumes import remove as volumes
from atoll.engine.volumes.store import everything, remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

_ROUNDS = 3
"""How often what other commands make meanwhile is removed before they are told of."""


class Reset(Value):
    """How many of each went."""

    containers: int
    networks: int
    volumes: int
    secrets: int
    images: int


def reset(engine: Engine) -> Reset:
    """Remove every container (running ones too), network, volume, secret and image, then empty the data root and the
    run root. The roots themselves and the configuration stay; an idle spawner, which nobody can reach any more, goes
    by itself.

    Raises Conflict when other commands go on making containers, and what a removal raises: then nothing that it
    did not reach is touched.
    """
    check(engine, repair=True)
    _pods(engine)
    containers = _containers(engine)
    secrets = [remove_secret(engine, one.name) for one in list_secrets(engine)]
    networks = prune_networks(engine)
    clear_networks(engine)
    named = [one.name for one in everything(engine)]
    for name in named:
        volumes.remove(engine, name)
    images = engine.store.images()
    for row in images:
        remove_image(engine, row.id, force=True)
    check(engine, repair=True)  # also empties the trash
    engine.store.close()
    for root in (engine.paths.data, engine.paths.run):
        for name in sorted(os.listdir(root)):
            _remove(engine, f"{root}/{name}")
    return Reset(
        containers=containers,
        networks=len(networks),
        volumes=len(named),
        secrets=len(secrets),
        images=len(images),
    )


def _pods(engine: Engine) -> None:
    from atoll.engine.pods import rows
    from atoll.engine.pods.remove import remove as remove_pod

    for row in rows.every(engine.store):
        try:
            remove_pod(engine, row.id, force=True)
        except errors.NotFound:
            continue


def _containers(engine: Engine) -> int:
    count = 0
    for _ in range(_ROUNDS):
        rows = engine.store.containers()
        if not rows:
            return count
        for row in rows:
            try:
                remove_container(engine, row.id, force=True, volumes=True)
                count += 1
            except errors.NotFound:  # it went by itself
                continue
    if engine.store.containers():
        raise errors.Conflict(
            "containers are being made while everything is to be removed",
            hint="end the programs that start them, then try again",
        )
    return count


def _remove(engine: Engine, path: str) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        remove_tree(engine, path)
    else:
        files.unlink_if_present(path)
