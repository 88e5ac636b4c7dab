"""Starting a container again after its end: whether, when, and the wait until then.

Holds: `Policy`, `Restarts` (files in the bundle), `follow` (the monitor's part). Does not hold: how it is started
(`atoll internal restart`, a command of the engine), who may change a policy (`engine/containers/restarting.py`).

    restart.json     the policy and the command that starts it again; written by commands
    stopped          an empty file: somebody stopped it by hand; written before the signal is sent
    restarts.json    how often it was started again, the pause before that, and who waits; written by monitors

Three files, so that no two ever write one at the same time. The pauses are Docker's: 100 ms, doubled each time up to
a minute, from the beginning again once the container has lived ten seconds.
"""

from __future__ import annotations

import os
import time

from atoll.base import clock, errors, files, jsontext
from atoll.linux import process
from atoll.monitor import record
from atoll.runtime import state

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

POLICY_FILE, STOPPED_FILE, RESTARTS_FILE = "restart.json", "stopped", "restarts.json"
NO, ALWAYS, UNLESS_STOPPED, ON_FAILURE = "no", "always", "unless-stopped", "on-failure"
FIRST_MS, MOST_MS = 100, 60_000
WELL_NS = 10 * 10**9
KEPT = ("ATOLL_", "XDG_", "HOME=", "PATH=", "USER=", "LOGNAME=", "DBUS_SESSION_BUS_ADDRESS=")
"""What of a caller's environment a container's later commands need: the rest may be secret, and this is on disk."""


class Policy(record.Record):
    """When to start it again (`most` times at most, 0: no bound), by which command."""

    policy: str
    most: int = 0
    argv: Any = ()
    env: Any = ()


class Restarts(record.Record):
    """What came of it so far. `pid` and the next two are the process that waits to start it again, until `until`."""

    count: int = 0
    delay_ms: int = 0
    pid: int = 0
    start_time: int = 0
    boot_id: str = ""
    until: str = ""

    def waiting(self) -> bool:
        """Whether somebody waits to start it again."""
        return self.pid > 0 and record.alive(self.pid, self.start_time, self.boot_id)


def read_policy(bundle: str) -> Policy | None:
    """The policy; None for `no`. Raises Corrupt."""
    return Policy.read(f"{bundle}/{POLICY_FILE}")


def read_restarts(bundle: str) -> Restarts:
    """What came of it so far. A damaged file counts as none."""
    try:
        return Restarts.read(f"{bundle}/{RESTARTS_FILE}") or Restarts()
    except errors.Corrupt:
        return Restarts()


def write_restarts(bundle: str, restarts: Restarts) -> None:
    """Raises OSError."""
    files.write_atomic(f"{bundle}/{RESTARTS_FILE}", jsontext.dumps(restarts.to_json()))


def is_stopped(bundle: str) -> bool:
    """Whether it was stopped by hand."""
    return os.path.exists(f"{bundle}/{STOPPED_FILE}")


def applies(policy: Policy, ended: record.Exit, *, count: int) -> bool:
    """Whether a container that ended so is to be started again (if nobody stopped it)."""
    if policy.policy in (ALWAYS, UNLESS_STOPPED):
        return True
    return policy.policy == ON_FAILURE and ended.code != 0 and (policy.most <= 0 or count < policy.most)


def pause_ms(ended: record.Exit, before_ms: int) -> int:
    """How long to wait now, after a pause of `before_ms` the last time."""
    lived = clock.parse(ended.at) - clock.parse(ended.started) if ended.started else 0
    if lived >= WELL_NS or before_ms <= 0:
        return FIRST_MS
    return min(MOST_MS, before_ms * 2)


def follow(bundle: str) -> None:
    """After an end: wait and have the container started again, if its policy says so ("": nothing to be done).
    Never raises for a file.

    The caller holds nothing of the container any more: whoever came to its door meanwhile must not wait with it. One
    whose program never ran is left: what went wrong would go wrong again (Docker leaves it, too).
    """
    if not bundle:
        return
    try:
        policy = read_policy(bundle)
        if policy is None or is_stopped(bundle):
            return
        ended = record.read_exit(bundle)
        if ended is None or ended.started is None:
            return
        before = read_restarts(bundle)
        if not applies(policy, ended, count=before.count):
            return
        pause = pause_ms(ended, before.delay_ms)
        me = os.getpid()
        write_restarts(
            bundle,
            Restarts(
                count=before.count + 1,
                delay_ms=pause,
                pid=me,
                start_time=process.start_time(me),
                boot_id=state.boot_id(),
                until=clock.rfc3339(time.time_ns() + pause * 1_000_000),
            ),
        )
        if not is_stopped(bundle):  # asked once more: whoever stops it by hand looks for us after saying so
            time.sleep(pause / 1000)
            run(bundle, policy)
    except (OSError, errors.AtollError):  # removed meanwhile, or a full disk: `atoll system check` tells
        return


def run(bundle: str, policy: Policy) -> None:
    """Start the command that starts it again, unless it was stopped or removed meanwhile."""
    if is_stopped(bundle) or not os.path.exists(f"{bundle}/{POLICY_FILE}"):
        return
    defaults = [number for number in range(1, 32) if number not in (process.SIGKILL, 19)]
    env = dict([one.split("=", 1) for one in policy.env if "=" in one])
    pid = os.posix_spawn(policy.argv[0], list(policy.argv), env, setsigdef=defaults, setsid=True)
    os.waitpid(pid, 0)  # it counts as waiting until the container runs again
