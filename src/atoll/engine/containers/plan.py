"""The plan of a container: a pure function from what was asked, the image and the host to all that will be done.

Holds: `Facts`, `plan`, `Planned`; what `--explain` prints. Does not hold: the parts (`plan_record.py`,
`plan_spec.py`, `plan_mounts.py`), looking at the host (`facts.py`), carrying anything out. Two calls with the same
values give the same plan; nothing is read and nothing is touched here. Start reading at `plan`.
"""

from __future__ import annotations

from atoll.base.launch import argv as own_command
from atoll.base.value import Value
from atoll.engine.containers.plan_record import check_user, record_of
from atoll.engine.containers.plan_spec import process_of, resources, spec_of
from atoll.engine.containers.record import MountPoint, Record
from atoll.isolation.protocol import ContainerPlan, LogPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from atoll.engine.config import Config
    from atoll.engine.containers.devices import DeviceNode
    from atoll.engine.paths import Paths
    from atoll.engine.requests import RunRequest
    from atoll.spec.idmap import RootlessMap
    from atoll.spec.image import RunConfig
    from atoll.spec.rootfs import RootPlan

__all__ = ["Facts", "Planned", "check_user", "log_name", "plan", "process_of", "resources"]


class Facts(Value):
    """What of the host matters. `delegated`: the cgroup controllers an ordinary user may use, None for root;
    `processes`: the hard RLIMIT_NPROC, -1 for none; `hosts` and `resolv_conf`: the host's files, read only for a
    container in the host's network; `swap`: whether swap can be limited. Of the rest, no more is looked at than the
    request makes necessary: `unified` says that limits are cgroup v2's, `rlimits` are the hard ones (-1: none) by the
    names of --ulimit, `nodes` the devices asked for, `apparmor` the profile and what to note of it."""

    uid: int
    hostname: str
    cpus: int
    delegated: frozenset[str] | None = None
    processes: int = -1
    hosts: str = ""
    resolv_conf: str = ""
    swap: bool = False
    unified: bool = False
    highest_cpu: int = 0
    highest_node: int = 0
    oom_score_adj: int = 0
    rlimits: tuple[tuple[str, int], ...] = ()
    may_raise_rlimits: bool = True
    nodes: tuple[DeviceNode, ...] = ()
    apparmor: tuple[str, str | None] = ("", None)


class Planned(Value):
    """The whole plan: what is remembered, what the level of isolation gets, the files to write into the bundle."""

    record: Record
    container: ContainerPlan
    files: tuple[tuple[str, str], ...]


def plan(
    *,
    container_id: str,
    request: RunRequest,
    image: RunConfig,
    platform: str,
    root: RootPlan,
    idmap: RootlessMap | None,
    mounts: tuple[MountPoint, ...],
    facts: Facts,
    config: Config,
    paths: Paths,
    environ: Mapping[str, str],
    notes: tuple[str, ...] = (),
) -> Planned:
    """Plan a container. `image` says how to run it, `root` what its root is made of, `idmap` the user namespace (None
    for none). Raises InvalidArgument, Denied, Unsupported for what cannot be."""
    record = record_of(container_id, request, image, mounts, idmap, facts, config, environ)
    record = record.replace(platform=platform, notes=(*notes, *record.notes))
    bundle, run = paths.container(container_id), paths.container_run(container_id)
    files = _files(record, facts)
    container = ContainerPlan(
        id=container_id,
        spec=spec_of(record, request.window, idmap, facts, bundle, container_id),
        root=root,
        bundle=bundle,
        run=run,
        terminal=record.terminal,
        stdin=record.stdin,
        stdin_stays=record.stdin_stays,
        log=LogPlan(
            driver=record.log_driver,
            path=f"{bundle}/{name}" if (name := log_name(container_id, record.log_driver)) else "",
            max_size=record.log_max_size,
            max_files=record.log_max_files,
        ),
        on_exit=_on_exit(record, container_id),
        cache=paths.seccomp_cache,
        helpers=(idmap.newuidmap, idmap.newgidmap) if idmap and idmap.newuidmap and idmap.newgidmap else None,
    )
    return Planned(record=record, container=container, files=files)


def _on_exit(record: Record, container_id: str) -> tuple[str, ...]:
    """What is done after an end that no command attends to."""
    if record.remove:
        return tuple(own_command("internal", "cleanup", container_id))
    if record.networking is not None and record.networking.networks:
        return tuple(own_command(container_id, module="atoll.engine.networks.ended"))
    return ()


def log_name(container_id: str, driver: str = "json-file") -> str:
    """The log's file in the bundle, named as Docker names it; "" for a driver that keeps none."""
    return {"json-file": f"{container_id}-json.log", "k8s-file": f"{container_id}-k8s.log"}.get(driver, "")


# --- the generated files --------------------------------------------------------------------------------------------


def _files(record: Record, facts: Facts) -> tuple[tuple[str, str], ...]:
    """`/etc/hostname`, `/etc/hosts`, `/etc/resolv.conf`: names in the bundle and their content."""
    if record.network == "host":
        hosts, resolv_conf = facts.hosts, facts.resolv_conf
    elif record.network.startswith("container:"):
        return ()  # the other container's are used
    else:
        hosts = (
            "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\n"
            "ff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
            f"127.0.1.1\t{record.hostname}\n"
        )
        resolv_conf = "# No name server: this container has no network.\n"
    return (("hostname", record.hostname + "\n"), ("hosts", hosts), ("resolv.conf", resolv_conf))
