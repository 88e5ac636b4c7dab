"""`atoll update`: other limits and another restart policy for containers that exist."""

from __future__ import annotations

from atoll.base import errors, units
from atoll.cli.options import NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.containers.update import Update

COMMAND = Command(
    name="update",
    usage="update [OPTIONS] CONTAINER [CONTAINER...]",
    help="Change the limits or the restart policy of one or more containers",
    flags=(
        Flag(name="blkio-weight", kind=NUMBER, what="int", help="Weight of its block I/O, 10 to 1000; 0 for none"),
        Flag(name="cpu-period", kind=NUMBER, what="int", help="Microseconds that a CPU quota is for"),
        Flag(name="cpu-quota", kind=NUMBER, what="int", help="Microseconds of CPU in each period"),
        Flag(name="cpu-shares", short="c", kind=NUMBER, what="int", help="Its share of the CPUs when they are short"),
        Flag(name="cpus", kind=TEXT, what="decimal", help="Number of CPUs"),
        Flag(name="cpuset-cpus", kind=TEXT, help="CPUs to run on, e.g. 0-3 or 0,1"),
        Flag(name="cpuset-mems", kind=TEXT, help="Memory nodes to use, e.g. 0-1"),
        Flag(name="memory", short="m", kind=TEXT, what="bytes", help="Memory limit, e.g. 512m"),
        Flag(name="memory-reservation", kind=TEXT, what="bytes", help="Memory that is its own when memory is short"),
        Flag(name="memory-swap", kind=TEXT, what="bytes", help="Memory and swap together; -1 for no limit"),
        Flag(name="pids-limit", kind=NUMBER, what="int", help="Most processes; -1 for no limit"),
        Flag(name="restart", kind=TEXT, help="When it ends: no, always, unless-stopped, on-failure[:N]"),
    ),
    least=1,
    most=None,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.each import for_each
    from atoll.cli.wiring import open_engine
    from atoll.engine.containers.update import Update, update

    asked = read(given)
    if asked == Update():
        raise errors.InvalidArgument("you must provide one or more flags when using this command")
    engine = open_engine()

    def one(name: str) -> str:
        update(engine, name, asked)
        return name

    return for_each(given.args, one)


def read(given: Given) -> Update:
    """What the flags ask for. Raises InvalidArgument."""
    from atoll.engine.containers.restart_policy import parse
    from atoll.engine.containers.update import Update

    cpus, swap, restart = given.text("cpus"), given.text("memory-swap"), given.text("restart")

    def size(name: str) -> int | None:
        text = given.text(name)
        return None if text is None else units.parse_size(text, name)

    return Update(
        memory=size("memory"),
        memory_swap=-1 if swap == "-1" else size("memory-swap"),
        memory_reservation=size("memory-reservation"),
        cpus=None if cpus is None else units.parse_nano_cpus(cpus),
        cpu_shares=given.number("cpu-shares"),
        cpu_period=given.number("cpu-period"),
        cpu_quota=given.number("cpu-quota"),
        cpuset_cpus=given.text("cpuset-cpus"),
        cpuset_mems=given.text("cpuset-mems"),
        blkio_weight=given.number("blkio-weight"),
        pids_limit=given.number("pids-limit"),
        restart=None if restart is None else parse(restart),
    )
