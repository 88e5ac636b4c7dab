"""create: from a request to a container that is recorded and can be launched. Start reading at `create`.

Holds: the order of it, and its undo. Does not hold: what it is made of (`plan.py`), its processes (`launch.py`).
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files, ids
from atoll.base.rollback import Rollback
from atoll.engine.containers import facts
from atoll.engine.containers.plan import Planned, plan
from atoll.engine.events import note
from atoll.engine.images.resolve import check_admitted, find
from atoll.engine.locks import ContainerLock, lock_container
from atoll.engine.store import ContainerRow
from atoll.monitor import journal
from atoll.spec.rootfs import Bind, FuseOverlay, Overlay, RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from atoll.base.files import FileLock
    from atoll.engine.containers.record import MountPoint
    from atoll.engine.engine import Engine
    from atoll.engine.requests import RunRequest
    from atoll.engine.store import ImageRow
    from atoll.monitor.requests import HealthPlan

HOST_IMAGE = "host"
_NAME_ATTEMPTS = 20


def create(engine: Engine, request: RunRequest, on_missing: Callable[[str], object] | None) -> str:
    """Create a container. The order is what makes a SIGKILL at any step mendable (`system/check.py`):

    a directory without a row, or a row without a plan, that nobody holds the lock of, was left half made.
    """
    # 1. What is wrong with the name is said before an image is pulled for nothing.
    if request.name is not None:
        _check_name(engine, request.name, taken=request.replaces)
    _mend_if_needed(engine)
    if request.systemd == "boot":
        from atoll.engine.containers import init_system

        request = init_system.settle(engine, request)
    if request.pod:
        from atoll.engine.pods import member

        request = member.settle(engine, request)
    image = None if request.image == HOST_IMAGE or request.infra else _image(engine, request, on_missing)
    container_id = ids.new_id()
    with Rollback() as undo:
        # 2. The plan touches nothing. The root's layers are there: `_image` has seen to it.
        planned = _plan(engine, request, image, container_id)
        if request.replaces and request.name is not None:
            _make_room(engine, request.name)
        if planned.record.isolation == "vm":
            from atoll.engine.containers import machine

            planned = machine.noted(engine, planned, image)
        volumes = _make_volumes(engine, request, planned)
        if volumes is not None:
            undo.push(volumes.release)
        # 3. The directory, locked before anyone can know of it: row or not, it is in work as long as we live.
        directory = planned.container.bundle
        undo.push(files.remove_tree, directory)
        lock = _make_locked(directory)
        undo.push(lock.release)
        # 4. The row reserves the name and keeps the image from being removed.
        name = _add_row(engine, container_id, request.name, image, planned)
        events = note.plan_of(engine, container_id, planned.record, name)
        checks = _health(planned, container_id)
        planned = planned.replace(container=planned.container.replace(events=events, health=checks))
        if planned.record.log_opts or planned.record.log_driver == "journald":
            from atoll.engine.containers.log_options import settled

            log = settled(planned.container.log, planned.record, container_id, name, image.id if image else "")
            planned = planned.replace(container=planned.container.replace(log=log))
        if planned.record.isolation not in ("container", "vm"):
            from atoll.isolation.external import command_of

            runtime = command_of(planned.record.isolation, engine.paths.data)
            planned = planned.replace(container=planned.container.replace(runtime=runtime))
        undo.push(engine.store.remove_container, container_id)
        if volumes is not None:
            volumes.release()  # the row names them: nobody takes them for unused
        if planned.record.isolation == "vm":
            wanted = request.storage.size if request.storage is not None else None
            planned = machine.with_machine(engine, planned, image, wanted or 0)
        # 5. Content. Volumes stay if a later step fails: they are the user's.
        if image is not None:
            undo.push(engine.snapshots.remove_writable, container_id)
            size = request.storage.size if request.storage is not None else None
            engine.snapshots.driver(record=True)  # the first container decides for those that come
            if engine.config.storage_keep:
                for chain in engine.store.chain_ids(image.id)[-1:]:
                    engine.snapshots.note_use(chain)
            first = planned.container.root.steps[0]  # type: ignore[union-attr]
            engine.snapshots.create_writable(container_id, size=size or 0, fuse=isinstance(first, FuseOverlay))
            if isinstance(first, Bind):
                from atoll.snapshots import copying

                copying.fill(engine.snapshots, container_id, engine.store.chain_ids(image.id))
        if planned.record.secrets:
            from atoll.engine.secrets import deliver

            planned = planned.replace(files=(*planned.files, deliver.planned(engine, planned.record.secrets)))
        if request.infra:
            from atoll.engine.pods import infra

            infra.write_program(directory)
        for file, content in planned.files:
            files.write_atomic(f"{directory}/{file}", content, mode=0o644)
        if planned.record.networking is not None:
            from atoll.engine.networks import launching

            launching.join(engine, container_id, directory, planned.record, name)
        if planned.record.restart != "no":
            from atoll.engine.containers import restarting

            restarting.begin(engine, container_id, planned.record)
        if request.begins:
            from atoll.engine.checkpoints.copies import put_disk

            put_disk(planned.container, request.begins)
        imported_volumes = request.storage.imported if request.storage is not None else ()
        if imported_volumes:
            from atoll.engine.volumes import imported

            imported.settle(engine, directory, imported_volumes)
            undo.push(imported.take_back, engine, directory)
        # 6. The plan in the directory says that all is there. A container that goes with its end is never started
        #    from its directory, so it needs none, unless another command is to start it.
        if not planned.record.remove or request.starts_later:
            from atoll.engine.containers import bundle

            bundle.save(planned.container)
        if imported_volumes:
            imported.done(directory)
        undo.release()
    journal.note(events, "create")
    if request.starts_later:
        lock.release()
        return container_id
    engine.plans[container_id] = planned.container
    if planned.record.remove:
        engine.locks[container_id] = lock  # until it is launched: nothing else tells it from a half made one
    else:
        lock.release()
    return container_id


def _health(planned: Planned, container_id: str) -> HealthPlan | None:
    if planned.record.health is None:
        return None
    from atoll.engine.containers.health import plan_of

    return plan_of(planned.record, container_id)


def _make_locked(directory: str) -> ContainerLock:
    """The container's directory, made and locked. In the instant between, a command that mends may take it for one
    that was left; then it is made again."""
    for _ in range(_NAME_ATTEMPTS):
        os.mkdir(directory, 0o700)
        try:
            return lock_container(directory)
        except errors.NotFound:
            continue
    raise errors.Unavailable(f"cannot keep the directory {directory}: something removes it", hint="try again")


def _mend_if_needed(engine: Engine) -> None:
    """As many directories as rows: all is well, or somebody is at work. Otherwise look closer: a command that was
    killed left something, and this is the next command."""
    if len(os.listdir(engine.paths.containers)) != engine.store.container_count():
        from atoll.engine.system.check import mend_containers

        mend_containers(engine)


def explain(engine: Engine, request: RunRequest) -> dict[str, Any]:
    """The plan of every layer as a JSON document. Raises what `create` would; NotFound for an image not here."""
    from atoll.spec import codec

    image = None if request.image == HOST_IMAGE else _image(engine, request, None)
    planned = _plan(engine, request, image, ids.new_id())
    container = planned.container
    return {
        "container": codec.dump(planned.record),
        "image": {"id": image.id, "layers": engine.store.chain_ids(image.id)} if image else {"id": HOST_IMAGE},
        "isolation": {
            "level": planned.record.isolation,
            "bundle": container.bundle,
            "run": container.run,
            "log": codec.dump(container.log),
            "onExit": list(container.on_exit),
        },
        "root": container.root.to_json() if container.root else [],
        "files": dict(planned.files),
        "spec": container.spec.to_json(),
    }


def _make_room(engine: Engine, name: str) -> None:
    """Remove the container that has the name, as `rm -f` does: everything else about the new one is known to be
    right. Its volumes stay, as with Podman."""
    from atoll.engine.containers.remove import remove

    while engine.store.name_taken(name):
        try:
            other = engine.store.container(name)
            if other.name != name:
                return
            remove(engine, other.id, force=True, volumes=False)
        except errors.NotFound:  # gone by itself
            return


def _check_name(engine: Engine, name: str, *, taken: bool) -> None:
    """Raises InvalidArgument, and Conflict unless it may be `taken`."""
    if not ids.valid_name(name):
        raise errors.InvalidArgument(f"Invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    if not taken and engine.store.name_taken(name):
        other = engine.store.container(name)
        if other.name == name and not _is_leftover(engine, other):
            raise errors.Conflict(
                f'Conflict. The container name "/{name}" is already in use by container "{other.id}".',
                hint="remove or rename that container to be able to use the name again",
            )


def _is_leftover(engine: Engine, row: ContainerRow) -> bool:
    """Whether a killed command left that container half made or half removed; then it is removed here."""
    from atoll.engine.containers.remove import remove_if_leftover

    return remove_if_leftover(engine, row)


def _image(engine: Engine, request: RunRequest, on_missing: Callable[[str], object] | None) -> ImageRow:
    """The image, pulled if need be, its layers unpacked for this user's ids."""
    from atoll.spec import reference

    image = find(engine, request.image, platform=request.platform) if request.pull != "always" else None
    if image is not None and not engine.snapshots.missing(engine.store.chain_ids(image.id)):
        check_admitted(engine, image)
        return image
    if image is not None:
        from atoll.engine.images.unpack import announced, unpack_again

        if unpack_again(engine, image, progress=announced(engine, image, request.image)):
            check_admitted(engine, image)
            return image
    asked = request.image
    # An id alone cannot be pulled; the image's own name can.
    names = [tag.reference for tag in engine.store.tags(image.id)] if image is not None else []
    wanted = names[0] if names else reference.parse(asked).familiar
    if request.pull == "never" or on_missing is None:
        raise errors.NotFound(f"No such image: {wanted}", hint=f"run: atoll pull {wanted}")
    on_missing(wanted)
    image = find(engine, asked, platform=request.platform)
    if image is None:
        raise errors.NotFound(f"No such image: {wanted}")
    return image


