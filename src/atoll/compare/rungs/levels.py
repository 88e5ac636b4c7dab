"""Levels of this Atoll: `atoll run --isolation …`, as a user types it.

Holds: `Level`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.compare import processes
from atoll.compare.place import IMAGE, PROGRAM
from atoll.compare.rungs.way import PUBLISHED, WORKLOAD, Way

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.copies import Copy
    from atoll.compare.place import Place

_PORT = 8080
_TITLES = {
    "container": "container (atoll run)",
    "gvisor": "gVisor (atoll run)",
    "vm": "virtual machine (atoll run)",
}
_MACHINES = {"gvisor": "runsc", "vm": "qemu"}
"""How the processes are called that the program runs in, where it is no process of the host's kernel."""


class Level(Way):
    """One of them. With the default settings but for the network, which is none unless a server is to be reached."""

    network = PUBLISHED
    has_cgroup = True

    def __init__(self, place: Place, level: str) -> None:
        super().__init__(place)
        self.name, self.title = level, _TITLES[level]
        self.own_kernel = level != "container"
        # For the program's own user, where limits can be had: an ordinary user without a delegated cgroup has none.
        self.has_cgroup = True

    @property
    def keeps(self) -> str | None:
        return self.place.engine.paths.data

    def begin(self) -> None:
        from atoll.isolation.external import ls

        found = next(one for one in ls(self.place.engine.paths.data) if one.name == self.name)
        if not found.ok:
            raise errors.Unsupported(found.reason or "it is not on this host")
        self.try_once()

    def argv(self, name: str, words: tuple[str, ...], port: int, *, detached: bool = False) -> list[str]:
        network = ["-p", f"127.0.0.1:{port}:{_PORT}", "--network", "bridge"] if port else ["--network", "none"]
        how = ["--name", name, "--isolation", self.name, *network, "--pull", "never", *(["-d"] if detached else [])]
        return self.place.atoll("run", *how, IMAGE, PROGRAM, *words)

    def inner_port(self, port: int) -> int:
        return _PORT

    def stop(self, copy: Copy) -> None:
        self.place.run_command(self.place.atoll("stop", "-t", "10", copy.name))

    def remove(self, copy: Copy) -> None:
        self.place.run_command(self.place.atoll("rm", "-f", copy.name), check=False)
        copy.close()

    def workload(self, among: set[int]) -> set[int]:
        name = _MACHINES.get(self.name, WORKLOAD)
        if not self.own_kernel:
            return super().workload(among)
        return {pid for pid in among if name in processes.name_of(pid) or name in processes.command_line(pid)[:200]}

    def standing(self) -> set[int]:
        return {pid for pid in self.place.descendants() if "[spawner]" in processes.command_line(pid)}

    def listed(self, copy: Copy) -> bool:
        return copy.name in self.place.run_command(self.place.atoll("ps", "--format", "{{.Names}}")).split()
