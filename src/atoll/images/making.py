"""The documents of an image that is made here: configuration, manifest, and the changes that `-c` asks for.

Holds: `new_config`, `with_layer`, `changed` (Dockerfile's instructions), `manifest`, `layer`. Does not hold: the rows
(`engine/images/making.py`), making the layer's bytes (`snapshots/diff.py`).
Layers made here stay uncompressed and have Docker's types: `push` compresses them on their way.
Configurations are plain JSON objects: what the parent's says and we do not know of is kept.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.spec import digest as digests
from atoll.spec import platform as platforms
from atoll.spec.image import DOCKER_CONFIG, DOCKER_MANIFEST, Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Any

    from atoll.images.content import Blob

PLAIN_LAYER = "application/vnd.docker.image.rootfs.diff.tar"


def layer(blob: Blob) -> Descriptor:
    """The descriptor of an uncompressed layer."""
    return Descriptor(media_type=PLAIN_LAYER, digest=blob.digest, size=blob.size)


def new_config(created: str, platform: platforms.Platform | None = None) -> dict[str, Any]:
    """A configuration without layers, for this machine or `platform`. `created` is RFC 3339."""
    chosen = platform or platforms.host()
    config: dict[str, Any] = {"architecture": chosen.architecture, "os": chosen.os, "created": created, "config": {}}
    if chosen.variant:
        config["variant"] = chosen.variant
    return {**config, "rootfs": {"type": "layers", "diff_ids": []}, "history": []}


def with_layer(
    config: dict[str, Any],
    diff_id: str | None,
    *,
    created: str,
    created_by: str = "",
    author: str = "",
    comment: str = "",
) -> dict[str, Any]:
    """The configuration with one more layer (None: a step without one) and its line of history."""
    rootfs = config.get("rootfs") or {}
    diff_ids = [*(rootfs.get("diff_ids") or []), *([diff_id] if diff_id else [])]
    line: dict[str, Any] = {"created": created}
    for key, value in (("created_by", created_by), ("author", author), ("comment", comment)):
        if value:
            line[key] = value
    if diff_id is None:
        line["empty_layer"] = True
    made = {**config, "created": created, "rootfs": {"type": "layers", "diff_ids": diff_ids}}
    made["history"] = [*(config.get("history") or []), line]
    if author:
        made["author"] = author
    return made


def encode(config: dict[str, Any]) -> bytes:
    """A configuration as bytes, the same for the same content."""
    return jsontext.dumps(config).encode()


def manifest(config: bytes, layers: Sequence[Descriptor]) -> bytes:
    """The manifest of a configuration and its layers, bottom first; Docker's type if all layers have such."""
    docker = all(one.media_type.startswith("application/vnd.docker.") for one in layers)
    document = {
        "schemaVersion": 2,
        "mediaType": DOCKER_MANIFEST if docker else "application/vnd.oci.image.manifest.v1+json",
        "config": {
            "mediaType": DOCKER_CONFIG if docker else "application/vnd.oci.image.config.v1+json",
            "size": len(config),
            "digest": digests.of(config),
        },
        "layers": [
            {"mediaType": _type(one.media_type, docker=docker), "size": one.size, "digest": one.digest}
            for one in layers
        ],
    }
    return jsontext.dumps(document).encode()


def _type(media_type: str, *, docker: bool) -> str:
    """A layer's type in an OCI manifest: what is Docker's becomes OCI's."""
    if docker or not media_type.startswith("application/vnd.docker."):
        return media_type
    for suffix, kind in ((".gzip", "+gzip"), (".zstd", "+zstd"), ("", "")):
        if suffix and media_type.endswith(suffix):
            return "application/vnd.oci.image.layer.v1.tar" + kind
    return "application/vnd.oci.image.layer.v1.tar"


# --- the instructions of -c -----------------------------------------------------------------------------------------


def changed(config: dict[str, Any], instructions: Iterable[str]) -> dict[str, Any]:
    """The configuration after Dockerfile instructions (`CMD ["sh"]`, `ENV A=1`), those that `docker commit -c` takes.

    Raises InvalidArgument naming the instruction.
    """
    run: dict[str, Any] = dict(config.get("config") or {})
    for text in instructions:
        word, _, rest = text.strip().partition(" ")
        apply = _INSTRUCTIONS.get(word.upper())
        if apply is None:
            raise errors.InvalidArgument(
                f"{word.upper()} is not a valid change command", hint="known are " + ", ".join(_INSTRUCTIONS)
            )
        if not rest.strip():
            raise errors.InvalidArgument(f"{word.upper()} requires at least one argument")
        apply(run, rest.strip())
    return {**config, "config": run}


def _words(rest: str) -> list[str]:
    import shlex

    try:
        return shlex.split(rest)
    except ValueError as error:
        raise errors.InvalidArgument(f"cannot read {rest!r}: {error}") from None


