"""Kubernetes' documents, as far as they say something about containers on one host.

Holds: the records (`Pod`, `Deployment`, `ConfigMap`, `Secret`, `Claim`), `read`, quantities. Does not hold: a pod's
parts (`kube_pod.py`), YAML (`yaml_text.py`), what becomes of them (`engine/kube`). Pure.

Nothing is dropped silently. Of each object the records' `WIRE` has the fields that are used; `UNUSED` those that
Kubernetes knows and that have no meaning here, each a warning with its path; any other is an error with a guess.
Source: the Kubernetes API reference v1.31 (Pod v1, Deployment v1, ConfigMap v1, Secret v1, PersistentVolumeClaim v1).
"""

from __future__ import annotations

from atoll.base import errors, suggest
from atoll.base.value import Value
from atoll.spec import codec
from atoll.spec.codec import map_of, text
from atoll.spec.kube_pod import Meta, PodSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Pod(Value):
    """Pod."""

    metadata: Meta
    spec: PodSpec
    WIRE = {"metadata": codec.record(Meta), "spec": codec.record(PodSpec)}
    NESTED = {"metadata": Meta, "spec": PodSpec}
    UNUSED = ("status",)
    QUIET = ("status",)


class Template(Value):
    """PodTemplateSpec."""

    spec: PodSpec
    metadata: Meta = Meta()
    WIRE = {"metadata": codec.record(Meta), "spec": codec.record(PodSpec)}
    NESTED = {"metadata": Meta, "spec": PodSpec}


class DeploymentSpec(Value):
    """DeploymentSpec: so many pods of one template."""

    template: Template
    replicas: int = 1
    WIRE = {"template": codec.record(Template), "replicas": codec.number_between(0, 1000)}
    NESTED = {"template": Template}
    UNUSED = ("selector", "strategy", "minReadySeconds", "revisionHistoryLimit", "paused", "progressDeadlineSeconds")
    QUIET = ("selector",)


class Deployment(Value):
    """Deployment."""

    metadata: Meta
    spec: DeploymentSpec
    WIRE = {"metadata": codec.record(Meta), "spec": codec.record(DeploymentSpec)}
    NESTED = {"metadata": Meta, "spec": DeploymentSpec}
    UNUSED = ("status",)
    QUIET = ("status",)


class ConfigMap(Value):
    """ConfigMap; `binary_data` in base64."""

    metadata: Meta
    data: tuple[tuple[str, str], ...] = ()
    binary_data: tuple[tuple[str, str], ...] = ()
    WIRE = {"metadata": codec.record(Meta), "data": map_of(text), "binary_data": map_of(text)}
    NESTED = {"metadata": Meta}
    UNUSED = ("immutable",)
    QUIET = ("immutable",)


class Secret(Value):
    """Secret; `data` in base64."""

    metadata: Meta
    data: tuple[tuple[str, str], ...] = ()
    string_data: tuple[tuple[str, str], ...] = ()
    WIRE = {"metadata": codec.record(Meta), "data": map_of(text), "string_data": map_of(text)}
    NESTED = {"metadata": Meta}
    UNUSED = ("immutable", "type")
    QUIET = ("immutable", "type")


class Claim(Value):
    """PersistentVolumeClaim: a named volume."""

    metadata: Meta
    WIRE = {"metadata": codec.record(Meta)}
    NESTED = {"metadata": Meta}
    UNUSED = ("spec", "status")
    QUIET = ("spec", "status")


Document = Pod | Deployment | ConfigMap | Secret | Claim
KINDS: dict[str, tuple[str, type[Value]]] = {
    "Pod": ("v1", Pod),
    "Deployment": ("apps/v1", Deployment),
    "ConfigMap": ("v1", ConfigMap),
    "Secret": ("v1", Secret),
    "PersistentVolumeClaim": ("v1", Claim),
}
PASSED_OVER = ("Service", "Ingress", "NetworkPolicy", "ServiceAccount", "Namespace", "PodDisruptionBudget",
               "HorizontalPodAutoscaler", "Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding")  # fmt: skip
