"""What documents may refer to, and what they rest on: ConfigMaps, Secrets, volumes, paths of the host.

Holds: `known`, `kept`, `keep_secrets`, `make_claims`, `check_places`, `make_own`. Does not hold: the order
(`play.py`).
"""

from __future__ import annotations

import base64
import binascii
import os
import stat

from atoll.base import errors, files
from atoll.engine.kube.values import Known, OwnVolume, Place, secret_name
from atoll.spec.kube import Claim, ConfigMap, Secret

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.engine import Engine
    from atoll.spec.kube import Document

LABEL = "io.atoll.kube.secret"
"""On each secret of the vault that is a key of a Secret: that one's name."""
MAP_LABEL = "io.atoll.kube.configmap"
"""On a pod's own volume: its files came of a ConfigMap."""
_IS = {
    "Directory": stat.S_ISDIR,
    "File": stat.S_ISREG,
    "Socket": stat.S_ISSOCK,
    "CharDevice": stat.S_ISCHR,
    "BlockDevice": stat.S_ISBLK,
}


def known(engine: Engine, documents: Sequence[Document]) -> Known:
    """The ConfigMaps of the documents; their Secrets, and those that earlier ones have left in the vault. Raises
    InvalidArgument for data that is no base64."""
    maps: dict[str, dict[str, bytes]] = {}
    secrets: dict[str, list[str]] = {}
    for name, key in kept(engine):
        secrets.setdefault(name, []).append(key)
    for one in documents:
        if isinstance(one, ConfigMap):
            data = {key: value.encode() for key, value in one.data}
            data.update({key: decoded(value, f"ConfigMap {one.metadata.name}: binaryData.{key}")
                         for key, value in one.binary_data})  # fmt: skip
            for key in data:
                check_key(key, f"ConfigMap {one.metadata.name}")
            maps[one.metadata.name] = data
        elif isinstance(one, Secret):
            secrets[one.metadata.name] = list(contents(one))
    return Known(
        maps=tuple([(name, tuple(data.items())) for name, data in maps.items()]),
        secrets=tuple([(name, tuple(keys)) for name, keys in secrets.items()]),
    )


def kept(engine: Engine) -> list[tuple[str, str]]:
    """(Secret, key) of what is in the vault."""
    if not os.path.isdir(engine.paths.data + "/secrets"):
        return []
    from atoll.engine.secrets.manage import list_secrets

    found = []
    for one in list_secrets(engine):
        name = dict(one.labels).get(LABEL, one.name)
        found.append((name, one.name.removeprefix(f"{name}.")))
    return found


def contents(one: Secret) -> dict[str, bytes]:
    """The keys of a Secret and what they hold. Raises InvalidArgument."""
    where = f"Secret {one.metadata.name}"
    found = {key: decoded(value, f"{where}: data.{key}") for key, value in one.data}
    found.update({key: value.encode() for key, value in one.string_data})
    for key in found:
        check_key(key, where)
    return found


def decoded(value: str, where: str) -> bytes:
    """Base64, with line breaks. Raises InvalidArgument, without the value."""
    try:
        return base64.b64decode("".join(value.split()), validate=True)
    except (binascii.Error, ValueError):
        raise errors.InvalidArgument(f"{where}: no base64", hint="stringData takes it as it is") from None


def check_key(key: str, where: str) -> None:
    """A key becomes a file's name. Raises InvalidArgument."""
    legal = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._")
    if not key or len(key) > 253 or not legal.issuperset(key) or key in (".", ".."):
        raise errors.InvalidArgument(f"{where}: {key!r} cannot be a key", hint="letters, digits, '-', '_' and '.'")


def keep_secrets(engine: Engine, documents: Sequence[Document]) -> list[str]:
    """Seal the Secrets in the vault, a key each; those of before get their new value. The ids."""
    from atoll.engine.secrets.manage import create

    made = []
    for one in documents:
        if isinstance(one, Secret):
            for key, value in contents(one).items():
                labels = ((LABEL, one.metadata.name),)
                name = secret_name(one.metadata.name, key)
                made.append(create(engine, name, value, labels=labels, replace=True))
    return made


def forget_secrets(engine: Engine, documents: Sequence[Document]) -> list[str]:
    """The opposite; the names of those that were there."""
    from atoll.engine.secrets.manage import remove

    gone = []
    for one in documents:
        if isinstance(one, Secret):
            for key in contents(one):
                name = secret_name(one.metadata.name, key)
                try:
                    remove(engine, name)
                except errors.NotFound:
                    continue
                gone.append(name)
    return gone


def make_claims(engine: Engine, documents: Sequence[Document], used: Sequence[str]) -> list[str]:
    """The volumes of the claims, found there or made; their names."""
    from atoll.engine.volumes.create import create

    labels = {one.metadata.name: one.metadata.labels for one in documents if isinstance(one, Claim)}
    names = list(dict.fromkeys((*labels, *used)))
    return [create(engine, name, labels=labels.get(name, ())) for name in names]


def check_places(places: Sequence[Place]) -> None:
    """Look at the paths of the host, and make those that are to be made. Raises NotFound, InvalidArgument with the
    path in the document, and what the disk says."""
    for one in places:
        try:
            _check_place(one)
        except OSError as error:
            raise errors.from_os_error(error, f"use {one.where}") from error


def _check_place(one: Place) -> None:
    try:
        mode = os.stat(one.path).st_mode
    except FileNotFoundError:
        if one.type == "DirectoryOrCreate":
            os.makedirs(one.path, 0o755, exist_ok=True)
            return
        if one.type == "FileOrCreate":
            os.close(os.open(one.path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644))
            return
        hint = None if one.type else "type: DirectoryOrCreate makes it"
        raise errors.NotFound(f"{one.where}.path: {one.path} is not there", hint=hint) from None
    kind = one.type.removesuffix("OrCreate")
    if kind and not _IS[kind](mode):
        raise errors.InvalidArgument(f"{one.where}: {one.path} is no {kind}")


def make_own(engine: Engine, one: OwnVolume) -> None:
    """A volume that belongs to a pod, fresh, with its files. Raises Conflict where somebody uses one of that name."""
    from atoll.engine.volumes import store
    from atoll.engine.volumes.create import create
    from atoll.engine.volumes.remove import remove

    try:
        remove(engine, one.name)
    except errors.NotFound:
        pass
    create(engine, one.name, labels=((MAP_LABEL, one.name),) if one.files else ())
    place = store.find(engine, one.name).mountpoint
    try:
        for file in one.files:
            path = f"{place}/{file.path}"
            os.makedirs(os.path.dirname(path), 0o755, exist_ok=True)
            files.write_atomic(path, file.data, mode=file.mode)
    except OSError as error:
        raise errors.from_os_error(error, f"write the volume {one.name}") from error
