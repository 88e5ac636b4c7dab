"""`atoll internal …`: what Atoll's own processes ask of the engine. Not for people; may change at any time.

cleanup CONTAINER    it has ended and was to go with its end
restart CONTAINER    its restart policy wants it up again, and the pause before that is over
unhealthy CONTAINER  its checks have failed, and something is to be done about that
pod CONTAINER        it has ended, and its pod is to stop with its last container
boot                 the host has started: what do the restart policies say?
halt                 the host goes down, perhaps: then all containers stop
"""

from __future__ import annotations

import sys

from atoll.cli.options import Command, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.errors import AtollError
    from atoll.cli.options import Given

COMMAND = Command(
    name="internal",
    usage="internal cleanup|restart|unhealthy|pod CONTAINER, internal boot|halt",
    help="For Atoll's own processes: settle, or start again, a container that has ended",
    least=1,
    most=2,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine

    verb, *names = given.args
    if verb == "cleanup" and names:
        open_engine().cleanup(names[0])
        return 0
    if verb == "restart" and names:
        from atoll.engine.containers.restarting import again

        again(open_engine(), names[0])
        return 0
    if verb == "unhealthy" and names:
        from atoll.engine.containers.unhealthy import unhealthy

        unhealthy(open_engine(), names[0])
        return 0
    if verb == "pod" and names:
        from atoll.engine.pods.ended import ended

        ended(open_engine(), names[0])
        return 0
    if verb == "boot" and not names:
        return _boot()
    if verb == "halt" and not names:
        return _halt()
    raise UsageError(f"unknown command: internal {' '.join(given.args)}", "internal")


def _boot() -> int:
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.restarting import boot

    return _told(boot(open_engine()))


def _halt() -> int:
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.halting import going_down, halt

    engine = open_engine()
    return _told(halt(engine)) if going_down(rootless=engine.uid != 0) else 0


def _told(found: list[tuple[str, AtollError | None]]) -> int:
    code = 0
    for name, error in found:
        if error is None:
            sys.stdout.write(f"{name}\n")
        else:
            sys.stderr.write(f"atoll: {name}: {error}\n")
            code = 1
    return code