def _plan(engine: Engine, request: RunRequest, image: ImageRow | None, container_id: str) -> Planned:
    config = None
    if image is not None:
        from atoll.spec.image import parse_config

        config = parse_config(image.config.encode(), f"the configuration of {request.image}")
    raised = None
    if engine.config.isolation_rules and image is not None and config is not None:
        from atoll.engine import isolation_rules

        request, raised = isolation_rules.settle(engine, request, image, config)
    mounts = _mounts(engine, request, config.config.volumes if config is not None else ())
    known = facts.gather(request, engine.config, engine.uid)
    hooks, idmap = None, engine.idmap
    if request.sharing is not None or engine.config.userns != "host":
        from atoll.engine.containers import joins

        request, idmap = joins.settle(engine, request)
    if request.rights is not None and request.rights.devices:
        from atoll.engine.containers import cdi_request

        request, mounts, known, hooks = cdi_request.settle(request, mounts, known)
    if config is None and not request.network and request.networking is None and not request.infra:
        request = request.replace(network="none")  # this machine's own programs, shut in, unless somebody says more
    if request.networking is not None or (request.network or engine.config.network) not in ("none", "host"):
        from atoll.engine.networks import settle

        mode, settled = settle.settle(engine, request, config.config if config is not None else None)
        request = request.replace(network=mode, settled=settled)
    common: dict[str, Any] = {
        "container_id": container_id,
        "request": request,
        "mounts": mounts,
        "facts": known,
        "config": engine.config,
        "paths": engine.paths,
        "environ": engine.environ,
    }
    if request.infra:
        from atoll.engine.pods import infra

        planned = infra.planned(idmap, common)
    elif config is None or image is None:
        from atoll.images import host

        machine = host.plan(
            cwd=engine.cwd,
            uid=engine.uid,
            gid=engine.gid,
            hide=(engine.paths.data, engine.paths.run),
            real=any(not mount.read_only for mount in mounts),
        )
        planned = plan(
            image=machine.config.config,
            platform=str(machine.config.platform),
            root=machine.root,
            idmap=machine.idmap,
            notes=machine.notes,
            **common,
        )
    else:
        writable = engine.snapshots.writable(container_id)
        # What is thrown away at the end need not be flushed to the disk at its unmount (overlayfs.rst, "Volatile
        # mount").
        snapshots = engine.snapshots
        if idmap is not None and idmap is not engine.idmap and engine.uid != 0:
            from atoll.engine.images.remap import snapshots_for

            snapshots = snapshots_for(engine, image, idmap)
        driver = engine.snapshots.driver()
        chains = engine.store.chain_ids(image.id)
        first = snapshots.root_of(chains, writable, driver, volatile=request.remove)
        if driver != "overlay":
            from atoll.snapshots.driver import check

            check(driver, other_map=snapshots is not engine.snapshots or idmap is not engine.idmap)
        if idmap is not None and engine.uid == 0 and isinstance(first, Overlay):
            first = first.replace(mapped=True)
        planned = plan(
            image=config.config,
            platform=str(config.platform),
            root=RootPlan(steps=(first,)),
            idmap=idmap,
            **common,
        )
    if raised is not None:
        planned = planned.replace(record=planned.record.replace(notes=(*planned.record.notes, raised)))
    if request.pod:
        from atoll.engine.pods import member

        planned = member.completed(engine, planned)
    if planned.record.platform != _here() and config is not None:
        from atoll.engine.containers import emulation

        engine.warnings += emulation.check(config.platform, asked=request.platform, seccomp=planned.record.seccomp)
    if request.limits is not None:
        engine.warnings += planned.record.notes
    if any(mount.type == "image" for mount in mounts):
        from atoll.engine.containers.storage import image_steps

        root = planned.container.root
        assert root is not None
        root = root.replace(steps=(*root.steps, *image_steps(engine, mounts)))
        planned = planned.replace(container=planned.container.replace(root=root))
    if planned.record.init:
        from atoll.engine.containers.init_program import with_init

        planned = with_init(planned, engine.paths.data)
    if hooks is not None:
        spec = planned.container.spec.replace(hooks=hooks)
        planned = planned.replace(container=planned.container.replace(spec=spec))
    return _with_seccomp(planned)


