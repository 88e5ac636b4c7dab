"""image bundle: an image as an OCI bundle, `config.json` beside `rootfs/`, that any OCI runtime runs.

Holds: `bundle`. Does not hold: unpacking (`snapshots`), the document one starts from (`runtime/command/template.py`).
All layers become one tree of files. An ordinary user's belong to his subordinate ids, and config.json has the maps.
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.base.rollback import Rollback
from atoll.engine.images.resolve import need
from atoll.snapshots.store import remove_tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.engine import Engine
    from atoll.spec.idmap import IdMap, RootlessMap
    from atoll.spec.image import RunConfig
    from atoll.spec.runtime import IDMapping, Spec


def bundle(engine: Engine, name: str, path: str) -> None:
    """Make the bundle in the new or empty directory `path`; nothing of it stays when that fails.

    Raises NotFound, Conflict when there is something in the directory, Exhausted.
    """
    from atoll.base import jsontext
    from atoll.spec.image import parse_config

    row = need(engine, name)
    config = parse_config(row.config.encode(), name)
    with Rollback() as undo:
        try:
            os.mkdir(path, 0o711)
            undo.push(os.rmdir, path)
        except FileExistsError:
            if os.listdir(path):
                raise errors.Conflict(f"{path} is not empty", hint="name a new directory") from None
        except OSError as error:
            raise errors.from_os_error(error, f"make {path}") from error
        rootfs = f"{path}/rootfs"
        os.mkdir(rootfs, 0o755)
        undo.push(remove_tree, rootfs, engine.idmap)
        _fill(engine, engine.store.chain_ids(row.id), rootfs)
        spec = _spec(config.config, rootfs, engine.idmap)
        files.write_atomic(f"{path}/config.json", jsontext.pretty(spec.to_json()) + "\n", mode=0o644)
        undo.release()


def _fill(engine: Engine, chain_ids: Sequence[str], rootfs: str) -> None:
    """One archive of all layers, unpacked as if it were a layer."""
    from atoll.images.shelf import unnamed
    from atoll.snapshots import policy
    from atoll.snapshots.merged import merged_of
    from atoll.snapshots.worker import Worker

    idmap = engine.idmap
    rules = policy.for_map(rootless=idmap is not None, single=bool(idmap and idmap.single), bottom=True)
    spool = unnamed()
    root_fd = os.open(rootfs, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        facts = merged_of(engine.snapshots, chain_ids, spool)
        with Worker(idmap) as worker:
            worker.unpack(spool, facts.size, root_fd, rules, path=rootfs, held=root_fd, available=lambda: facts.size)
    finally:
        os.close(root_fd)
        os.close(spool)


def _spec(run: RunConfig, rootfs: str, idmap: RootlessMap | None) -> Spec:
    """The default document with the image's program, environment, directory and user."""
    from atoll.linux.root import Root
    from atoll.runtime import identity
    from atoll.runtime.command import template
    from atoll.spec import runtime as oci

    made = template.root() if idmap is None else template.rootless(os.geteuid(), os.getegid())
    assert made.process is not None
    assert made.linux is not None
    with Root.open(rootfs) as root:
        who = identity.resolve_user(root, oci.User(username=run.user or "0"))
    names = {one.partition("=")[0] for one in run.env}
    env = [one for one in made.process.env if one.partition("=")[0] not in names]
    process = made.process.replace(
        terminal=False,
        args=(*run.entrypoint, *run.cmd) or made.process.args,
        env=(*env, *run.env),
        cwd=run.working_dir or "/",
        user=oci.User(uid=who.uid, gid=who.gid, additional_gids=who.groups if not (idmap and idmap.single) else ()),
    )
    linux = made.linux
    if idmap is not None:
        linux = linux.replace(uid_mappings=_mappings(idmap.uid_map), gid_mappings=_mappings(idmap.gid_map))
    return made.replace(process=process, linux=linux, root=oci.Root(path="rootfs"), hostname="atoll")


def _mappings(maps: Sequence[IdMap]) -> tuple[IDMapping, ...]:
    from atoll.spec.runtime import IDMapping

    return tuple([IDMapping(container_id=one.inside, host_id=one.outside, size=one.count) for one in maps])
