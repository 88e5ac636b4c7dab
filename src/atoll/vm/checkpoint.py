"""A machine that runs, saved: its devices by the VMM, and what must agree before it may go on.

Holds: `save`, `Shape` (what a saved machine was made of) and its comparison, `read_shape`. Does not hold: its memory
and its disk, which are files that the engine copies (`engine/checkpoints`); the channel to the VMM's keeper
(`isolation/vm_saving.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.vm.qmp import Control

SAVE_SECONDS = 60.0
SHAPE = "machine.json"
_CAPABILITIES = [{"capability": "x-ignore-shared", "state": True}]
"""The guest's memory is a file of ours, and no part of the saved devices (`template.py`)."""


class Shape(Value):
    """What a saved machine was made of, and goes on in only: digests of the kernel, of the agent's root and of the
    image (SHA-256, hex), the VMM with its version, MiB, virtual CPUs, acceleration."""

    kernel: str
    agent: str
    image: str
    vmm: str
    memory: int
    cpus: int
    accel: str

    def to_json(self) -> dict[str, Any]:
        """As it is kept beside what was saved."""
        return {name: getattr(self, name) for name in _WORDS}

    @staticmethod
    def from_json(wire: Any) -> Shape:
        """Parse. Raises Corrupt."""
        if not isinstance(wire, dict) or set(wire) != set(_WORDS):
            raise errors.Corrupt("a saved machine's record lacks what it was made of")
        for name, value in wire.items():
            if type(value) is not (int if name in ("memory", "cpus") else str):
                raise errors.Corrupt(f"a saved machine's record has a wrong {name}")
        return Shape(**wire)

    def check(self, here: Shape) -> None:
        """Raises FailedPrecondition naming all that differs between this saved machine and one made `here`."""
        different = [
            f"{what} ({_short(getattr(self, name))}, here {_short(getattr(here, name))})"
            for name, what in _WORDS.items()
            if getattr(self, name) != getattr(here, name)
        ]
        if different:
            raise errors.FailedPrecondition(
                f"a saved machine goes on in the very same machine only; different is {', '.join(different)}",
                hint="without its memory it can be started anew: --memory=false",
            )


_WORDS = {
    "kernel": "the guest's kernel",
    "agent": "the version of Atoll or Python",
    "image": "the image's file system",
    "vmm": "the machine monitor",
    "memory": "the memory in MiB",
    "cpus": "the number of CPUs",
    "accel": "the acceleration",
}


def _short(value: object) -> str:
    text = str(value)
    return text[:12] if len(text) == 64 else text[:80]


def save(control: Control, state: int) -> None:
    """Write the devices of a stopped machine to descriptor `state`. It may go on afterwards. Raises Unavailable,
    Timeout."""
    control.ask("migrate-set-capabilities", capabilities=_CAPABILITIES)
    control.give("state", state)
    control.ask("migrate", uri="fd:state")
    control.wait_for("query-migrate", "status", "completed", ("none", "setup", "active", "device"), SAVE_SECONDS)


def file_digest(path: str, cache: str) -> str:
    """SHA-256 of a file that never changes under its name; remembered in the file `cache`, with the file's time and
    size. Raises OSError."""
    import hashlib

    found = os.stat(path)
    about = f"{found.st_mtime_ns} {found.st_size} "
    try:
        known = files.read_text(cache)
        if known.startswith(about) and len(known) == len(about) + 64:
            return known[len(about) :]
    except (OSError, ValueError):
        pass
    with open(path, "rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    try:
        files.write_atomic(cache, about + digest)
    except OSError:  # it is only quicker with it
        pass
    return digest


def read_shape(place: str) -> Shape:
    """The shape in a directory of a saved machine. Raises Corrupt."""
    try:
        return Shape.from_json(jsontext.loads(files.read_bytes(f"{place}/{SHAPE}")))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.Corrupt(f"damaged record {place}/{SHAPE}: {error}") from None
