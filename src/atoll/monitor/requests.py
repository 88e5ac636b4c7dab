"""What a command may ask of a spawner or monitor, as values.

Holds: `Create` and `Exec` with the plans in them (`ContainerPlan`, `LogPlan`, `HealthPlan`, `EventPlan`), `Caller`,
and their JSON. Does not hold: framing (`protocol.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value, fields
from atoll.runtime import seccomp
from atoll.spec import runtime as oci
from atoll.spec.codec import dump, flag, int64, list_of, map_of, number_between, parse, record, text
from atoll.spec.rootfs import RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LogPlan(Value):
    """Where output goes (`logs.py`): `json-file` or `k8s-file` at `path`, `max_files` files of at most `max_size`
    bytes each, the older ones compressed with `compress`; `journald` at the socket `path`; or `none`. `attributes`
    stand in every entry: of json-file as its attrs, of journald as fields."""

    driver: str = "json-file"
    path: str = ""
    max_size: int = 10 << 20
    max_files: int = 3
    compress: bool = False
    attributes: tuple[tuple[str, str], ...] = ()
    WIRE = {
        "driver": text,
        "path": text,
        "max_size": int64,
        "max_files": number_between(1, 10_000),
        "compress": flag,
        "attributes": map_of(text),
    }


class ProbePlan(Value):
    """One of several looks (`probes.py`): startup, liveness or readiness; nanoseconds."""

    kind: str
    process: oci.Process
    delay: int
    interval: int
    timeout: int
    retries: int
    successes: int
    WIRE = {
        "kind": text,
        "process": record(oci.Process),
        "delay": int64,
        "interval": int64,
        "timeout": int64,
        "retries": int64,
        "successes": int64,
    }


class HealthPlan(Value):
    """How the container's health is looked at (`health.py`): the process to run in it and when; nanoseconds. With
    `probes` these, each `interval` those that are due. `on_failure` is the command to run when it is unhealthy."""

    process: oci.Process
    interval: int
    timeout: int
    start_period: int
    start_interval: int
    retries: int
    probes: tuple[ProbePlan, ...] = ()
    on_failure: tuple[str, ...] = ()
    WIRE = {
        "process": record(oci.Process),
        "interval": int64,
        "timeout": int64,
        "start_period": int64,
        "start_interval": int64,
        "retries": int64,
        "probes": list_of(record(ProbePlan)),
        "on_failure": list_of(text),
    }


class EventPlan(Value):
    """Where what happens to container `id`, whose durable directory is `bundle`, is written down (`journal.py`), and
    what Docker says of it each time: its image, name and labels."""

    path: str
    id: str
    bundle: str
    attributes: tuple[tuple[str, str], ...] = ()
    WIRE = {"path": text, "id": text, "bundle": text, "attributes": map_of(text)}


def _pair(value: Any, path: str) -> tuple[int, int]:
    numbers = list_of(int64)(value, path)
    if len(numbers) != 2:
        raise errors.InvalidArgument(f"{path}: expected soft and hard limit")
    return numbers[0], numbers[1]


def _two_texts(value: Any, path: str) -> tuple[str, str]:
    words = list_of(text)(value, path)
    if len(words) != 2:
        raise errors.InvalidArgument(f"{path}: expected two paths")
    return words[0], words[1]


class Caller(Value):
    """What a monitor takes over from the command it works for: its environment (for the clean-up command) and its
    rlimits ((soft, hard) by number as in getrlimit(2), -1 for none). Directory and umask are `/` and 022 whoever
    calls: a monitor in the caller's directory would keep that file system busy, and a container's files must not
    depend on who started it."""

    env: tuple[str, ...] = ()
    rlimits: tuple[tuple[int, int], ...] = ()
    WIRE = {"env": list_of(text), "rlimits": list_of(_pair)}


class PodPart(Value):
    """What the machine of a pod is to know of it, found at each launch: `members` are the ids of its containers,
    `volumes` what any of them mounts, as the jail shows it, `limits` those of all of them together."""

    members: tuple[str, ...] = ()
    volumes: tuple[oci.Mount, ...] = ()
    limits: oci.Resources = oci.Resources()
    WIRE = {"members": list_of(text), "volumes": list_of(record(oci.Mount)), "limits": record(oci.Resources)}


class MachinePlan(Value):
    """A machine of its own for the container: `image` is the file that holds its root (erofs; "" for none), `disk`
    the one that takes what it writes, of at most `disk_size` bytes (None: it writes into memory, `disk_size` of it at
    most, 0: as much as there is); `kernel` a path or `default`, `memory` MiB, `driver` and `accel` what it is made by
    (`vm/drivers.py`); without `template` it boots. `pod` is the run directory of the container whose machine it is
    in: its own for that one, which has `part`; "" for none but its own. `resume`: a directory where a machine was
    saved that ran, which is to go on."""

    image: str
    disk: str | None = None
    disk_size: int = 0
    kernel: str = "default"
    memory: int = 256
    cpus: int = 1
    accel: str = "tcg"
    driver: str = "qemu"
    template: bool = True
    pod: str = ""
    part: PodPart | None = None
    resume: str = ""
    WIRE = {
        "image": text,
        "disk": text,
        "disk_size": int64,
        "kernel": text,
        "memory": int64,
        "cpus": int64,
        "accel": text,
        "driver": text,
        "template": flag,
        "pod": text,
        "part": record(PodPart),
        "resume": text,
    }


class ContainerPlan(Value):
    """All that is needed to make a container and keep it company.

    `run` is a directory of our own (0700, empty), `bundle` the durable one in which `exit.json` will be.
    `stdin`: input is open; `stdin_stays`: also when the command that fed it has left (Docker's StdinOnce off).
    `keep_unstarted`: a container whose command leaves before the start waits (`create`), otherwise it is undone
    (`run`). `on_exit` is the clean-up command (argv), unless a command promised to do it and did.
    `cache` is where compiled seccomp filters are kept; `helpers` are newuidmap and newgidmap, where the mappings of
    `spec` take them (`runtime/create.py`). `runtime` is the command line of an OCI runtime to use instead of ours.
    `machine`: the container is to have one, which a driver makes of this plan (`isolation/vm.py`); `stands`: it has,
    and the program stands for it.
    """

    id: str
    spec: oci.Spec
    bundle: str
    run: str
    root: RootPlan | None = None
    terminal: bool = False
    stdin: bool = False
    stdin_stays: bool = False
    keep_unstarted: bool = False
    log: LogPlan = LogPlan(driver="none")
    on_exit: tuple[str, ...] = ()
    cache: str | None = None
    helpers: tuple[str, str] | None = None
    health: HealthPlan | None = None
    events: EventPlan | None = None
    runtime: tuple[str, ...] = ()
    machine: MachinePlan | None = None
    stands: bool = False
    WIRE = {
        "id": text,
        "spec": record(oci.Spec),
        "bundle": text,
        "run": text,
        "terminal": flag,
        "stdin": flag,
        "stdin_stays": flag,
        "keep_unstarted": flag,
        "log": record(LogPlan),
        "on_exit": list_of(text),
        "cache": text,
        "helpers": _two_texts,
        "health": record(HealthPlan),
        "events": record(EventPlan),
        "runtime": list_of(text),
        "machine": record(MachinePlan),
        "stands": flag,
    }


class Create(ContainerPlan):
    """Make a container and keep it company, for `caller`."""

    caller: Caller = Caller()
    WIRE = {**ContainerPlan.WIRE, "caller": record(Caller)}

    @staticmethod
    def of(plan: ContainerPlan, caller: Caller) -> Create:
        """The request that a plan comes to."""
        return Create(**{name: getattr(plan, name) for name in fields(ContainerPlan)}, caller=caller)

    def to_json(self) -> dict[str, Any]:
        """The wire form. A default profile for seccomp travels by name: it is most of all that, and to write and read
        it was 2 ms of a run."""
        root = None if self.root is None else self.root.to_json()
        linux = self.spec.linux
        name = seccomp.name_of(linux.seccomp) if linux is not None and linux.seccomp is not None else None
        if linux is None or name is None:
            return {**dump(self), "root": root}
        named = self.replace(spec=self.spec.replace(linux=linux.replace(seccomp=None)))
        return {**dump(named), "root": root, "profile": name}

    @staticmethod
    def from_json(wire: Any) -> Create:
        """Parse the wire form. Raises InvalidArgument."""
        request = parse(Create, wire, "request")
        steps, name = wire.get("root"), wire.get("profile")
        if name is not None and request.spec.linux is not None:
            linux = request.spec.linux.replace(seccomp=seccomp.from_name(name))
            request = request.replace(spec=request.spec.replace(linux=linux))
        return request if steps is None else request.replace(root=RootPlan.from_json(steps))


class Exec(Value):
    """Run one more process in the container whose state is in `run`; recorded as `<run>/exec/<id>.json`.

    `detached`: nobody waits for it, and output goes nowhere.
    """

    id: str
    run: str
    process: oci.Process
    terminal: bool = False
    stdin: bool = False
    detached: bool = False
    events: EventPlan | None = None
    caller: Caller = Caller()
    WIRE = {
        "id": text,
        "run": text,
        "process": record(oci.Process),
        "terminal": flag,
        "stdin": flag,
        "detached": flag,
        "events": record(EventPlan),
        "caller": record(Caller),
    }

    def to_json(self) -> dict[str, Any]:
        """The wire form."""
        return dump(self)

    @staticmethod
    def from_json(wire: Any) -> Exec:
        """Parse the wire form. Raises InvalidArgument."""
        return parse(Exec, wire, "request")
