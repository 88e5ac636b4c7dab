"""Restart policies: what commands write of them, and starting again what a policy says.

Holds: `begin`, `change`, `hold` (stopped by hand), `forget`, `again` (`atoll internal restart`), `mend`, `boot`. Does
not hold: the files, the decision and the pauses (`monitor/restart.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext, launch
from atoll.engine.containers.record import Record
from atoll.monitor import restart
from atoll.monitor.record import read_exit

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow


HALTED_FILE = "halted"
"""In the bundle of one that was stopped because the host went down: at the next boot it is as if nobody had."""


def begin(engine: Engine, container_id: str, record: Record) -> None:
    """Write the policy of a container into its directory, or take it away. Raises OSError."""
    bundle = engine.paths.container(container_id)
    if record.restart == restart.NO:
        files.unlink_if_present(f"{bundle}/{restart.POLICY_FILE}")
        return
    kept = [f"{k}={v}" for k, v in engine.environ.items() if f"{k}=".startswith(restart.KEPT)]
    policy = restart.Policy(
        policy=record.restart,
        most=record.restart_max,
        argv=launch.argv("internal", "restart", container_id),
        env=kept,
    )
    files.write_atomic(f"{bundle}/{restart.POLICY_FILE}", jsontext.dumps(policy.to_json()))


def count(engine: Engine, container_id: str) -> int:
    """How often it was started again since it was last started by hand."""
    return restart.read_restarts(engine.paths.container(container_id)).count


def counted(engine: Engine, container_id: str, number: int) -> None:
    """It was started again for the `number`th time, and not by its policy. Raises OSError."""
    bundle = engine.paths.container(container_id)
    if os.path.exists(f"{bundle}/{restart.POLICY_FILE}"):
        restart.write_restarts(bundle, restart.Restarts(count=number))


def is_waiting(bundle: str) -> bool:
    """Whether it has ended and somebody waits to start it again."""
    if not os.path.exists(f"{bundle}/{restart.RESTARTS_FILE}") or restart.is_stopped(bundle):
        return False
    return restart.read_restarts(bundle).waiting()


def hold(engine: Engine, container_id: str) -> None:
    """It is being stopped by hand: nothing starts it again, not even after a reboot with `unless-stopped`.

    To be called before the signal that ends it. Raises OSError.
    """
    bundle = engine.paths.container(container_id)
    if os.path.exists(f"{bundle}/{restart.POLICY_FILE}"):
        files.write_atomic(f"{bundle}/{restart.STOPPED_FILE}", "")
        files.unlink_if_present(f"{bundle}/{HALTED_FILE}")
        _end_waiting(bundle)


def forget(engine: Engine, container_id: str) -> None:
    """It is being started by hand, or removed: counting begins anew, and nobody else starts it. Raises OSError."""
    bundle = engine.paths.container(container_id)
    if not os.path.exists(f"{bundle}/{restart.POLICY_FILE}"):
        return
    _end_waiting(bundle)
    for name in (restart.STOPPED_FILE, restart.RESTARTS_FILE, HALTED_FILE):
        files.unlink_if_present(f"{bundle}/{name}")


def _end_waiting(bundle: str) -> None:
    """End the process that waits; it holds nothing else. By pidfd, so that it is that process and no later one."""
    from atoll.linux import process

    found = restart.read_restarts(bundle)
    if found.pid <= 0 or found.pid == os.getppid():
        return
    try:
        pidfd = os.pidfd_open(found.pid)
    except OSError:
        return
    try:
        if found.waiting():
            process.pidfd_send_signal(pidfd, process.SIGKILL)
    except OSError:
        pass
    finally:
        os.close(pidfd)


def again(engine: Engine, container_id: str) -> None:
    """What the process that waited has done: start it, unless somebody stopped, started or removed it meanwhile.

    Raises why its program does not run.
    """
    from atoll.engine.containers.bundle import is_whole
    from atoll.engine.containers.launch import launch_detached
    from atoll.engine.containers.state import is_up, state_of

    try:
        row = engine.store.container(container_id)
    except errors.NotFound:
        return
    if restart.is_stopped(engine.paths.container(row.id)) or is_up(state_of(engine, row.id)):
        return
    try:
        launch_detached(engine, row.id, again=True)
    except errors.NotFound:
        if is_whole(engine.paths.container(row.id)):
            raise
        # Whoever removed it was killed half-way: the next command that meets it removes the rest.


def due(engine: Engine, row: ContainerRow, *, booted: bool = False) -> bool:
    """Whether a policy wants this container up and nobody sees to it: its monitor was killed, or the host has been
    restarted (`booted`, where `always` counts also for one that was stopped by hand, as with Docker's daemon)."""
    from atoll.engine.containers.launch import MARK
    from atoll.engine.containers.state import EXITED, state_of

    bundle = engine.paths.container(row.id)
    try:
        policy = restart.read_policy(bundle)
    except errors.Corrupt:
        return False
    if policy is None or not os.path.exists(f"{bundle}/{MARK}"):
        return False
    anyway = booted and (policy.policy == restart.ALWAYS or os.path.exists(f"{bundle}/{HALTED_FILE}"))
    if restart.is_stopped(bundle) and not anyway:
        return False
    status = state_of(engine, row.id)
    if status.status != EXITED or (status.started_at is None and read_exit(bundle) is not None):
        return False
    restarts = restart.read_restarts(bundle)
    failed = status.exit_code != 0 and (policy.most <= 0 or restarts.count < policy.most)
    return policy.policy != restart.ON_FAILURE or failed


def boot(engine: Engine) -> list[tuple[str, errors.AtollError | None]]:
    """Start every container that its policy wants up: names, and what went wrong."""
    found: list[tuple[str, errors.AtollError | None]] = []
    for row in reversed(engine.store.containers()):
        if not due(engine, row, booted=True):
            continue
        try:
            for name in (restart.STOPPED_FILE, HALTED_FILE):
                files.unlink_if_present(f"{engine.paths.container(row.id)}/{name}")
            again(engine, row.id)
            found.append((row.name, None))
        except errors.AtollError as error:
            found.append((row.name, error))
    return found


def change(engine: Engine, container_id: str, record: Record) -> None:
    """Another policy, from the next end on. Raises OSError."""
    begin(engine, container_id, record)
    if record.restart == restart.NO:
        bundle = engine.paths.container(container_id)
        _end_waiting(bundle)
        for name in (restart.STOPPED_FILE, restart.RESTARTS_FILE, HALTED_FILE):
            files.unlink_if_present(f"{bundle}/{name}")
