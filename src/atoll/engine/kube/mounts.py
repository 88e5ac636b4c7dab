"""A pod's volumes, and what of them each container mounts. Pure.

Holds: `Volumes`. A path of the host is mounted as it is named; a path below it is not taken from the document
(subPath), where a container may have left a link that leads elsewhere (CVE-2017-1002101).
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.engine.kube.values import Content, Known, OwnVolume, Place, secret_name
from atoll.spec import kube
from atoll.spec.kube_pod import Container, PodSpec, VolumeMount
from atoll.spec.kube_volumes import Files, HostPath, Volume

_PROPAGATION = {"None": "rprivate", "HostToContainer": "rslave", "Bidirectional": "rshared"}
_DEVICES = ("CharDevice", "BlockDevice")


class Volumes:
    """The volumes of one pod: `own`, `claims`, `places` of all of it; `of` is one container's part."""

    def __init__(self, pod: str, spec: PodSpec, known: Known, path: str) -> None:
        self._pod, self._spec, self._known = pod, spec, known
        self.own: list[OwnVolume] = []
        self.claims: list[str] = []
        self.places: list[Place] = []
        self.warnings: list[str] = []
        self._by_name: dict[str, tuple[Volume, str]] = {}
        for index, volume in enumerate(spec.volumes):
            here = f"{path}.volumes[{index}]"
            self._by_name[volume.name] = (volume, here)
            self._plan(volume, here)

    def _plan(self, volume: Volume, here: str) -> None:
        if volume.host_path is not None:
            if not volume.host_path.path.startswith("/"):
                raise errors.InvalidArgument(f"{here}.hostPath.path: {volume.host_path.path!r} is not absolute")
            self.places.append(
                Place(path=volume.host_path.path, type=volume.host_path.type, where=f"{here}.hostPath")
            )
        elif volume.persistent_volume_claim is not None:
            self.claims.append(volume.persistent_volume_claim.claim_name)
        elif volume.config_map is not None:
            contents = self._map_files(volume.config_map, f"{here}.configMap")
            self.own.append(OwnVolume(name=self._name(volume), files=contents))
        elif volume.empty_dir is not None:
            if self._in_memory(volume):
                return
            if volume.empty_dir.medium:
                self.warnings.append(f"{here}.emptyDir.medium is not used here: several containers mount it")
            if volume.empty_dir.size_limit:
                self.warnings.append(f"{here}.emptyDir.sizeLimit is not used here: it is not in memory")
            self.own.append(OwnVolume(name=self._name(volume)))

    def _name(self, volume: Volume) -> str:
        return f"{self._pod}-{volume.name}"

    def _in_memory(self, volume: Volume) -> bool:
        """Whether an emptyDir is a tmpfs: one that a single container mounts, as others would have their own."""
        every = (*self._spec.containers, *self._spec.init_containers)
        users = sum([any(mount.name == volume.name for mount in one.volume_mounts) for one in every])
        return volume.empty_dir is not None and volume.empty_dir.medium == "Memory" and users <= 1

    def _map_files(self, files: Files, here: str) -> tuple[Content, ...]:
        data = self._known.map(files.name)
        if data is None:
            if files.optional:
                return ()
            raise errors.NotFound(
                f"{here}.name: no ConfigMap {files.name!r}", hint="put it into the file, or pass --configmap"
            )
        chosen = _chosen(files, tuple(data), here)
        return tuple([Content(path=path, data=data[key], mode=mode) for key, path, mode in chosen])

    # --- a container's part -----------------------------------------------------------------------------------------

    def of(self, container: Container, path: str) -> tuple[list[str], list[str], list[str]]:
        """What `--mount`, `--secret` and `--device` would say. Raises InvalidArgument with the path."""
        mounts: list[str] = []
        secrets: list[str] = []
        devices: list[str] = []
        for index, mount in enumerate(container.volume_mounts):
            here = f"{path}.volumeMounts[{index}]"
            if not mount.mount_path.startswith("/"):
                raise errors.InvalidArgument(f"{here}.mountPath: {mount.mount_path!r} is not absolute")
            _check_below(mount.sub_path, f"{here}.subPath")
            volume, where = self._by_name[mount.name]
            if volume.host_path is not None:
                _host_path(volume.host_path, mount, here, mounts, devices)
            elif volume.secret is not None:
                secrets += self._secrets(volume.secret, mount, f"{where}.secret", here)
            elif volume.empty_dir is not None and self._in_memory(volume):
                mounts.append(_tmpfs(volume.empty_dir.size_limit, mount, f"{where}.emptyDir.sizeLimit"))
            else:
                mounts.append(self._volume(volume, mount))
        return mounts, secrets, devices

    def _volume(self, volume: Volume, mount: VolumeMount) -> str:
        claim = volume.persistent_volume_claim
        read_only = mount.read_only or volume.config_map is not None or (claim is not None and claim.read_only)
        return written(
            type="volume",
            source=claim.claim_name if claim is not None else self._name(volume),
            target=mount.mount_path,
            **({"volume-subpath": mount.sub_path} if mount.sub_path else {}),
            readonly="true" if read_only else "",
        )

    def _secrets(self, files: Files, mount: VolumeMount, where: str, here: str) -> list[str]:
        name = files.secret_name
        keys = self._known.secret(name)
        if keys is None:
            if files.optional:
                return []
            raise errors.NotFound(f"{where}.secretName: no Secret {name!r}", hint="put it into the file")
        found = []
        for key, path, mode in _chosen(files, keys, where):
            if mount.sub_path and path != mount.sub_path:
                continue
            target = mount.mount_path if mount.sub_path else f"{mount.mount_path.rstrip('/')}/{path}"
            fields = (secret_name(name, key), "type=mount", f"target={target}", f"mode={mode:04o}")
            found.append(",".join([_field(one) for one in fields]))
        if mount.sub_path and not found:
            raise errors.NotFound(f"{here}.subPath: Secret {name!r} has no {mount.sub_path!r}")
        return found


