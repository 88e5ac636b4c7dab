"""The engine as one object: its parts, made when they are first used, and one method a use case.

Holds: `Engine`, which is all of the wiring. Does not hold: the use cases (`containers/`, `images/`, `system/`; a
method here only names its module, so that a command loads no more than it needs).
"""

from __future__ import annotations

import os

from atoll.engine import config as settings
from atoll.engine import paths as places
from atoll.engine.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from atoll.engine.config import Config
    from atoll.engine.locks import ContainerLock
    from atoll.engine.paths import Paths
    from atoll.engine.requests import ContainerView, ExecRequest, ImageView, RunRequest
    from atoll.images.content import ContentStore
    from atoll.images.values import Progress, PulledImage
    from atoll.isolation.protocol import Attachment, ContainerPlan, Driver
    from atoll.snapshots.store import Snapshots
    from atoll.spec.idmap import RootlessMap


class Engine:
    """What can be done, for one user and one store. Raises AtollError kinds only; never prints.

    `environ` is the caller's environment (places, settings, `-e KEY`); `door` the module with which a spawner that
    this engine starts is to run commands. One thread at a time.
    """

    def __init__(self, environ: Mapping[str, str], uid: int, gid: int, *, door: str | None = None) -> None:
        self._door = door
        self.environ = environ
        self.uid = uid
        self.gid = gid
        self.paths: Paths = places.locate(environ, uid)
        self.config: Config = settings.load(environ, uid)
        places.prepare(self.paths, uid)
        self.store = Store(self.paths.database)
        # What `create` knows and `launch`, usually in the same process, needs again.
        self.plans: dict[str, ContainerPlan] = {}
        self.locks: dict[str, ContainerLock] = {}
        # The plan of one that goes with its end, from `launch` to `started`: `restart` needs it.
        self.going: dict[str, ContainerPlan] = {}
        # How a passphrase is asked for, with the question; None where nobody can be asked.
        self.ask: Callable[[str], str] | None = None
        # How unpacking an image again is shown: from (its name, layers, bytes) a function of each step; None: not.
        self.show_unpacking: Callable[[str, int, int], Callable[[Progress], None]] | None = None
        # What the user should know of what was just made, in sentences.
        self.warnings: list[str] = []
        self._driver: Driver | None = None
        self._snapshots: Snapshots | None = None
        self._idmap: RootlessMap | None = None
        self._idmap_known = False

    # --- parts --------------------------------------------------------------------------------------------------

    @property
    def driver(self) -> Driver:
        """The level of isolation `container`."""
        if self._driver is None:
            from atoll.isolation.container import ContainerDriver

            self._driver = ContainerDriver(self.paths.run, self.paths.data, door=self._door)
        return self._driver

    @property
    def idmap(self) -> RootlessMap | None:
        """The ids of this user's containers; None for root."""
        if not self._idmap_known:
            if self.uid != 0:
                from atoll.spec import idmap

                self._idmap = idmap.for_user(self.uid, self.gid)
            self._idmap_known = True
        return self._idmap

    @property
    def snapshots(self) -> Snapshots:
        """Layers and writable directories."""
        if self._snapshots is None:
            from atoll.snapshots.store import Snapshots

            self._snapshots = Snapshots(self.paths.snapshots, self.idmap, self.config.storage_driver)
        return self._snapshots

    def content(self) -> ContentStore:
        """Blobs."""
        from atoll.images.content import ContentStore

        return ContentStore(self.paths.content)

    @property
    def cwd(self) -> str:
        """The caller's directory. Raises NotFound when it was removed."""
        from atoll.base import errors

        try:
            return os.getcwd()
        except FileNotFoundError:
            raise errors.NotFound("the current directory was removed", hint="cd to another one") from None

    # --- containers ---------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Begin what the next `launch` or `exec` needs anyway (reach the spawner)."""
        self.driver.prepare()

    def create(self, request: RunRequest, on_missing: Callable[[str], object] | None = None) -> str:
        """Create a container, return its id. `on_missing(reference)` is called to pull an image that is not here;
        without it that is NotFound."""
        from atoll.engine.containers.create import create

        return create(self, request, on_missing)

    def explain(self, request: RunRequest) -> dict[str, Any]:
        """What `create` and `launch` would do, layer by layer; touches nothing."""
        from atoll.engine.containers.create import explain

        return explain(self, request)

    def launch(self, container_id: str, *, promise: bool = False, start: bool = False) -> Attachment:
        """Make the created (or ended) container's processes: attached, waiting for its start. `promise`: the caller
        will `finish` it."""
        from atoll.engine.containers.launch import launch

        return launch(self, container_id, promise=promise, start=start)

    def started(self, container_id: str) -> None:
        """Its program runs: note it, let others at it."""
        from atoll.engine.containers.launch import started

        started(self, container_id)

    def finish(self, container_id: str, *, remove: bool) -> None:
        """It has ended, or its start failed: settle what is recorded; with `remove` nothing of it stays."""
        from atoll.engine.containers.launch import finish

        finish(self, container_id, remove=remove)

    def cleanup(self, container_id: str) -> None:
        """What a monitor has done after an exit that no command attends to."""
        from atoll.engine.containers.launch import cleanup

        cleanup(self, container_id)

    def exec(self, request: ExecRequest) -> Attachment:
        """Execute one more process, attached."""
        from atoll.engine.containers.exec import execute

        return execute(self, request)

    def containers(self, *, all: bool = False) -> list[ContainerView]:
        """The running containers, or all, newest first."""
        from atoll.engine.containers.list import list_containers

        return list_containers(self, all=all)

    def inspect_container(self, name: str) -> dict[str, Any]:
        """All that is known of it, in Docker's shape."""
        from atoll.engine.containers.inspect import inspect

        return inspect(self, name)

    def logs(self, name: str) -> tuple[str, Callable[[], bool]]:
        """Where its log is, and how to ask whether more may come."""
        from atoll.engine.containers.logs import logs

        return logs(self, name)

    def stop(self, name: str, *, timeout: int | None = None, signum: int | None = None) -> None:
        """Ask it to end, and after `timeout` seconds (-1: never) make it."""
        from atoll.engine.containers.stop import stop

        stop(self, name, timeout=timeout, signum=signum)

    def kill(self, name: str, signum: int) -> None:
        """Send a signal to its first process."""
        from atoll.engine.containers.kill import kill

        kill(self, name, signum)

    def wait(self, name: str) -> int:
        """Wait for its end; the exit code."""
        from atoll.engine.containers.wait import wait

        return wait(self, name)

    def remove(self, name: str, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; a running one only with `force`."""
        from atoll.engine.containers.remove import remove

        remove(self, name, force=force, volumes=volumes)

    # --- images -------------------------------------------------------------------------------------------------

    def pull(
        self, reference: str, *, progress: Callable[[Progress], None] | None = None, platform: str | None = None
    ) -> PulledImage:
        """Pull an image and record it under its name."""
        from atoll.engine.images.pull import pull

        return pull(self, reference, progress=progress, platform=platform)

    def images(self) -> list[ImageView]:
        """All images, a row a name, newest first."""
        from atoll.engine.images.list import list_images

        return list_images(self)

    def remove_image(self, name: str, *, force: bool = False) -> list[str]:
        """Take a name away, and with the last one the image. Returns Docker's lines (`Untagged: …`, `Deleted: …`)."""
        from atoll.engine.images.remove import remove

        return remove(self, name, force=force)

    def inspect_image(self, name: str) -> dict[str, Any]:
        """All that is known of it, in Docker's shape."""
        from atoll.engine.images.inspect import inspect

        return inspect(self, name)

    # --- the whole ----------------------------------------------------------------------------------------------

    def version(self) -> dict[str, Any]:
        """Versions, in Docker's shape."""
        from atoll.engine.system.version import version

        return version()

    def info(self) -> dict[str, Any]:
        """What this host and this installation can do."""
        from atoll.engine.system.info import info

        return info(self)

    def check(self, *, repair: bool = False) -> list[str]:
        """What is recorded and not there, or there and not recorded; with `repair` mended."""
        from atoll.engine.system.check import check

        return check(self, repair=repair)
