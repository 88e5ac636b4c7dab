"""`Sandbox`: a container that lives as long as a block of Python, and `run`: one that lives as long as a command.

A sandbox's first process is `cat`, which reads what never comes: its input ends with this process, however that ends,
and so does the sandbox (Docker's StdinOnce and --rm). Nothing is left when Python is killed.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.rollback import Rollback
from atoll.sdk.client import Client
from atoll.sdk.containers import Container, run_request
from atoll.sdk.processes import OUTPUT_MAX, Process, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, Self

_KEEPER = ("cat",)


class Sandbox(Container):
    """A container for running things in. It is there from `start` (or the block's begin) to `close` (or its end).

    `image` needs `cat`. `how` is `memory`, `cpus`, `network` ("none" unless told otherwise), `env`, `volumes`,
    `workdir`, `user`, `read_only`, … as for `run_request`. Files and processes stay until the end: see `Container`.
    """

    def __init__(
        self, image: str, *, client: Client | None = None, network: str | Sequence[str] = "none", **how: Any
    ) -> None:
        super().__init__(client or Client(), "")
        self._request = run_request(image, _KEEPER, entrypoint="", network=network, stdin=True, remove=True, **how)
        self._keeper: Any = None

    def start(self) -> None:
        """Make it, if it is not there yet. An image that is not here is pulled."""
        if self._keeper is not None:
            return
        engine = self._engine
        engine.prepare()
        made = engine.create(self._request, on_missing=self.client._pull)
        with Rollback() as undo:
            attachment = engine.launch(made)
            undo.push(attachment.close)
            attachment.start()
            undo.release()
        engine.going.pop(made, None)  # with its keeper's input it ends: nobody restarts it
        self.id, self._keeper = made, attachment

    def exec(self, args: Sequence[str], **how: Any) -> Process:
        """Start a process in it, attached; it ends with the sandbox at the latest."""
        self.start()
        return super().exec(args, **how)

    def close(self) -> None:
        """Remove it with everything in it. Twice is fine."""
        keeper, self._keeper = self._keeper, None
        if keeper is None:
            return
        try:
            self.remove(force=True)
        except errors.NotFound:
            pass  # gone by itself
        finally:
            keeper.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        self.close()


def run(
    image: str,
    args: Sequence[str] = (),
    *,
    stdin: bytes | None = None,
    timeout: float | None = None,
    check: bool = False,
    limit: int = OUTPUT_MAX,
    client: Client | None = None,
    network: str | Sequence[str] = "none",
    **how: Any,
) -> Result:
    """Run one command in a container of its own, and remove that. `how` as for `Sandbox`. Raises TimedOut, with
    `check` CommandFailed, and why it could not be run."""
    client = client or Client()
    engine = client._engine
    engine.prepare()
    request = run_request(image, args, network=network, stdin=stdin is not None, remove=True, **how)
    made = engine.create(request, on_missing=client._pull)
    attachment = engine.launch(made, promise=True, start=True)

    def settle() -> None:
        engine.finish(made, remove=True)
        attachment.cleaned()

    process = Process(attachment, args or (image,), on_end=settle)
    result = process.communicate(stdin, timeout, limit=limit)
    return result.check() if check else result
