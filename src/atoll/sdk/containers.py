"""Containers as objects: an id, and every verb of the command line as a method.

Holds: `Container`, `Containers` (what `client.containers` is), `exec_request` and `run_request`, which turn keyword
arguments into the engine's requests. Does not hold: the verbs (`engine/containers/`).
"""

from __future__ import annotations

import io
import os
import tarfile

from atoll.base import errors, units
from atoll.base.rollback import Rollback
from atoll.engine.requests import ExecRequest, RunRequest
from atoll.sdk.processes import OUTPUT_MAX, Process, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import Any

    from atoll.engine.containers.stats import Usage
    from atoll.engine.engine import Engine
    from atoll.sdk.client import Client

_READ_MAX = 256 << 20


def run_request(
    image: str,
    command: Sequence[str] = (),
    *,
    name: str | None = None,
    env: Mapping[str, str] | None = None,
    workdir: str | None = None,
    user: str | None = None,
    volumes: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
    memory: str | int | None = None,
    cpus: float | None = None,
    network: str | Sequence[str] | None = None,
    publish: Sequence[str] = (),
    read_only: bool = False,
    **more: Any,
) -> RunRequest:
    """The engine's request. `volumes` maps what is mounted to where: {"/srv/data": "/data:ro", "cache": "/cache"};
    `memory` is bytes or "512m"; `network` is one or several, `publish` as of `-p` ("127.0.0.1:8080:80"); `more` are
    other fields of `RunRequest`."""
    networks = (network,) if isinstance(network, str) else tuple(network or ())
    if publish or len(networks) > 1:
        from atoll.engine.networks.records import NetworkOptions

        more.setdefault("networking", NetworkOptions(publish=tuple(publish), networks=networks[1:]))
    try:
        return RunRequest(
            image=image,
            command=tuple(command),
            name=name,
            env=tuple([f"{key}={value}" for key, value in (env or {}).items()]),
            workdir=workdir,
            user=user,
            volumes=tuple([f"{source}:{place}" for source, place in (volumes or {}).items()]),
            labels=tuple([f"{key}={value}" for key, value in (labels or {}).items()]),
            memory=units.parse_size(memory, "memory limit") if isinstance(memory, str) else memory,
            cpus=None if cpus is None else int(cpus * 10**9),
            network=networks[0] if networks else None,
            read_only=read_only,
            **more,
        )
    except TypeError as error:
        raise errors.InvalidArgument(f"no such option: {error}") from None