def _array(rest: str) -> list[str] | None:
    """The exec form, `["a", "b"]`; None for any other text, as Docker has it."""
    if not rest.startswith("["):
        return None
    try:
        found = jsontext.loads(rest)
    except ValueError:
        return None
    if isinstance(found, list) and all(isinstance(one, str) for one in found):
        return found
    return None


def _command(rest: str, run: dict[str, Any]) -> list[str]:
    found = _array(rest)
    return found if found is not None else [*(run.get("Shell") or ["/bin/sh", "-c"]), rest]


def _cmd(run: dict[str, Any], rest: str) -> None:
    run["Cmd"] = _command(rest, run)


def _entrypoint(run: dict[str, Any], rest: str) -> None:
    run["Entrypoint"] = _command(rest, run)


def _pairs(rest: str, what: str) -> list[tuple[str, str]]:
    words = _words(rest)
    if "=" not in words[0]:  # the old form: ENV NAME the rest
        key, _, value = rest.partition(" ")
        if not value.strip():
            raise errors.InvalidArgument(f"{what} must have two arguments")
        return [(key, value.strip())]
    found = []
    for word in words:
        key, equals, value = word.partition("=")
        if not key or not equals:
            raise errors.InvalidArgument(f"cannot read {word!r} in {what}: expected KEY=value")
        found.append((key, value))
    return found


def _env(run: dict[str, Any], rest: str) -> None:
    env = list(run.get("Env") or [])
    for key, value in _pairs(rest, "ENV"):
        entry = f"{key}={value}"
        places = [i for i, one in enumerate(env) if one.partition("=")[0] == key]
        if places:
            env[places[0]] = entry
        else:
            env.append(entry)
    run["Env"] = env


def _label(run: dict[str, Any], rest: str) -> None:
    run["Labels"] = {**(run.get("Labels") or {}), **dict(_pairs(rest, "LABEL"))}


def _expose(run: dict[str, Any], rest: str) -> None:
    ports = dict(run.get("ExposedPorts") or {})
    for word in rest.split():
        numbers, _, protocol = word.partition("/")
        low, dash, high = numbers.partition("-")
        if not low.isdigit() or (dash and not high.isdigit()) or protocol not in ("", "tcp", "udp", "sctp"):
            raise errors.InvalidArgument(f"invalid containerPort: {word}")
        if not 0 < int(low) <= int(high or low) < 65536:
            raise errors.InvalidArgument(f"invalid containerPort: {word}")
        for port in range(int(low), int(high or low) + 1):
            ports[f"{port}/{protocol or 'tcp'}"] = {}
    run["ExposedPorts"] = ports


def _volume(run: dict[str, Any], rest: str) -> None:
    found = _array(rest)
    run["Volumes"] = {**(run.get("Volumes") or {}), **{one: {} for one in (rest.split() if found is None else found)}}


def _user(run: dict[str, Any], rest: str) -> None:
    run["User"] = rest


def _workdir(run: dict[str, Any], rest: str) -> None:
    import posixpath

    run["WorkingDir"] = posixpath.normpath(posixpath.join("/", run.get("WorkingDir") or "/", rest))


def _on_build(run: dict[str, Any], rest: str) -> None:
    run["OnBuild"] = [*(run.get("OnBuild") or []), rest]


def _stop_signal(run: dict[str, Any], rest: str) -> None:
    run["StopSignal"] = rest


def _healthcheck(run: dict[str, Any], rest: str) -> None:
    from atoll.base import units

    names = {
        "--interval": "Interval",
        "--timeout": "Timeout",
        "--start-period": "StartPeriod",
        "--start-interval": "StartInterval",
    }
    check: dict[str, Any] = {}
    while rest.startswith("--"):
        option, _, rest = rest.partition(" ")
        key, _, value = option.partition("=")
        rest = rest.strip()
        if key in names:
            check[names[key]] = units.parse_span(value, key)
        elif key == "--retries" and value.isdigit():
            check["Retries"] = int(value)
        else:
            raise errors.InvalidArgument(f"unknown flag of HEALTHCHECK: {option}")
    kind, _, command = rest.partition(" ")
    if kind.upper() == "NONE" and not command:
        run["Healthcheck"] = {"Test": ["NONE"]}
        return
    if kind.upper() != "CMD" or not command.strip():
        raise errors.InvalidArgument(f"unknown type {kind!r} in HEALTHCHECK (try CMD)")
    found = _array(command.strip())
    check["Test"] = ["CMD-SHELL", command.strip()] if found is None else ["CMD", *found]
    run["Healthcheck"] = check


_INSTRUCTIONS: dict[str, Any] = {
    "CMD": _cmd,
    "ENTRYPOINT": _entrypoint,
    "ENV": _env,
    "EXPOSE": _expose,
    "HEALTHCHECK": _healthcheck,
    "LABEL": _label,
    "ONBUILD": _on_build,
    "STOPSIGNAL": _stop_signal,
    "USER": _user,
    "VOLUME": _volume,
    "WORKDIR": _workdir,
}
