"""What a command may ask of a spawner or monitor, as values.

Holds: `Create`, `Exec`, `Caller`, `LogPlan` and their JSON. Does not hold: framing (`protocol.py`).
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value
from atoll.spec import runtime as oci
from atoll.spec.codec import dump, flag, int64, list_of, number_between, parse, record, text
from atoll.spec.rootfs import RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class LogPlan(Value):
    """Where output goes: `json-file` at `path`, `max_files` files of at most `max_size` bytes each; or `none`."""

    driver: str = "json-file"
    path: str = ""
    max_size: int = 10 << 20
    max_files: int = 3
    WIRE = {"driver": text, "path": text, "max_size": int64, "max_files": number_between(1, 1000)}


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


class Create(Value):
    """Make a container and keep it company. `bundle` is durable, `run` is the state directory (0700, made by the
    command).

    `stdin`: input is open; `stdin_stays`: also after the client that wrote it has gone (Docker's StdinOnce off).
    `keep_unstarted`: a container whose command leaves before the start waits for one; otherwise it is undone.
    `cache` is where compiled filters are kept, `helpers` are newuidmap and newgidmap (`runtime/create.py`).
    `on_exit`: the command (argv) to run after the exit unless a client promised to clean up and did.
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
    caller: Caller = Caller()
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
        "caller": record(Caller),
    }

    def to_json(self) -> dict[str, Any]:
        """The wire form."""
        root = None if self.root is None else self.root.to_json()
        return {**dump(self), "root": root}

    @staticmethod
    def from_json(wire: Any) -> Create:
        """Parse the wire form. Raises InvalidArgument."""
        request = parse(Create, wire, "request")
        steps = wire.get("root")
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
    caller: Caller = Caller()
    WIRE = {
        "id": text,
        "run": text,
        "process": record(oci.Process),
        "terminal": flag,
        "stdin": flag,
        "detached": flag,
        "caller": record(Caller),
    }

    def to_json(self) -> dict[str, Any]:
        """The wire form."""
        return dump(self)

    @staticmethod
    def from_json(wire: Any) -> Exec:
        """Parse the wire form. Raises InvalidArgument."""
        return parse(Exec, wire, "request")
