"""`atoll pod create`: make a pod."""

from __future__ import annotations

import os
import sys

from atoll.base import errors, units
from atoll.cli.network_flags import FLAGS as NETWORK
from atoll.cli.options import LIST, NUMBER, TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.engine.pods.record import PodRequest


def _text(name: str, help: str, what: str = "string") -> Flag:
    return Flag(name=name, kind=TEXT, what=what, help=help)


def _number(name: str, help: str) -> Flag:
    return Flag(name=name, kind=NUMBER, what="int", help=help)


def _list(name: str, help: str, short: str | None = None) -> Flag:
    return Flag(name=name, kind=LIST, help=help, short=short)


LIMITS = (
    _number("blkio-weight", "Share of the disks for all of it, from 10 to 1000"),
    _number("cpu-shares", "Weight of all of it among those who want the CPU; 1024 is usual"),
    _text("cpuset-cpus", "CPUs to run on, e.g. 0-3 or 0,1"),
    _text("cpuset-mems", "Memory nodes to use, e.g. 0-1"),
    _text("memory-swap", "Memory and swap of all of it together; -1 for as much swap as there is", "bytes"),
    _text("shm-size", "Size of the /dev/shm that its containers share", "bytes"),
)
COMMAND = Command(
    name="pod create",
    usage="pod create [OPTIONS] [NAME]",
    help="Make a pod: containers that share namespaces, network and limits",
    flags=tuple(
        sorted(
            (
                *LIMITS,
                *NETWORK,
                _text("cgroup-parent", "The cgroup below which it gets its own"),
                _text("cpus", "Number of CPUs for all of it", "decimal"),
                _list("device", "A device for each of its containers"),
                _text("exit-policy", "When its last container ends: continue or stop"),
                _list("gidmap", "Group ids of its user namespace: INSIDE:OUTSIDE:COUNT"),
                Flag(name="hostname", short="h", kind=TEXT, help="Its host name"),
                Flag(name="infra", help="Have a container that holds its namespaces (on, but with --infra=false)"),
                _text("infra-name", "The name of that container"),
                _text("isolation", "Level of isolation of all of it: container, or vm, one machine"),
                _text("ipc", "IPC namespace: private or host"),
                _list("label", "Set a label", "l"),
                _list("label-file", "Read labels from a file"),
                Flag(name="memory", short="m", kind=TEXT, what="bytes", help="Memory limit for all of it, e.g. 512m"),
                Flag(name="name", short="n", kind=TEXT, help="Its name"),
                _list("network", "A network's name, bridge, none, host or ns:PATH"),
                _text("pid", "Process namespace: private or host"),
                _number("pids-limit", "Most processes in all of it; -1 for no limit"),
                _text("pod-id-file", "Write the pod's ID into a new file"),
                _list("publish", "Publish a port: [[ADDRESS:]HOST:]CONTAINER[/tcp|udp|sctp]", "p"),
                Flag(name="replace", help="Remove a pod of that name before"),
                _text("restart", "Policy of those of its containers that name none"),
                _list("security-opt", "Loosen or tighten one default of each of its containers"),
                _text("share", "What its containers share: ipc, net, pid, uts (ipc,net,uts without), or none"),
                _list("sysctl", "A sysctl of its namespaces: KEY=VALUE"),
                _list("uidmap", "User ids of its user namespace: INSIDE:OUTSIDE:COUNT"),
                _text("userns", "User namespace: host, auto[:size=N] or keep-id[:uid=N,gid=N]"),
                _text("uts", "Host name's namespace: private or host"),
                _list(
                    "volume", "A bind mount or volume for each of its containers: SOURCE:DESTINATION[:OPTIONS]", "v"
                ),
            ),
            key=lambda flag: flag.name,
        )
    ),
    most=1,
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.wiring import open_engine
    from atoll.engine.pods.create import create

    request, file = read(given), given.text("pod-id-file")
    if file is not None and os.path.lexists(file):
        raise errors.Conflict(f"pod ID file found, make sure the other pod isn't running or delete {file}")
    engine = open_engine()
    pod = create(engine, request)
    if file is not None:
        _write_id(engine, file, pod)
    for warning in engine.warnings:
        sys.stderr.write(f"WARNING: {warning}\n")
    sys.stdout.write(pod + "\n")
    return 0


def _write_id(engine: Engine, file: str, pod: str) -> None:
    from atoll.base import files

    try:
        files.write_file(file, pod, flags=os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    except OSError as error:
        from atoll.engine.pods.remove import remove

        remove(engine, pod, force=True)
        raise errors.from_os_error(error, "write the pod ID file") from error


def read(given: Given) -> PodRequest:
    """The request that the flags make. Raises UsageError, InvalidArgument."""
    from atoll.cli import network_flags
    from atoll.engine.containers.restart_policy import parse
    from atoll.engine.containers.rights import check_sysctls
    from atoll.engine.containers.sharing import Sharing
    from atoll.engine.pods.record import CONTINUE, PodRequest

    more: dict[str, Any] = network_flags.read(given)
    if given.has("network"):
        more["network"] = given.texts("network")[0]
    if given.text("restart"):
        more["restart"], more["restart_max"] = parse(given.text("restart") or "")
    labels = given.texts("label")
    if given.has("label-file"):
        from atoll.cli.env_file import variables

        labels = (*variables(given.texts("label-file")), *labels)
    memory, cpus, share = given.text("memory"), given.text("cpus"), given.text("share")
    words = ("ipc", "pid", "uts", "userns", "cgroup_parent")
    return PodRequest(
        name=given.text("name") or (given.args[0] if given.args else None),
        hostname=given.text("hostname"),
        labels=labels,
        share=_share(share) if share is not None else None,
        infra=not given.has("infra") or given.on("infra"),
        infra_name=given.text("infra-name"),
        exit_policy=given.text("exit-policy") or CONTINUE,
        sharing=Sharing(
            **{name: given.text(name.replace("_", "-")) or "" for name in words},
            uid_map=given.texts("uidmap"),
            gid_map=given.texts("gidmap"),
        ),
        memory=units.parse_size(memory, "memory limit") if memory is not None else None,
        cpus=units.parse_nano_cpus(cpus) if cpus is not None else None,
        pids_limit=given.number("pids-limit"),
        limits=_limits(given),
        sysctls=check_sysctls(given.texts("sysctl")),
        volumes=given.texts("volume"),
        security_opt=given.texts("security-opt"),
        devices=given.texts("device"),
        replace_old=given.on("replace"),
        isolation=given.text("isolation") or "",
        **more,
    )


def _share(text: str) -> tuple[str, ...]:
    """`ipc,net`, or `none`."""
    words = tuple([word.strip() for word in text.split(",") if word.strip()])
    return () if words in ((), ("none",)) else words


def _limits(given: Given) -> Any:
    if not any(given.has(flag.name) for flag in LIMITS):
        return None
    from atoll.engine.containers import limits

    swap, shm = given.text("memory-swap"), given.text("shm-size")
    return limits.Limits(
        blkio_weight=given.number("blkio-weight"),
        cpu_shares=given.number("cpu-shares"),
        cpuset_cpus=given.text("cpuset-cpus"),
        cpuset_mems=given.text("cpuset-mems"),
        memory_swap=limits.parse_memory_swap(swap) if swap is not None else None,
        shm_size=units.parse_size(shm, "value for --shm-size") if shm is not None else None,
    )
