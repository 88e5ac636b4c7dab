"""`Client`: the engine of one store, for any thread.

Holds: `Client` and the engines behind it, one a thread (a connection to the store is for one). Does not hold: the
objects (`containers.py`, `images.py`, `networks.py`, `pods.py`, `things.py`).
"""

from __future__ import annotations

import os
import threading

from atoll.engine.engine import Engine
from atoll.sdk.containers import Containers
from atoll.sdk.images import Images
from atoll.sdk.networks import Networks
from atoll.sdk.pods import Pods
from atoll.sdk.things import Volumes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from atoll.images.values import Progress


_DOOR = "atoll.cli.warm"
"""By its name alone: the spawner loads it, this process never."""


class Client:
    """Containers, pods, images, networks and volumes of this user. `data_root` and `run_root` are other places than
    the usual ones; `environ` stands for the environment (settings, `$HOME`); `progress` is told of each step of a
    pull that `run` or a sandbox has to do first. Raises AtollError for places that cannot be used."""

    def __init__(
        self,
        *,
        data_root: str | None = None,
        run_root: str | None = None,
        environ: Mapping[str, str] | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._progress = progress
        self._environ = dict(os.environ if environ is None else environ)
        for name, value in (("ATOLL_DATA_ROOT", data_root), ("ATOLL_RUN_ROOT", run_root)):
            if value is not None:
                self._environ[name] = value
        self._local = threading.local()
        self.containers = Containers(self)
        self.pods = Pods(self)
        self.images = Images(self)
        self.networks = Networks(self)
        self.volumes = Volumes(self)
        self._engine.store.container_count()  # what is wrong with the store is said here

    @property
    def _engine(self) -> Engine:
        """This thread's."""
        engine: Engine | None = getattr(self._local, "engine", None)
        if engine is None:
            # A spawner that this program starts serves the command line as well.
            engine = Engine(self._environ, os.geteuid(), os.getegid(), door=_DOOR)
            self._local.engine = engine
        return engine

    def close(self) -> None:
        """Give up this thread's connection to the store; the next call makes another. Idempotent."""
        engine: Engine | None = getattr(self._local, "engine", None)
        if engine is not None:
            engine.store.close()
            self._local.engine = None

    def _pull(self, reference: str) -> object:
        return self._engine.pull(reference, progress=self._progress)

    def info(self) -> dict[str, Any]:
        """What this host and this installation can do."""
        return self._engine.info()