def _chosen(files: Files, keys: tuple[str, ...], here: str) -> list[tuple[str, str, int]]:
    """(key, path, mode) of all keys, or of the items."""
    if not files.items:
        return [(key, key, files.default_mode) for key in keys]
    found = []
    for index, item in enumerate(files.items):
        if item.key not in keys:
            if files.optional:
                continue
            raise errors.NotFound(f"{here}.items[{index}].key: there is no {item.key!r}")
        _check_below(item.path, f"{here}.items[{index}].path")
        found.append((item.key, item.path, files.default_mode if item.mode is None else item.mode))
    return found


def _check_below(path: str, where: str) -> None:
    if path.startswith("/") or ".." in path.split("/"):
        raise errors.InvalidArgument(
            f"{where}: {path!r} leads out of the volume", hint="a relative path without '..'"
        )


def _host_path(place: HostPath, mount: VolumeMount, here: str, mounts: list[str], devices: list[str]) -> None:
    if mount.sub_path:
        raise errors.InvalidArgument(
            f"{here}.subPath is not possible below a hostPath", hint="write the whole path into hostPath.path"
        )
    if place.type in _DEVICES:
        devices.append(f"{place.path}:{mount.mount_path}:{'r' if mount.read_only else 'rw'}m")
        return
    mounts.append(
        written(
            type="bind",
            source=os.path.normpath(place.path),
            target=mount.mount_path,
            readonly="true" if mount.read_only else "",
            **{"bind-propagation": _PROPAGATION[mount.mount_propagation]},
        )
    )


def _tmpfs(size: str, mount: VolumeMount, where: str) -> str:
    limit = {"tmpfs-size": str(kube.quantity(size, where))} if size else {}
    return written(type="tmpfs", target=mount.mount_path, readonly="true" if mount.read_only else "", **limit)


def written(**fields: str) -> str:
    """One `--mount` of these fields, those without a value left out."""
    return ",".join([_field(f"{key}={value}") for key, value in fields.items() if value])


def _field(text: str) -> str:
    """As RFC 4180 has it, which the grammars of mounts follow."""
    if "," not in text and '"' not in text:
        return text
    return '"' + text.replace('"', '""') + '"'
