"""What every rung can do.

Holds: `Way`, the protocol. A rung is begun once, and ended once; whatever it starts is below this process, so that
even a rung that fails half-way leaves nothing.
"""

from __future__ import annotations

import os
import time

from atoll.base import errors
from atoll.compare import processes
from atoll.compare.copies import START, Copy
from atoll.compare.values import Rung

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.place import Place

NONE, PUBLISHED, SHARED = "own", "published", "shared"
"""How its server is reached: from inside its network namespace, by a published port, or in the same namespace."""
WORKLOAD = "probe"


class Way:
    """One rung. Subclasses say how."""

    name = ""
    title = ""
    network = NONE
    has_daemon = False
    own_kernel = False
    has_cgroup = False

    def __init__(self, place: Place) -> None:
        self.place = place

    @property
    def env(self) -> dict[str, str]:
        """The environment of its commands."""
        return self.place.env

    @property
    def rung(self) -> Rung:
        """As a value."""
        return Rung(name=self.name, title=self.title)

    @property
    def keeps(self) -> str | None:
        """The directory that grows by what is kept for each copy; None where copies share their files."""
        return None

    def begin(self) -> None:
        """What is needed once: a daemon, a bundle. Raises AtollError: the reason why it does not work here."""

    def try_once(self) -> None:
        """For `begin`: a copy comes, says its first word and goes. Raises AtollError."""
        copy = self.start("b")
        try:
            copy.first()
        finally:
            self.remove(copy)

    def end(self) -> None:
        """Undo it."""

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        """The command in front of a copy. `port` is where its server is to be reached, 0 for one without network;
        one that is detached ends when its program has started."""
        raise NotImplementedError

    def enter(self) -> None:
        """In the fork that becomes that command, before it does."""

    def start(self, *words: str, port: int = 0, cwd: str = "/") -> Copy:
        """Begin a copy."""
        name = self.place.name()
        argv = self.argv(name, words, port)
        return Copy(argv, name=name, env=self.env, cwd=cwd, log=self.place.log, enter=self.enter)

    def start_detached(self, *words: str) -> Copy:
        """Begin a copy in the background, and wait until it is there. Raises Unavailable, Timeout."""
        name = self.place.name()
        argv = self.argv(name, words, 0, detached=True)
        copy = Copy(argv, name=name, env=self.env, log=self.place.log, enter=self.enter, piped=False)
        try:
            if copy.wait(START):
                raise errors.Unavailable(f"it did not start: {copy.last_words()}")
        except errors.AtollError:
            self.remove(copy)
            raise
        return copy

    def stop(self, copy: Copy) -> None:
        """End it as a user would, by SIGTERM; returns when it has ended. Raises Timeout, Unavailable."""
        raise NotImplementedError

    def remove(self, copy: Copy) -> None:
        """Whatever it does, it and what was kept of it are gone afterwards."""
        copy.close()

    def end_front(self, copy: Copy, seconds: float = 20.0) -> None:
        """Wait until the command in front has seen the end."""
        deadline = time.monotonic() + seconds
        while copy.process.poll() is None:
            if time.monotonic() > deadline:
                raise errors.Timeout(
                    f"{self.name}: the command did not end within {seconds:g} seconds of its program"
                )
            time.sleep(0.001)

    def workload(self, among: set[int]) -> set[int]:
        """Which of these processes are the program's own, as the host sees it: the machine where that is one."""
        return {pid for pid in among if processes.name_of(pid) == WORKLOAD}

    def standing(self) -> set[int]:
        """Processes that are there without any container."""
        return set()

    def listed(self, copy: Copy) -> bool:
        """Whether its command still knows the container as running."""
        return copy.process.poll() is None

    def socket_address(self, port: int) -> int:
        """What the program takes: any address inside a namespace of its own, else the loopback's only."""
        host = b"\x7f\0\0\1" if self.network == SHARED else bytes(4)
        return int.from_bytes((2).to_bytes(2, "little") + port.to_bytes(2, "big") + host, "little")

    def inner_port(self, port: int) -> int:
        """The port that the program listens at."""
        return port

    def run_root(self, kind: str) -> str:
        """A directory for state of a kind, on a tmpfs where the host has one for that."""
        path = f"{self.place.run}/{kind}"
        os.makedirs(path, mode=0o700, exist_ok=True)
        return path
