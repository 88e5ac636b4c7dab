"""A container's secrets at its launch: into files that no disk holds, or into its environment.

Holds: `parse` (`--secret`), `planned` (what is kept in the bundle: names, no values), `deliver`, `withdraw`. Does not
hold: the store (`vault.py`). What is delivered lies on a tmpfs until the container has mounted it, then it has no
name outside; the plan that is kept, `inspect` and the image know names only.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.engine.secrets.vault import Vault, check_name
from atoll.spec import codec
from atoll.spec.codec import int64, text
from atoll.spec.runtime import Mount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.engine import Engine
    from atoll.isolation.protocol import ContainerPlan

FILE = "secrets.json"
PLACE = "/run/secrets"


class Delivery(Value):
    """One `--secret`. `target` is a path inside, or a variable's name with type `env`."""

    name: str
    type: str = "mount"
    target: str = ""
    uid: int = 0
    gid: int = 0
    mode: int = 0o444
    WIRE = {"name": text, "type": text, "target": text, "uid": int64, "gid": int64, "mode": int64}


def parse(spec: str) -> Delivery:
    """`NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]`, or with `source=NAME`. Raises InvalidArgument."""
    from atoll.engine.containers.mount_flags import split_fields

    given: dict[str, str] = {}
    for index, field in enumerate(split_fields(spec)):
        key, equals, value = field.partition("=")
        if not equals and index == 0:
            key, value = "source", field
        elif not equals or key not in ("source", "src", "type", "target", "dst", "destination", "uid", "gid", "mode"):
            raise errors.InvalidArgument(f"invalid argument '{spec}' for --secret: unexpected '{field}'")
        given[{"src": "source", "dst": "target", "destination": "target"}.get(key, key)] = value
    name, kind = check_name(given.get("source", "")), given.get("type", "mount")
    if kind not in ("mount", "env"):
        raise errors.InvalidArgument(f"invalid argument '{spec}' for --secret: type {kind!r}", hint="mount or env")
    target = given.get("target") or (name if kind == "env" else f"{PLACE}/{name}")
    if kind == "env" and (set("=\0\n ") & set(target) or {"uid", "gid", "mode"} & set(given)):
        raise errors.InvalidArgument(f"invalid argument '{spec}' for --secret: not for type env")
    if kind == "mount":
        target = target if target.startswith("/") else f"{PLACE}/{target}"
        from atoll.engine.containers.volumes import inside

        target = inside(target, spec)
    numbers = {
        key: _number(spec, given[key], 8 if key == "mode" else 10) for key in ("uid", "gid", "mode") if key in given
    }
    return Delivery(name=name, type=kind, target=target, **numbers)


def _number(spec: str, word: str, base: int) -> int:
    try:
        value = int(word, base)
    except ValueError:
        value = -1
    if not 0 <= value <= (0o7777 if base == 8 else (1 << 32) - 2):
        raise errors.InvalidArgument(f"invalid argument '{spec}' for --secret: {word!r}")
    return value


def planned(engine: Engine, specs: Sequence[str]) -> tuple[str, str]:
    """The file for the bundle: its name and content. Raises NotFound for a secret that is not there."""
    wanted = [parse(spec) for spec in specs]
    with Vault(engine) as vault:
        for one in wanted:
            vault.find(one.name)
    return FILE, jsontext.dumps([codec.dump(one) for one in wanted])


def deliver(engine: Engine, plan: ContainerPlan) -> ContainerPlan:
    """The plan with the secrets of its bundle, decrypted for this launch; each use is noted in the journal. Raises
    NotFound, Denied, Unsupported where there is no tmpfs to put them in."""
    from atoll.engine.events import note

    withdraw(engine, plan.id)  # what a killed launch has left
    document = jsontext.loads(files.read_bytes(f"{plan.bundle}/{FILE}"))
    wanted = [codec.parse(Delivery, one, FILE) for one in document]
    mounts: list[Mount] = []
    env: list[str] = []
    with Vault(engine) as vault:
        for number, one in enumerate(wanted):
            secret, content = vault.read(one.name)
            if one.type == "env":
                if b"\0" in content:
                    raise errors.InvalidArgument(f"the secret {one.name} holds a NUL: no variable can have it")
                env.append(f"{one.target}={content.decode('utf-8', 'surrogateescape')}")
            else:
                mounts.append(_mount(engine, plan, one, number, content))
            note.note(engine, "secret", "use", secret.id, name=secret.name, container=plan.id, type=one.type)
    process = plan.spec.process
    assert process is not None
    spec = plan.spec.replace(mounts=(*plan.spec.mounts, *mounts), process=process.replace(env=(*process.env, *env)))
    return plan.replace(spec=spec)


def withdraw(engine: Engine, container_id: str) -> None:
    """Take away what `deliver` has put down: the container's mounts keep it alive."""
    files.remove_tree(_folder(engine, container_id))


def _folder(engine: Engine, container_id: str) -> str:
    return f"{engine.paths.run}/secrets/{container_id}"


def _mount(engine: Engine, plan: ContainerPlan, one: Delivery, number: int, content: bytes) -> Mount:
    folder = _folder(engine, plan.id)
    try:
        os.makedirs(folder, 0o700, exist_ok=True)
        if _filesystem(folder) not in ("tmpfs", "ramfs"):
            raise errors.Unsupported(
                f"{folder} is not on a tmpfs: a secret would be written to a disk",
                hint="set ATOLL_RUN_ROOT, or XDG_RUNTIME_DIR, to a directory on a tmpfs",
            )
        path = f"{folder}/{number}"
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            files.write_all(fd, content)
            _own(engine, fd, one)
            os.fchmod(fd, one.mode)
        finally:
            os.close(fd)
    except OSError as error:
        raise errors.from_os_error(error, f"deliver the secret {one.name}") from error
    return Mount(
        destination=one.target, type="bind", source=path,
        options=("bind", "ro", "nosuid", "nodev", "noexec", "rprivate"),
    )  # fmt: skip


def _own(engine: Engine, fd: int, one: Delivery) -> None:
    if engine.uid == 0:
        os.fchown(fd, one.uid, one.gid)
    elif one.uid or one.gid:
        raise errors.Unsupported(
            f"the secret {one.name} for uid {one.uid}, gid {one.gid}: an ordinary user gives files to nobody else",
            hint="leave out uid and gid; mode=0444 lets every process inside read it",
        )


def _filesystem(path: str) -> str:
    """The type of the file system that holds `path`, by proc_pid_mountinfo(5)."""
    device = os.stat(path).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}".encode()
    for line in files.read_bytes("/proc/self/mountinfo").split(b"\n"):
        head, _, tail = line.partition(b" - ")
        if head.split(b" ")[2:3] == [wanted]:
            return tail.split(b" ")[0].decode("ascii", "replace")
    return ""