class Container:
    """One container. What it is now is asked for at each use: nothing here grows old."""

    def __init__(self, client: Client, container_id: str) -> None:
        self.client = client
        self.id = container_id

    def __repr__(self) -> str:
        return f"<Container {self.id[:12]}>"

    @property
    def _engine(self) -> Engine:
        return self.client._engine

    # --- what it is

    @property
    def details(self) -> dict[str, Any]:
        """All that is known of it, in the shape of Docker's API."""
        return self._engine.inspect_container(self.id)

    @property
    def name(self) -> str:
        """Its name."""
        return self._engine.store.container(self.id).name

    @property
    def ports(self) -> dict[str, list[tuple[str, int]]]:
        """What is published of it: {"80/tcp": [("0.0.0.0", 8080)]}. One that is only exposed has none."""
        found = self.details["NetworkSettings"]["Ports"] or {}
        return {
            port: [(one["HostIp"], int(one["HostPort"])) for one in places]
            for port, places in found.items()
            if places
        }

    @property
    def status(self) -> str:
        """created, running, paused or exited."""
        from atoll.engine.containers.state import state_of

        self._engine.store.container(self.id)
        return state_of(self._engine, self.id).status

    # --- its life

    def start(self) -> None:
        """Start it, and leave it to itself."""
        from atoll.engine.containers.start import start

        start(self._engine, self.id)

    def stop(self, timeout: int | None = None) -> None:
        """Ask it to end, and after `timeout` seconds make it."""
        self._engine.stop(self.id, timeout=timeout)

    def kill(self, signal: int = 9) -> None:
        """Send a signal."""
        self._engine.kill(self.id, signal)

    def restart(self, timeout: int | None = None) -> None:
        """Stop and start it."""
        from atoll.engine.containers.restart import restart

        restart(self._engine, self.id, timeout=timeout)

    def pause(self) -> None:
        """Let it stand still."""
        from atoll.engine.containers.pause import pause

        pause(self._engine, self.id)

    def unpause(self) -> None:
        """Let it go on."""
        from atoll.engine.containers.unpause import unpause

        unpause(self._engine, self.id)

    def wait(self) -> int:
        """Wait for its end; the exit code."""
        return self._engine.wait(self.id)

    def rename(self, name: str) -> None:
        """Give it another name."""
        from atoll.engine.containers.rename import rename

        rename(self._engine, self.id, name)

    def remove(self, *, force: bool = False, volumes: bool = False) -> None:
        """Remove it; one that runs only with `force`."""
        self._engine.remove(self.id, force=force, volumes=volumes)

    def commit(self, name: str | None = None, *, changes: Sequence[str] = (), message: str = "") -> str:
        """An image of what it is now; its id."""
        from atoll.engine.containers.commit import Asked, commit

        return commit(self._engine, self.id, Asked(name=name, changes=tuple(changes), message=message))

    def checkpoint(self, name: str | None = None, *, leave_running: bool = False, memory: bool = True) -> None:
        """Save it as it runs, in its machine of the level `vm`; it ends, unless it is to be left running. Without
        `memory` what it has written is saved, and a restore starts it anew."""
        from atoll.engine.checkpoints.save import save

        save(self._engine, self.id, name=name, leave_running=leave_running, memory=memory)

    def restore(self, checkpoint: str | None = None, *, keep: bool = False) -> None:
        """Let it go on where it was saved; it must have ended."""
        from atoll.engine.checkpoints.restore import restore

        restore(self._engine, self.id, name=checkpoint, keep=keep)

    def fork(self, count: int = 1, *, names: Sequence[str] = (), publish: Sequence[str] = ()) -> list[Container]:
        """Copies of it, which go on from the same state, as it does itself."""
        from atoll.engine.checkpoints.fork import fork

        made = fork(self._engine, self.id, names=tuple(names), count=len(names) or count, publish=tuple(publish))
        return [Container(self.client, one) for one in made]

    # --- what runs in it

    def exec(
        self,
        args: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        workdir: str | None = None,
        user: str | None = None,
        stdin: bool = False,
    ) -> Process:
        """Start one more process in it, attached. `stdin`: it gets what `Process.write` sends."""
        if isinstance(args, str) or not args:
            raise errors.InvalidArgument("a command is a list of words", hint='e.g. ["sh", "-c", "echo hi"]')
        request = ExecRequest(
            container=self.id,
            command=tuple(args),
            env=tuple([f"{key}={value}" for key, value in (env or {}).items()]),
            workdir=workdir,
            user=user,
            stdin=stdin,
        )
        return Process(self._engine.exec(request), args)

    def run(
        self,
        args: Sequence[str],
        *,
        stdin: bytes | None = None,
        timeout: float | None = None,
        check: bool = False,
        limit: int = OUTPUT_MAX,
        **how: Any,
    ) -> Result:
        """Run a command in it to its end. `how` as for `exec`. Raises TimedOut, with `check` CommandFailed, and why
        it could not be run."""
        process = self.exec(args, stdin=stdin is not None, **how)
        result = process.communicate(stdin, timeout, limit=limit)
        return result.check() if check else result

    def logs(self, *, follow: bool = False, tail: int | None = None) -> Iterator[tuple[str, bytes]]:
        """What it has written, as ("stdout" or "stderr", bytes)."""
        from atoll.engine.containers.logs import entries

        for entry in entries(self._engine, self.id, follow=follow, tail=tail):
            yield entry.stream, entry.data

    def stats(self, seconds: float = 0.5) -> Usage:
        """What it uses, the CPU's share over so many seconds."""
        import time

        from atoll.engine.containers.stats import between, sample

        before = sample(self._engine, self.id)
        time.sleep(seconds)
        return between(before, sample(self._engine, self.id))

    # --- its files

    def read(self, path: str) -> bytes:
        """A file's content. Raises NotFound, InvalidArgument for what is no file."""
        from atoll.engine.containers.copy import stream_out

        with open(os.memfd_create("read", os.MFD_CLOEXEC), "w+b") as memory:
            stream_out(self._engine, self.id, path, memory.fileno(), follow=True)
            memory.seek(0)
            with tarfile.open(fileobj=memory) as archive:
                entry = archive.next()
                content = archive.extractfile(entry) if entry is not None and entry.isreg() else None
                if content is None or entry is None or entry.size > _READ_MAX:
                    raise errors.InvalidArgument(f"{path} is not a file of at most {_READ_MAX} bytes")
                return content.read()

    def write(self, path: str, data: bytes, *, mode: int = 0o644) -> None:
        """Make a file of that content, in the place of what is there, with its directories where they are missing."""
        from atoll.engine.containers.copy import stream_in

        entry = tarfile.TarInfo(path.lstrip("/"))
        entry.size, entry.mode = len(data), mode
        with open(os.memfd_create("write", os.MFD_CLOEXEC), "w+b") as memory:
            with tarfile.open(fileobj=memory, mode="w") as archive:
                archive.addfile(entry, io.BytesIO(data))
            memory.seek(0)
            stream_in(self._engine, self.id, "/", memory.fileno())

    def copy_in(self, source: str, target: str) -> None:
        """Copy a file or directory of this machine into it, as `atoll cp`."""
        from atoll.engine.containers.copy import copy_in

        copy_in(self._engine, self.id, source, target)

    def copy_out(self, source: str, target: str) -> None:
        """Copy a file or directory of it to this machine, as `atoll cp`."""
        from atoll.engine.containers.copy import copy_out

        copy_out(self._engine, self.id, source, target)


class Containers:
    """`client.containers`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, *, all: bool = False, filters: Sequence[str] = ()) -> list[Container]:
        """Those that run, or all; `filters` as for `atoll ps`, e.g. "label=team=x"."""
        from atoll.engine.containers.list import list_containers

        views = list_containers(self._client._engine, all=all, filters=tuple(filters))
        return [Container(self._client, view.id) for view in views]

    def get(self, name: str) -> Container:
        """By name, id or the beginning of one. Raises NotFound."""
        return Container(self._client, self._client._engine.store.container(name).id)

    def create(self, image: str, command: Sequence[str] = (), **how: Any) -> Container:
        """Make one, without starting it; `how` as for `run_request`. An image that is not here is pulled."""
        request = run_request(image, command, **how)
        made = self._client._engine.create(request.replace(starts_later=True), on_missing=self._client._pull)
        return Container(self._client, made)

    def run(self, image: str, command: Sequence[str] = (), **how: Any) -> Container:
        """Make one and start it in the background."""
        engine = self._client._engine
        made = engine.create(run_request(image, command, detach=True, **how), on_missing=self._client._pull)
        with Rollback() as undo:
            attachment = engine.launch(made)
            undo.push(attachment.close)
            attachment.start()
            attachment.detach()
            undo.release()
        engine.started(made)
        return Container(self._client, made)
