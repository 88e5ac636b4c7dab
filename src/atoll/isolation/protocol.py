"""The seam of the isolation dial: what the engine asks of a level, whatever the level is made of.

Holds: `Driver`, `Attachment` and the values that cross (`ContainerPlan` is what a monitor is asked for, too:
`monitor/requests.py`). Does not hold: an implementation.

    Sandbox      what is isolated as a whole: namespaces or a machine, network, limits    probe, create, kill_all,
    └─ Container its root is data (layers, writable layer, mounts), never a path mounted  start, status, wait, delete
       └─ Process the container's first one, or an exec session: streams and signals      exec, attach, signal

`run` is a sandbox of one container, so a `ContainerPlan` carries all three; a pod is several, of which one holds
the namespaces and the others' plans name it (`engine/pods`): no level needs another shape. Attach is legal from
creation on, wait at any time. What a level cannot do it refuses by name (Unsupported), never does less.
Everything is found by two directories, `run` (goes with the boot) and `bundle` (durable); a driver remembers nothing.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from atoll.base.value import Value
from atoll.monitor.requests import ContainerPlan, EventPlan, HealthPlan, LogPlan
from atoll.spec.runtime import Process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Protocol

    from atoll.runtime.cgroups.stats import CgroupStats
    from atoll.spec.runtime import Resources
else:
    Protocol = object

__all__ = [
    "Attachment",
    "Availability",
    "ContainerPlan",
    "Driver",
    "EventPlan",
    "ExecPlan",
    "HealthPlan",
    "LogPlan",
    "Status",
]

CREATED, RUNNING, PAUSED, EXITED, LOST = "created", "running", "paused", "exited", "lost"


class Availability(Value):
    """Whether a level works on this host, and why not."""

    ok: bool
    reason: str | None = None


class ExecPlan(Value):
    """One more process in the container of `run`, recorded under `id` (unique in that container). `detached`: its
    output goes nowhere and nobody waits for it."""

    id: str
    run: str
    process: Process
    terminal: bool = False
    stdin: bool = False
    detached: bool = False
    events: EventPlan | None = None


class Status(Value):
    """What a container is now. Times are RFC 3339 UTC. `lost` is an end whose exit code nobody has: 255, with the
    reason in `error`."""

    status: str
    pid: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    oom_killed: bool = False
    error: str | None = None
    started_at: str | None = None
    finished_at: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it runs no more."""
        return self.status in (EXITED, LOST)


class Attachment(Protocol):
    """Streams and control of one process. Frames are Docker's: streams 1 and 2 output, and 8 control as JSON
    objects: {"is": "started"}, {"is": "error", "error": {"kind", "message", "hint"}} when the program could not be
    executed, {"is": "exit", "exit": code, "signal", "oom", "error", …} as the last one."""

    room: int
    ended: bool

    def fileno(self) -> int:
        """For poll(2): readable when `receive` has something."""

    def read(self) -> tuple[int, bytes] | None:
        """The next frame, waiting for it; None at the end."""

    def waiting(self) -> bool:
        """Whether `receive` has frames that poll(2) knows nothing of."""

    def receive(self) -> list[tuple[int, bytes]]:
        """All frames that are there, perhaps none; sets `ended` at the end."""

    def expect(self, *words: str) -> dict[str, Any]:
        """Wait for a control message `is` one of `words`; output before it is kept. Raises the error told instead."""

    def start(self) -> None:
        """Start the created container, and wait until its program runs. Raises why it does not."""

    def send_start(self) -> None:
        """Ask for the start without waiting."""

    def send_stdin(self, data: bytes | memoryview) -> None:
        """Send input, at most `room` bytes (it grows as the process reads)."""

    def close_stdin(self) -> None:
        """The end of input; nothing with a terminal."""

    def resize(self, rows: int, cols: int) -> None:
        """The terminal's size."""

    def signal(self, number: int) -> None:
        """A signal to the process."""

    def promise(self) -> None:
        """Promise to clean up after the exit."""

    def cleaned(self) -> None:
        """The promise is kept; without this the clean-up command runs."""

    def detach(self) -> None:
        """Leave, with the input of the process still open."""

    def close(self) -> None:
        """Leave; the input of the process ends, unless it is to stay."""


class Driver(ABC):
    """One level of isolation. Raises AtollError kinds only."""

    name: str

    @abstractmethod
    def probe(self) -> Availability:
        """Whether it works here. Cheap, and changes nothing."""

    @abstractmethod
    def prepare(self) -> None:
        """Begin what the next `create` or `exec` needs anyway (start or reach the spawner); may be left out."""

    @abstractmethod
    def create(self, plan: ContainerPlan, *, promise: bool = False, start: bool = False) -> Attachment:
        """Make a container that waits for its start, attached; with `start` it is started at once, and what
        becomes of that comes as control frames. With `promise` this command will clean up (else,
        also when it dies, `on_exit` runs). On failure nothing of it is left but the two directories' own files."""

    @abstractmethod
    def start(self, run: str) -> None:
        """Start a created container. Raises FailedPrecondition, or why its program could not be executed."""

    @abstractmethod
    def exec(self, plan: ExecPlan) -> Attachment:
        """Execute one more process, attached; it runs when this returns. Raises why it does not."""

    @abstractmethod
    def attach(self, run: str, *, stdin: bool = False) -> Attachment:
        """Attach to the first process, from now on. Raises NotFound if nobody keeps it company any more."""

    @abstractmethod
    def signal(self, run: str, signum: int) -> None:
        """A signal to the first process. Raises NotFound, FailedPrecondition (not running)."""

    @abstractmethod
    def kill_all(self, run: str) -> None:
        """SIGKILL to every process. One that has ended is fine. Raises NotFound."""

    @abstractmethod
    def pause(self, run: str) -> None:
        """Let every process stand still; returns when they do. Raises NotFound, FailedPrecondition (not running),
        Unsupported or Denied where nothing can freeze them."""

    @abstractmethod
    def resume(self, run: str) -> None:
        """Let a paused container go on. Raises NotFound, FailedPrecondition (not paused)."""

    @abstractmethod
    def update(self, run: str, resources: Resources) -> None:
        """Other limits for one that has processes; what `resources` does not name stays. Raises NotFound, Denied
        where there are no limits to set, and what the kernel says to a value."""

    @abstractmethod
    def stats(self, run: str) -> CgroupStats | None:
        """What it uses at this moment; None where nobody counts (no cgroup of its own). Raises NotFound."""

    @abstractmethod
    def pids(self, run: str) -> list[int]:
        """The processes in it, exec sessions included, by their ids on the host. Raises NotFound."""

    @abstractmethod
    def status(self, run: str, bundle: str) -> Status:
        """What it is now, by the kernel's word rather than by memory."""

    @abstractmethod
    def wait(self, run: str, bundle: str, timeout: float | None = None) -> Status:
        """Wait for its end, at most `timeout` seconds. Returns the status then, ended or not."""

    @abstractmethod
    def delete(self, run: str, bundle: str, *, force: bool = False) -> None:
        """Remove what it has in the kernel and the run directory; idempotent. Raises FailedPrecondition for one that
        runs, unless `force` kills it."""