"""Kinds that say nothing about containers: a warning each, as Podman passes over them."""


# --- reading --------------------------------------------------------------------------------------------------------


def read(documents: list[Any], name: str) -> tuple[list[Document], list[str]]:
    """The records of a file's documents in their order, and sentences on what has no meaning here, each with the path
    to it. A `List` is taken apart. Raises InvalidArgument with the path of what is wrong or unknown."""
    found: list[Document] = []
    warnings: list[str] = []
    for document in _flat(documents, name):
        kind = document.get("kind")
        if not isinstance(kind, str) or not kind:
            raise errors.InvalidArgument(f"{name}: a document without a kind")
        if kind in PASSED_OVER:
            warnings.append(f"{kind} {_name_of(document)} is not used here")
            continue
        if kind not in KINDS:
            guess = suggest.nearest(kind, [*KINDS, *PASSED_OVER])
            raise errors.InvalidArgument(
                f"{name}: kind {kind!r} is not known here",
                hint=f"did you mean {guess}?" if guess else "known are " + ", ".join(KINDS),
            )
        version, cls = KINDS[kind]
        if document.get("apiVersion") != version:
            raise errors.InvalidArgument(
                f"{name}: {kind} of apiVersion {document.get('apiVersion')!r}", hint=f"apiVersion: {version}"
            )
        where = f"{kind} {_name_of(document)}: "
        body = {key: value for key, value in document.items() if key not in ("kind", "apiVersion")}
        try:
            warnings += [where + line for line in _unused(cls, body, "")]
            record = codec.parse(cls, body, "")
            _check(record)
        except errors.InvalidArgument as error:
            raise errors.InvalidArgument(f"{name}: {where}{error.message}", hint=error.hint) from None
        found.append(record)  # type: ignore[arg-type]
    return found, warnings


