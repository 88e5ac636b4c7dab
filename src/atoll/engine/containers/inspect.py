"""inspect of a container, in the shape of Docker's API."""

from __future__ import annotations

from atoll.base import clock
from atoll.engine.containers import health, restarting
from atoll.engine.containers.plan import log_name
from atoll.engine.containers.record import Record
from atoll.engine.containers.state import PAUSED, RUNNING, state_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow
    from atoll.isolation.protocol import Status


def inspect(engine: Engine, name: str) -> dict[str, Any]:
    """Docker's `ContainerJSON`; what is Atoll's own stands under `Atoll`. Raises NotFound, InvalidArgument."""
    row = engine.store.container(name)
    record = Record.from_text(row.record)
    status = state_of(engine, row.id)
    place = engine.paths.container(row.id)
    document: dict[str, Any] = {
        "Id": row.id,
        "Created": clock.rfc3339(row.created_at),
        "Path": record.args[0],
        "Args": list(record.args[1:]),
        "State": _state(status, health.shown(health.known(engine, row.id, record))),
        "Image": row.image or "",
        "ResolvConfPath": f"{place}/resolv.conf",
        "HostnamePath": f"{place}/hostname",
        "HostsPath": f"{place}/hosts",
        "LogPath": f"{place}/{log}" if (log := log_name(row.id, record.log_driver)) else "",
        "Name": "/" + row.name,
        "RestartCount": restarting.count(engine, row.id),
        "Driver": _DRIVERS[engine.snapshots.way_of(row.id)],
        "Platform": "linux",
        "MountLabel": "",
        "ProcessLabel": "",
        "AppArmorProfile": record.apparmor,
        "ExecIDs": None,
        "HostConfig": _host_config(record),
        "GraphDriver": _graph(engine, row),
        "Mounts": [_mount(record, index) for index in range(len(record.mounts))],
        "Config": _config(record),
        "NetworkSettings": _network(engine, row.id, record),
        "Atoll": {
            "Isolation": record.isolation,
            "Security": record.security,
            "Capabilities": list(record.capabilities),
            "NoNewPrivileges": record.no_new_privileges,
            "Seccomp": record.seccomp,
            "UserNamespace": record.user_namespace,
            "PidsLimitBy": record.pids_by,
            "Notes": list(record.notes),
        },
    }
    return document


def _state(status: Status, health: dict[str, Any] | None) -> dict[str, Any]:
    running = status.status in (RUNNING, PAUSED)
    return {
        **({"Health": health} if health is not None else {}),
        "Status": status.status,
        "Running": running,
        "Paused": status.status == PAUSED,
        "Restarting": status.status == "restarting",
        "OOMKilled": status.oom_killed,
        "Dead": False,
        "Pid": status.pid or 0,
        "ExitCode": 0 if running or status.exit_code is None else status.exit_code,
        "Error": status.error or "",
        "StartedAt": status.started_at or clock.ZERO,
        "FinishedAt": status.finished_at or clock.ZERO,
    }


def _config(record: Record) -> dict[str, Any]:
    attach = not record.detach
    return {
        "Hostname": record.hostname,
        "Domainname": "",
        "User": record.user,
        "AttachStdin": attach and record.stdin,
        "AttachStdout": attach,
        "AttachStderr": attach,
        "Tty": record.terminal,
        "OpenStdin": record.stdin,
        "StdinOnce": record.stdin and attach,
        "Env": list(record.env),
        "Cmd": list(record.cmd) or None,
        "Image": record.image,
        "Volumes": None,
        "WorkingDir": record.workdir,
        "Entrypoint": list(record.entrypoint) or None,
        "Labels": dict(record.labels),
        "StopSignal": record.stop_signal,
        "StopTimeout": record.stop_timeout,
    }


