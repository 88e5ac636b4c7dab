"""What the user says about registries: a table of `atoll.toml` a prefix, and Docker's and Podman's certificates.

Holds: reading such a table, `find` (the longest prefix that fits), `tls_for`. Does not hold: where the table comes
from (`engine/config.py`), falling through mirrors (`remote.py`).

    [registries."docker.io"]                  or "quay.io/team", or "*.example.com"
    mirrors = ["mirror.example:5000/hub", {location = "10.0.0.2:5000", insecure = true, pull = "digests"}]
    location = "registry.example/hub"         where it really is
    ca_file = "/etc/…/ca.pem"                 also client_certificate, client_key, insecure, blocked
"""

from __future__ import annotations

import os

from atoll.images import url as urls
from atoll.images.values import Mirror, RegistrySettings, Tls

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from atoll.images.values import RegistryOptions

CERTS_DIRS = ("/etc/containers/certs.d", "/etc/docker/certs.d")
_TEXTS = ("location", "ca_file", "client_certificate", "client_key")
_FLAGS = ("insecure", "blocked")
_PULLS = ("all", "digests", "tags")


def parse_table(prefix: str, table: dict[str, Any]) -> RegistrySettings:
    """One table of the settings file. Raises ValueError saying what was expected."""
    given: dict[str, Any] = {}
    for key, value in table.items():
        if key in _TEXTS:
            given[key] = _text(key, value)
        elif key in _FLAGS:
            if not isinstance(value, bool):
                raise ValueError(f"true or false for {key}")
            given[key] = value
        elif key == "mirrors":
            if not isinstance(value, list):
                raise ValueError("a list for mirrors")
            given[key] = tuple([_mirror(one) for one in value])
        else:
            raise ValueError(f"one of {', '.join((*_TEXTS, *_FLAGS, 'mirrors'))}, not {key}")
    if ("client_certificate" in given) != ("client_key" in given):
        raise ValueError("client_certificate and client_key together")
    return RegistrySettings(prefix=prefix.rstrip("/"), **given)


def _text(key: str, value: object) -> str:
    if not isinstance(value, str) or not value or "\0" in value or "\n" in value:
        raise ValueError(f"a text for {key}")
    return value.rstrip("/") if key == "location" else value


def _mirror(value: object) -> Mirror:
    if isinstance(value, str):
        return Mirror(location=_text("location", value))
    if not isinstance(value, dict) or set(value) - {"location", "insecure", "pull"}:
        raise ValueError('a mirror such as "host:5000/path" or {location = "…", insecure = true, pull = "digests"}')
    pull = value.get("pull", "all")
    insecure = value.get("insecure", False)
    if pull not in _PULLS or not isinstance(insecure, bool):
        raise ValueError(f"pull = one of {', '.join(_PULLS)} and insecure = true or false for a mirror")
    return Mirror(location=_text("location", value.get("location")), insecure=insecure, pull=pull)


def find(settings: Sequence[RegistrySettings], name: str) -> RegistrySettings | None:
    """The settings for `host/repository` (or a host): those with the longest prefix that fits."""
    fitting = [one for one in settings if covers(one.prefix, name)]
    return max(fitting, key=lambda one: len(one.prefix), default=None)


def covers(prefix: str, name: str) -> bool:
    """Whether a prefix (`host`, `host/path`, `*.domain`) is one of `name`'s, at a boundary of its parts."""
    if prefix.startswith("*."):
        host = urls.split_port(name.partition("/")[0])[0]
        return host.endswith(prefix[1:])
    return name == prefix or name.startswith((prefix + "/", prefix + ":", prefix + "@"))


def for_host(options: RegistryOptions, host: str) -> RegistrySettings | None:
    """What is said about a host as a whole, which is where certificates belong."""
    whole = [one for one in options.registries if "/" not in one.prefix]
    return find(whole, host) or next((one for one in options.registries if one.prefix.split("/")[0] == host), None)


def is_insecure(options: RegistryOptions, host: str) -> bool:
    """Whether plain HTTP and unverified TLS are allowed there."""
    said = for_host(options, host)
    name = urls.split_port(host)[0].strip("[]")
    return host in options.insecure or name in options.insecure or bool(said and said.insecure)


def tls_for(options: RegistryOptions, host: str, *, insecure: bool) -> Tls:
    """Authorities and client certificates: the settings', and those in the certificate folders (dockerd's rules:
    every `*.crt` is an authority, every `x.cert` needs its `x.key`)."""
    said = for_host(options, host)
    authorities = [options.ca_file] if options.ca_file else []
    pairs: list[tuple[str, str]] = []
    if said and said.ca_file:
        authorities.append(said.ca_file)
    if said and said.client_certificate and said.client_key:
        pairs.append((said.client_certificate, said.client_key))
    home = os.path.expanduser("~/.config/containers/certs.d")
    for folder in (home, *CERTS_DIRS) if options.certs_dirs is None else options.certs_dirs:
        place = f"{folder}/{host}"
        try:
            names = sorted(os.listdir(place))
        except OSError:
            continue
        authorities += [f"{place}/{name}" for name in names if name.endswith(".crt")]
        stems = [name.removesuffix(".cert") for name in names if name.endswith(".cert")]
        pairs += [(f"{place}/{stem}.cert", f"{place}/{stem}.key") for stem in stems]
    return Tls(name=host, insecure=insecure, ca_files=tuple(authorities), client_certificates=tuple(pairs))
