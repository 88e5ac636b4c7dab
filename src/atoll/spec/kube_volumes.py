"""A volume of a pod of Kubernetes and its sources.

Holds: `Volume` and the records in it, `words`. Does not hold: where a container mounts it (`kube_pod.py`).
Source: the Kubernetes API reference v1.31, "Volume".
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.spec import codec
from atoll.spec.codec import flag, list_of, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def words(value: Any, path: str) -> str:
    """A text, or a number as it is written: a port, a quantity."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise codec.wrong(path, "a text or a number", value)
    return text(value, path) if isinstance(value, str) else f"{value:g}" if isinstance(value, float) else str(value)


class HostPath(Value):
    """HostPathVolumeSource."""

    path: str
    type: str = ""
    WIRE = {
        "path": text,
        "type": codec.one_of("", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket", "CharDevice",
                             "BlockDevice"),
    }  # fmt: skip


class EmptyDir(Value):
    """EmptyDirVolumeSource."""

    medium: str = ""
    size_limit: str = ""
    WIRE = {"medium": codec.one_of("", "Memory"), "size_limit": words}


class Item(Value):
    """KeyToPath."""

    key: str
    path: str
    mode: int | None = None
    WIRE = {"key": text, "path": text, "mode": codec.number_between(0, 0o777)}


class Files(Value):
    """ConfigMapVolumeSource, SecretVolumeSource: `name` of the one, `secret_name` of the other."""

    name: str = ""
    secret_name: str = ""
    items: tuple[Item, ...] = ()
    default_mode: int = 0o644
    optional: bool = False
    WIRE = {
        "name": text,
        "secret_name": text,
        "items": list_of(codec.record(Item)),
        "default_mode": codec.number_between(0, 0o777),
        "optional": flag,
    }
    NESTED = {"items": Item}


class ClaimRef(Value):
    """PersistentVolumeClaimVolumeSource."""

    claim_name: str
    read_only: bool = False
    WIRE = {"claim_name": text, "read_only": flag}


_OTHER_VOLUMES = ("awsElasticBlockStore", "azureDisk", "azureFile", "cephfs", "cinder", "csi", "downwardAPI",
                  "ephemeral", "fc", "flexVolume", "flocker", "gcePersistentDisk", "gitRepo", "glusterfs", "image",
                  "iscsi", "nfs", "photonPersistentDisk", "portworxVolume", "projected", "quobyte", "rbd", "scaleIO",
                  "storageos", "vsphereVolume")  # fmt: skip


class Volume(Value):
    """Volume, with one source."""

    name: str
    host_path: HostPath | None = None
    empty_dir: EmptyDir | None = None
    config_map: Files | None = None
    secret: Files | None = None
    persistent_volume_claim: ClaimRef | None = None
    WIRE = {
        "name": text,
        "host_path": codec.record(HostPath),
        "empty_dir": codec.record(EmptyDir),
        "config_map": codec.record(Files),
        "secret": codec.record(Files),
        "persistent_volume_claim": codec.record(ClaimRef),
    }
    NESTED = {"host_path": HostPath, "empty_dir": EmptyDir, "config_map": Files, "secret": Files,
              "persistent_volume_claim": ClaimRef}  # fmt: skip
    REFUSED = dict.fromkeys(
        _OTHER_VOLUMES, "here are hostPath, emptyDir, configMap, secret and persistentVolumeClaim"
    )
