"""The host goes down: containers are asked to end in time, and come back at the next boot as if nobody had.

Holds: `halt`, `going_down`. Does not hold: `boot` (`restarting.py`), the unit that calls both
(`cli/system/boot_unit.py`). Without it systemd asks by SIGTERM what no first process of a container hears that has no
handler, and waits a minute and a half for all of them (systemd-shutdown(8)).
"""

from __future__ import annotations

from atoll.base import files
from atoll.engine.containers import restarting
from atoll.engine.containers.state import is_up, state_of
from atoll.engine.containers.stop import stop_all
from atoll.monitor import restart

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base import errors
    from atoll.engine.engine import Engine


def going_down(*, rootless: bool) -> bool:
    """Whether systemd (a user's own: his session) is on its way down, and not just some unit being stopped."""
    import subprocess

    words = ["systemctl", *(["--user"] if rootless else []), "is-system-running"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return False
    return said.strip() == "stopping"


def halt(engine: Engine) -> list[tuple[str, errors.AtollError | None]]:
    """Stop all that run, each by its own signal and in its own time, and note that nobody did so by hand: names, and
    what went wrong."""
    up = {}
    for row in engine.store.containers():
        bundle = engine.paths.container(row.id)
        if is_up(state_of(engine, row.id)) or restarting.is_waiting(bundle):
            up[row.name] = (bundle, restart.is_stopped(bundle))
    done = list(stop_all(engine, list(up), timeout=None, signum=None))
    for bundle, by_hand in up.values():
        if not by_hand and restart.is_stopped(bundle):
            files.write_atomic(f"{bundle}/{restarting.HALTED_FILE}", "")
    return done