def _flat(documents: list[Any], name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for document in documents:
        if not isinstance(document, dict):
            raise errors.InvalidArgument(f"{name}: a document that is no object")
        if document.get("kind") == "List":
            items = document.get("items")
            found += _flat(items if isinstance(items, list) else [], name)
        else:
            found.append(document)
    return found


def _name_of(document: dict[str, Any]) -> str:
    meta = document.get("metadata")
    name = meta.get("name") if isinstance(meta, dict) else None
    return name if isinstance(name, str) else "without a name"


def _unused(cls: type[Value], value: Any, path: str) -> list[str]:
    """Walk an object beside its record; sentences on what has no meaning here. Raises InvalidArgument for what is
    unknown or refused."""
    if not isinstance(value, dict):
        return []  # of a wrong shape, which `codec.parse` says better
    wire = {codec.key_of(cls, field): field for field in cls.WIRE}  # type: ignore[attr-defined]
    nested = getattr(cls, "NESTED", {})
    unused, quiet, refused = getattr(cls, "UNUSED", ()), getattr(cls, "QUIET", ()), getattr(cls, "REFUSED", {})
    found: list[str] = []
    for key, content in value.items():
        here = f"{path}.{key}" if path else key
        if key in wire:
            inner = nested.get(wire[key])
            if inner is not None and isinstance(content, list):
                for index, part in enumerate(content):
                    found += _unused(inner, part, f"{here}[{index}]")
            elif inner is not None:
                found += _unused(inner, content, here)
        elif key in refused:
            raise errors.InvalidArgument(f"{here} is not possible here", hint=refused[key])
        elif key in unused:
            if key not in quiet and content not in (None, [], {}, "", False):
                found.append(f"{here} is not used here")
        else:
            guess = suggest.nearest(key, [*wire, *unused])
            raise errors.InvalidArgument(f"{here}: unknown field", hint=f"did you mean {guess}?" if guess else None)
    return found


def _check(record: Value) -> None:
    """Rules between fields. Raises InvalidArgument with the path."""
    if isinstance(record, Deployment):
        _check_pod(record.spec.template.spec, "spec.template.spec")
    elif isinstance(record, Pod):
        _check_pod(record.spec, "spec")
    meta: Meta = record.metadata  # type: ignore[attr-defined]
    if not _is_name(meta.name):
        raise errors.InvalidArgument(
            f"metadata.name: {meta.name!r}", hint="small letters, digits, '-' and '.', at most 253 (RFC 1123)"
        )


def _is_name(name: str) -> bool:
    legal = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-.")
    return bool(name) and len(name) <= 253 and legal.issuperset(name) and name[0] not in "-." and name[-1] not in "-."


def _check_pod(spec: PodSpec, path: str) -> None:
    if not spec.containers:
        raise errors.InvalidArgument(f"{path}.containers: a pod has one at least")
    names: set[str] = set()
    volumes = {volume.name for volume in spec.volumes}
    if len(volumes) < len(spec.volumes):
        raise errors.InvalidArgument(f"{path}.volumes: two of one name")
    for kind, containers in (("containers", spec.containers), ("initContainers", spec.init_containers)):
        for index, one in enumerate(containers):
            here = f"{path}.{kind}[{index}]"
            if not _is_name(one.name) or "." in one.name:
                raise errors.InvalidArgument(f"{here}.name: {one.name!r}", hint="small letters, digits and '-'")
            if one.name in names:
                raise errors.InvalidArgument(f"{here}.name: {one.name!r} is there twice")
            names.add(one.name)
            if not one.image:
                raise errors.InvalidArgument(f"{here}.image: missing")
            if one.restart_policy and kind == "containers":
                raise errors.InvalidArgument(f"{here}.restartPolicy: of init containers only")
            for number, mount in enumerate(one.volume_mounts):
                if mount.name not in volumes:
                    guess = suggest.nearest(mount.name, sorted(volumes))
                    raise errors.InvalidArgument(
                        f"{here}.volumeMounts[{number}].name: the pod has no volume {mount.name!r}",
                        hint=f"did you mean {guess}?" if guess else f"add it to {path}.volumes",
                    )
    for index, volume in enumerate(spec.volumes):
        sources = (volume.host_path, volume.empty_dir, volume.config_map, volume.secret,
                   volume.persistent_volume_claim)  # fmt: skip
        if sum([source is not None for source in sources]) != 1:
            raise errors.InvalidArgument(
                f"{path}.volumes[{index}]: it has one source",
                hint="hostPath, emptyDir, configMap, secret or persistentVolumeClaim",
            )


# --- quantities -----------------------------------------------------------------------------------------------------

_SUFFIXES = {"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40, "Pi": 1 << 50, "Ei": 1 << 60,
             "k": 10**3, "M": 10**6, "G": 10**9, "T": 10**12, "P": 10**15, "E": 10**18}  # fmt: skip


def quantity(written: str, path: str, unit: int = 1) -> int:
    """A quantity (`128Mi`, `0.5`, `250m`, `1e3`) in `unit`-ths, rounded up as Kubernetes does. Raises
    InvalidArgument."""
    from fractions import Fraction

    number, factor = written.strip(), Fraction(1)
    for suffix, value in _SUFFIXES.items():
        if number.endswith(suffix):
            number, factor = number.removesuffix(suffix), Fraction(value)
            break
    else:
        for suffix, power in (("m", 3), ("u", 6), ("n", 9)):
            if number.endswith(suffix):
                number, factor = number.removesuffix(suffix), Fraction(1, 10**power)
    head, _, exponent = number.lower().partition("e")
    legal = head.replace(".", "", 1).lstrip("+").isdecimal() and head.isascii()
    if not legal or len(number) > 30 or (exponent and not exponent.lstrip("+-").isdecimal()) or len(exponent) > 3:
        raise errors.InvalidArgument(f"{path}: {written!r} is no quantity", hint="such as 128Mi, 1.5G, 250m or 2")
    exact = Fraction(number) * factor * unit
    return -(-exact.numerator // exact.denominator)