def _host_config(record: Record) -> dict[str, Any]:
    binds = [
        f"{m.name or m.source}:{m.destination}" + (":ro" if m.read_only else "")
        for m in record.mounts
        if m.type in ("bind", "volume")
    ]
    options = list(record.security_opt)
    if record.no_new_privileges and not any(o.startswith("no-new-privileges") for o in options):
        options.append("no-new-privileges")
    rare: dict[str, Any] = {}
    if record.limits or record.rights or record.sharing or record.annotations or record.mounts:
        from atoll.engine.containers import inspect_flags

        rare = inspect_flags.host_config(record)
    shown = {
        "Binds": binds or None,
        "LogConfig": {
            "Type": record.log_driver,
            "Config": {
                "max-size": str(record.log_max_size),
                "max-file": str(record.log_max_files),
                **dict(record.log_opts),
            },
        },
        "NetworkMode": record.network,
        "RestartPolicy": {"Name": record.restart, "MaximumRetryCount": record.restart_max},
        "AutoRemove": record.remove,
        "CapAdd": None,
        "CapDrop": None,
        "IpcMode": "private",
        "CgroupnsMode": "private",
        "PidMode": "",
        "UTSMode": "",
        "Privileged": False,
        "ReadonlyRootfs": record.read_only,
        "SecurityOpt": options or None,
        "ShmSize": record.shm_size,
        "Runtime": "atoll-runtime",
        "Isolation": "",
        "Memory": record.memory or 0,
        "MemorySwap": record.memory_swap or 0,
        "NanoCpus": record.cpus or 0,
        "PidsLimit": record.pids_limit,
        "CgroupParent": record.cgroup.rpartition("/")[0],
    }
    return {**_NOT_GIVEN, **shown, **rare}


_DRIVERS = {"overlay": "overlay2", "fuse-overlayfs": "fuse-overlayfs", "copy": "vfs"}
# The rest of Docker's HostConfig, as it shows what nobody asked for: templates may name any of it.
_NOT_GIVEN: dict[str, Any] = {
    "ContainerIDFile": "",
    "PortBindings": {},
    "VolumeDriver": "",
    "VolumesFrom": None,
    "Dns": [],
    "DnsOptions": [],
    "DnsSearch": [],
    "ExtraHosts": None,
    "GroupAdd": None,
    "Cgroup": "",
    "Links": None,
    "OomScoreAdj": 0,
    "PublishAllPorts": False,
    "UsernsMode": "",
    "ConsoleSize": [0, 0],
    "CpuShares": 0,
    "BlkioWeight": 0,
    "BlkioWeightDevice": [],
    "BlkioDeviceReadBps": None,
    "BlkioDeviceWriteBps": None,
    "BlkioDeviceReadIOps": None,
    "BlkioDeviceWriteIOps": None,
    "CpuPeriod": 0,
    "CpuQuota": 0,
    "CpuRealtimePeriod": 0,
    "CpuRealtimeRuntime": 0,
    "CpusetCpus": "",
    "CpusetMems": "",
    "Devices": [],
    "DeviceCgroupRules": None,
    "DeviceRequests": None,
    "MemoryReservation": 0,
    "MemorySwappiness": None,
    "OomKillDisable": False,
    "Ulimits": None,
    "CpuCount": 0,
    "CpuPercent": 0,
    "IOMaximumIOps": 0,
    "IOMaximumBandwidth": 0,
    "MaskedPaths": None,
    "ReadonlyPaths": None,
}


def _mount(record: Record, index: int) -> dict[str, Any]:
    mount = record.mounts[index]
    shown: dict[str, Any] = {"Type": mount.type}
    if mount.name is not None:
        shown["Name"] = mount.name
    shown.update(
        Source=mount.source,
        Destination=mount.destination,
        Mode="ro" if mount.read_only else "",
        RW=not mount.read_only,
        Propagation=mount.propagation if mount.type == "bind" else "",
    )
    if mount.type == "volume":
        shown["Driver"] = "local"
    return shown


def _graph(engine: Engine, row: ContainerRow) -> dict[str, Any]:
    if row.image is None:
        return {"Name": "host", "Data": None}
    writable = engine.snapshots.writable(row.id)
    way = engine.snapshots.way_of(row.id)
    if way == "copy":
        return {"Name": "vfs", "Data": {"Dir": writable.upper}}
    lower = [engine.snapshots.layer_dir(chain) for chain in reversed(engine.store.chain_ids(row.image))]
    return {
        "Name": _DRIVERS[way],
        "Data": {"LowerDir": ":".join(lower), "UpperDir": writable.upper, "WorkDir": writable.work},
    }


def _network(engine: Engine, container_id: str, record: Record) -> dict[str, Any]:
    if record.networking is not None:
        from atoll.engine.networks.inspect import of_container

        return of_container(engine, container_id, record)
    empty = {"IPAddress": "", "Gateway": "", "MacAddress": "", "IPPrefixLen": 0}
    return {"Ports": {}, **empty, "Networks": {record.network: dict(empty)}}