def _here() -> str:
    """This machine's platform where nothing needs to be looked up."""
    return {"x86_64": "linux/amd64", "aarch64": "linux/arm64"}.get(os.uname().machine, "")


def _with_seccomp(planned: Planned) -> Planned:
    """The plan with its seccomp profile: the default one for the container's capabilities, a file's, or none."""
    record, spec = planned.record, planned.container.spec
    if record.seccomp == "unconfined" or spec.linux is None:
        return planned
    if record.seccomp in ("default", "default,32bit"):
        from atoll.runtime import seccomp

        profile = seccomp.default_profile(
            frozenset(record.capabilities),
            docker=record.security == "docker",
            allow_32bit=record.seccomp != "default",
        )
    else:
        from atoll.engine.containers.profile import read_profile

        profile = read_profile(record.seccomp, frozenset(record.capabilities))
    linux = spec.linux.replace(seccomp=profile)
    return planned.replace(container=planned.container.replace(spec=spec.replace(linux=linux)))


def _mounts(engine: Engine, request: RunRequest, image_volumes: tuple[str, ...]) -> tuple[MountPoint, ...]:
    if not request.volumes and not image_volumes and request.storage is None:
        return ()
    from atoll.engine.containers import storage

    return storage.gather(engine, request, image_volumes)


def _make_volumes(engine: Engine, request: RunRequest, planned: Planned) -> FileLock | None:
    if not planned.record.mounts:
        return None
    from atoll.engine.containers import storage

    return storage.make(engine, request, planned.record.mounts)


def _add_row(engine: Engine, container_id: str, name: str | None, image: ImageRow | None, planned: Planned) -> str:
    """Reserve a name; which."""
    record = planned.record.to_text()
    for attempt in range(_NAME_ATTEMPTS):
        chosen = name or ids.random_name() + (str(attempt) if attempt > 2 else "")
        row = ContainerRow(
            id=container_id,
            name=chosen,
            image=image.id if image else None,
            created_at=time.time_ns(),
            record=record,
            pod=planned.record.pod or None,
        )
        try:
            engine.store.add_container(row, [one.source for one in planned.record.mounts if one.type == "image"])
            return chosen
        except errors.Conflict:
            if name is not None or attempt == _NAME_ATTEMPTS - 1:
                raise
    raise errors.Conflict("every name that was tried is taken")
