"""An ordinary user's container gives its network namespace to the command that puts it on networks.

Holds: `Waiting`. Does not hold: who sends it (`monitor/creator.py`). Before its program runs, a container's init is
not dumpable, and only root may open its namespaces; the process that clones it can, a moment before that.
"""

from __future__ import annotations

from atoll.base import errors, files
from atoll.monitor import sockets
from atoll.monitor.protocol import NETWORK_SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.isolation.protocol import ContainerPlan


class Waiting:
    """Listens in the container's run directory before it is made. Raises AtollError."""

    def __init__(self, plan: ContainerPlan) -> None:
        if plan.runtime:
            raise errors.Unsupported(
                f"{plan.runtime[0]} makes no container on an ordinary user's networks", hint="--network none"
            )
        self._path = f"{plan.run}/{NETWORK_SOCKET}"
        try:
            self._listener = sockets.listen(self._path, 1)
        except OSError as error:
            raise errors.from_os_error(error, "wait for the container's network namespace") from error

    def take(self) -> int:
        """The descriptor, once the container is made: it was sent before that. Raises AtollError."""
        self._listener.settimeout(5.0)
        try:
            peer = sockets.accept(self._listener.fileno())
            try:
                sockets.check_peer(peer)
                _, fds = sockets.receive_with_fds(peer, 1, 1)
            finally:
                peer.close()
        except OSError as error:
            raise errors.from_os_error(error, "take over the container's network namespace") from error
        finally:
            self.close()
        if not fds:
            raise errors.Internal("the container's network namespace did not arrive")
        return fds[0]

    def close(self) -> None:
        """Nobody waits any more; twice is fine."""
        self._listener.close()
        files.unlink_if_present(self._path)
