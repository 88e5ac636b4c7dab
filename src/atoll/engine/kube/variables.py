"""A container's variables: literal, of ConfigMaps, of Secrets, of the pod itself. Pure.

Holds: `variables`, `expand`. A secret's value is never looked at here: the container gets it at its start.
Source: Kubernetes' "Define Dependent Environment Variables", API reference "EnvVar".
"""

from __future__ import annotations

from atoll.base import errors
from atoll.engine.kube.values import Known, secret_name
from atoll.spec import kube
from atoll.spec.kube_pod import Container, EnvVar, KeyRef, Meta

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

_WHOLE = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-")


class Variables:
    """`plain` in their order; `secret` are deliveries for `--secret`."""

    def __init__(self) -> None:
        self.plain: dict[str, str] = {}
        self.secret: dict[str, str] = {}

    def put(self, name: str, value: str) -> None:
        """A plain one; it takes the place of an earlier one."""
        self.secret.pop(name, None)
        self.plain[name] = value

    def hide(self, name: str, secret: str) -> None:
        """One whose value is a secret's."""
        self.plain.pop(name, None)
        self.secret[name] = f"{secret},type=env,target={name}"


def variables(container: Container, meta: Meta, known: Known, path: str) -> Variables:
    """All of a container's. Raises InvalidArgument, NotFound with the path for what is not there."""
    found = Variables()
    for index, one in enumerate(container.env_from):
        here = f"{path}.envFrom[{index}]"
        if one.config_map_ref is not None:
            data = known.map(one.config_map_ref.name)
            if data is None and not one.config_map_ref.optional:
                raise _missing("ConfigMap", one.config_map_ref.name, f"{here}.configMapRef")
            for key, value in (data or {}).items():
                _check_name(one.prefix + key, here)
                found.put(one.prefix + key, _text(value, here))
        if one.secret_ref is not None:
            keys = known.secret(one.secret_ref.name)
            if keys is None and not one.secret_ref.optional:
                raise _missing("Secret", one.secret_ref.name, f"{here}.secretRef")
            for key in keys or ():
                _check_name(one.prefix + key, here)
                found.hide(one.prefix + key, secret_name(one.secret_ref.name, key))
    for index, variable in enumerate(container.env):
        _one(found, variable, container, meta, known, f"{path}.env[{index}]")
    return found


def _one(found: Variables, one: EnvVar, container: Container, meta: Meta, known: Known, here: str) -> None:
    _check_name(one.name, f"{here}.name")
    source = one.value_from
    if source is None:
        found.put(one.name, expand(one.value, found, f"{here}.value"))
    elif source.config_map_key_ref is not None:
        ref = source.config_map_key_ref
        data = known.map(ref.name)
        if data is not None and ref.key in data:
            found.put(one.name, _text(data[ref.key], here))
        elif not ref.optional:
            raise _missing_key("ConfigMap", ref, f"{here}.valueFrom.configMapKeyRef", data is None)
    elif source.secret_key_ref is not None:
        ref = source.secret_key_ref
        keys = known.secret(ref.name)
        if keys is not None and ref.key in keys:
            found.hide(one.name, secret_name(ref.name, ref.key))
        elif not ref.optional:
            raise _missing_key("Secret", ref, f"{here}.valueFrom.secretKeyRef", keys is None)
    elif source.field_ref is not None:
        found.put(one.name, _field(source.field_ref.field_path, meta, f"{here}.valueFrom.fieldRef.fieldPath"))
    elif source.resource_field_ref is not None:
        found.put(one.name, _resource(source.resource_field_ref, container, f"{here}.valueFrom.resourceFieldRef"))
    else:
        raise errors.InvalidArgument(f"{here}.valueFrom: it names no source")


def expand(text: str, found: Variables, path: str) -> str:
    """`$(NAME)` for what is known, `$$` for a dollar; the rest as it is. Raises InvalidArgument for a secret's."""
    out, at = [], 0
    while (dollar := text.find("$", at)) >= 0:
        out.append(text[at:dollar])
        following = text[dollar + 1 : dollar + 2]
        end = text.find(")", dollar)
        if following == "$":
            out.append("$")
            at = dollar + 2
        elif following == "(" and end > 0:
            name = text[dollar + 2 : end]
            if name in found.secret:
                raise errors.InvalidArgument(
                    f"{path}: $({name}) is a secret, which everybody who inspects the container would see",
                    hint=f"let a shell in the container read ${name}",
                )
            out.append(found.plain.get(name, text[dollar : end + 1]))
            at = end + 1
        else:
            out.append("$")
            at = dollar + 1
    return "".join([*out, text[at:]])


def _field(path: str, meta: Meta, here: str) -> str:
    maps: dict[str, Mapping[str, str]] = {
        "metadata.labels": dict(meta.labels),
        "metadata.annotations": dict(meta.annotations),
    }
    if path == "metadata.name":
        return meta.name
    if path == "metadata.namespace":
        return "default"
    base, bracket, key = path.partition("['")
    if bracket and base in maps and key.endswith("']"):
        return maps[base].get(key.removesuffix("']"), "")
    raise errors.InvalidArgument(
        f"{here}: {path!r} is not known before the pod runs",
        hint="metadata.name, metadata.namespace, metadata.labels['KEY'], metadata.annotations['KEY']",
    )


def _resource(ref: object, container: Container, here: str) -> str:
    from atoll.spec.kube_pod import ResourceRef

    assert isinstance(ref, ResourceRef)
    kind, _, name = ref.resource.partition(".")
    if ref.container_name not in ("", container.name) or kind not in ("limits", "requests"):
        raise errors.InvalidArgument(f"{here}: only the container's own limits and requests are known")
    written = dict(getattr(container.resources, kind)).get(name)
    if written is None:
        raise errors.InvalidArgument(f"{here}: the container has no {ref.resource}", hint="set it in resources")
    divisor = kube.quantity(ref.divisor or "1", f"{here}.divisor", 10**9)
    if divisor <= 0:
        raise errors.InvalidArgument(f"{here}.divisor: {ref.divisor!r} is not positive")
    return str(-(-kube.quantity(written, here, 10**9) // divisor))


def _check_name(name: str, path: str) -> None:
    if not name or not _WHOLE.issuperset(name) or name[0].isdecimal():
        raise errors.InvalidArgument(f"{path}: {name!r} cannot name a variable")


def _text(value: bytes, path: str) -> str:
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise errors.InvalidArgument(f"{path}: binary data cannot be a variable") from None
    if "\0" in text:
        raise errors.InvalidArgument(f"{path}: a variable cannot hold a NUL")
    return text


def _missing(kind: str, name: str, path: str) -> errors.NotFound:
    hint = "put it into the file, or pass --configmap" if kind == "ConfigMap" else "put it into the file"
    return errors.NotFound(f"{path}: no {kind} {name!r}", hint=hint)


def _missing_key(kind: str, ref: KeyRef, path: str, none: bool) -> errors.NotFound:
    if none:
        return _missing(kind, ref.name, path)
    return errors.NotFound(f"{path}: {kind} {ref.name!r} has no key {ref.key!r}")
