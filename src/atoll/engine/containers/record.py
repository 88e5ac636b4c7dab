"""What is remembered of a container: the choices that made it, once and for all.

Holds: `Record`, `MountPoint` and their JSON (a column of the store). Does not hold: whether it runs (`state.py`), the
plan that a level of isolation carries out (`plan.py` makes it, `bundle.py` keeps it).
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.engine.requests import Health
from atoll.spec import codec
from atoll.spec.codec import flag, int64, list_of, map_of, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.containers.limits import Limits
    from atoll.engine.containers.rights import Rights
    from atoll.engine.containers.sharing import Sharing
    from atoll.engine.networks.records import Networking

_texts = list_of(text)


class MountPoint(Value):
    """Something mounted at `destination`: `bind` of a host path, `volume` with its `name`, `tmpfs`, `devpts`, or
    `image` with its id as `source`. `options` are mount(8)'s, further to those that the other fields mean; `copy`: an
    empty volume is filled with what the image has there; `subpath` lies in the volume; `recursive` says what becomes
    of the mounts below a bind's source: `enabled`, `disabled`, `writable` or `readonly`; `idmap` is `idmap`, `ridmap`
    or ""; `relabel` z or Z; `create`: a bind's source that is not there is made; `filesystem` and `device` are of a
    volume that is one, rather than a directory."""

    type: str
    source: str
    destination: str
    name: str | None = None
    read_only: bool = False
    propagation: str = "rprivate"
    anonymous: bool = False
    options: tuple[str, ...] = ()
    copy: bool = False
    subpath: str = ""
    recursive: str = "enabled"
    idmap: str = ""
    relabel: str = ""
    create: bool = False
    filesystem: str = ""
    device: str = ""
    WIRE = {
        "type": text,
        "source": text,
        "destination": text,
        "name": text,
        "read_only": flag,
        "propagation": text,
        "anonymous": flag,
        "options": _texts,
        "copy": flag,
        "subpath": text,
        "recursive": text,
        "idmap": text,
        "relabel": text,
        "create": flag,
        "filesystem": text,
        "device": text,
    }


class Record(Value):
    """`image` is as the user wrote it; `args` is what runs (entrypoint and command); `env` is the image's and the
    user's together; sizes in bytes, `cpus` in billionths, `stop_timeout` in seconds. `pids_by` tells what enforces
    the limit on processes: "cgroup" or, for an ordinary user without delegation, "rlimit". `restart` and
    `restart_max` as in the request; `health` is the flags' and the image's together,
    None where nothing is checked; `pod` is the id of the one that it is in, `infra` whether it holds that one's
    namespaces; `command_line` is the request's."""

    image: str
    args: tuple[str, ...]
    entrypoint: tuple[str, ...] = ()
    cmd: tuple[str, ...] = ()
    env: tuple[str, ...] = ()
    workdir: str = "/"
    user: str = ""
    hostname: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    terminal: bool = False
    stdin: bool = False
    detach: bool = False
    remove: bool = False
    network: str = "none"
    isolation: str = "container"
    security: str = "atoll"
    security_opt: tuple[str, ...] = ()
    capabilities: tuple[str, ...] = ()
    no_new_privileges: bool = True
    seccomp: str = "default"
    read_only: bool = False
    memory: int | None = None
    memory_swap: int | None = None
    cpus: int | None = None
    pids_limit: int | None = None
    pids_by: str = "cgroup"
    shm_size: int = 64 << 20
    stop_signal: str = "SIGTERM"
    stop_timeout: int = 10
    log_driver: str = "json-file"
    log_max_size: int = 10 << 20
    log_max_files: int = 3
    log_opts: tuple[tuple[str, str], ...] = ()
    mounts: tuple[MountPoint, ...] = ()
    user_namespace: bool = False
    platform: str = ""
    cgroup: str = ""
    notes: tuple[str, ...] = ()
    restart: str = "no"
    restart_max: int = 0
    health: Health | None = None
    init: bool = False
    annotations: tuple[tuple[str, str], ...] = ()
    systemd: bool = False
    secrets: tuple[str, ...] = ()
    limits: Limits | None = None
    rights: Rights | None = None
    sharing: Sharing | None = None
    networking: Networking | None = None
    pod: str = ""
    infra: bool = False
    apparmor: str = ""
    umask: int | None = None
    command_line: tuple[str, ...] = ()
    WIRE = {
        "image": text,
        "args": _texts,
        "entrypoint": _texts,
        "cmd": _texts,
        "env": _texts,
        "workdir": text,
        "user": text,
        "hostname": text,
        "labels": map_of(text),
        "terminal": flag,
        "stdin": flag,
        "detach": flag,
        "remove": flag,
        "network": text,
        "isolation": text,
        "security": text,
        "security_opt": _texts,
        "capabilities": _texts,
        "no_new_privileges": flag,
        "seccomp": text,
        "read_only": flag,
        "memory": int64,
        "memory_swap": int64,
        "cpus": int64,
        "pids_limit": int64,
        "pids_by": text,
        "shm_size": int64,
        "stop_signal": text,
        "stop_timeout": int64,
        "log_driver": text,
        "log_max_size": int64,
        "log_max_files": int64,
        "log_opts": map_of(text),
        "mounts": list_of(codec.record(MountPoint)),
        "user_namespace": flag,
        "platform": text,
        "cgroup": text,
        "notes": _texts,
        "restart": text,
        "restart_max": int64,
        "health": codec.record(Health),
        "init": flag,
        "annotations": map_of(text),
        "systemd": flag,
        "secrets": _texts,
        "limits": codec.later("atoll.engine.containers.limits", "Limits"),
        "rights": codec.later("atoll.engine.containers.rights", "Rights"),
        "sharing": codec.later("atoll.engine.containers.sharing", "Sharing"),
        "networking": codec.later("atoll.engine.networks.records", "Networking"),
        "pod": text,
        "infra": flag,
        "apparmor": text,
        "umask": int64,
        "command_line": _texts,
    }

    @property
    def stdin_stays(self) -> bool:
        """Whether its input stays open when whoever fed it has left (Docker's StdinOnce off)."""
        return self.stdin and self.detach

    def to_text(self) -> str:
        """As the store keeps it. What `dump` leaves out for being false is written where true is the default."""
        out = codec.dump(self)
        out["noNewPrivileges"] = self.no_new_privileges
        return jsontext.dumps(out)

    @staticmethod
    def from_text(wire: str) -> Record:
        """Parse what the store keeps. Raises Corrupt."""
        try:
            return codec.parse(Record, jsontext.loads(wire), "record")
        except (ValueError, errors.InvalidArgument) as error:
            raise errors.Corrupt(f"the store holds a damaged container: {error}") from None
