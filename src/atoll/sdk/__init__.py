"""The SDK: containers, images and volumes as Python objects, and sandboxes that end with their block.

    with atoll.Sandbox("busybox", memory="64m") as box:
        box.write("/tmp/in", b"hello")
        done = box.run(["wc", "-c", "/tmp/in"], timeout=5)
        print(done.text, done.exit_code)

Holds: `Sandbox` (`sandbox.py`), `Client` (`client.py`) and what it gives: containers (`containers.py`), networks
(`networks.py`), pods (`pods.py`), images (`images.py`) and volumes (`things.py`), processes and results
(`processes.py`). Does not hold: any way of its own to do something: every method asks the engine, as the command line
does.
May import: engine, isolation (its values), base.
Start reading at: `sandbox.py`. `import atoll` loads none of this before a name of it is used.

Everything raises the errors of the room `base`, which are `atoll.AtollError` and its kinds. Everything may be called
from any thread: each has an engine of its own. In asyncio, call through `asyncio.to_thread`: nothing here forks.
"""

from __future__ import annotations

from atoll.base.errors import (
    AtollError,
    Cancelled,
    CommandNotExecutable,
    CommandNotFound,
    Conflict,
    Corrupt,
    Denied,
    Exhausted,
    FailedPrecondition,
    Internal,
    InvalidArgument,
    NotFound,
    Timeout,
    Unavailable,
    Unsupported,
)
from atoll.sdk.client import Client
from atoll.sdk.containers import Container
from atoll.sdk.images import Image, Layer
from atoll.sdk.networks import Network
from atoll.sdk.pods import Pod
from atoll.sdk.processes import CommandFailed, Process, Result, TimedOut
from atoll.sdk.sandbox import Sandbox, run
from atoll.sdk.things import Volume

__all__ = [
    "AtollError",
    "Cancelled",
    "Client",
    "CommandFailed",
    "CommandNotExecutable",
    "CommandNotFound",
    "Conflict",
    "Container",
    "Corrupt",
    "Denied",
    "Exhausted",
    "FailedPrecondition",
    "Image",
    "Internal",
    "InvalidArgument",
    "Layer",
    "Network",
    "NotFound",
    "Pod",
    "Process",
    "Result",
    "Sandbox",
    "Timeout",
    "TimedOut",
    "Unavailable",
    "Unsupported",
    "Volume",
    "run",
]
