"""CNI documents: lists of plug-ins, what a plug-in is asked, and what it answers (cni/SPEC.md, 0.1.0 to 1.1.0).

Holds: `ConfList`, `Result`, `Failure`, reading them strictly, `request` (a plug-in's standard input). Does not hold:
files, programs (`network/cni.py`). A plug-in's own fields are none of ours: they stay text. What a plug-in answers is
hostile input: everything in it is checked and bounded before anybody believes it.
"""

from __future__ import annotations

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.spec.codec import wrong

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

VERSIONS = ("0.1.0", "0.2.0", "0.3.0", "0.3.1", "0.4.0", "1.0.0", "1.1.0")
ADD, DEL, CHECK, GC, VERSION = "ADD", "DEL", "CHECK", "GC", "VERSION"
VALID_ATTACHMENTS = "cni.dev/valid-attachments"
PORTS, BANDWIDTH, IPS, MAC, ALIASES = "portMappings", "bandwidth", "ips", "mac", "aliases"
_MOST = 64
_MOST_ROUTES = 1024
_LONGEST = 256


class Plugin(Value):
    """A program of a list: `kind` is its file's name, `document` its configuration as it was written."""

    kind: str
    document: str
    capabilities: tuple[str, ...] = ()


class ConfList(Value):
    """A network of plug-ins, in the order in which they add. `check`, `gc`: whether those verbs are wanted."""

    name: str
    version: str
    plugins: tuple[Plugin, ...]
    check: bool = True
    gc: bool = True

    def at_least(self, version: str) -> bool:
        """Whether the list is of this version or a later one."""
        return VERSIONS.index(self.version) >= VERSIONS.index(version)

    def can(self, capability: str) -> bool:
        """Whether one of its plug-ins takes such a wish."""
        return any(capability in one.capabilities for one in self.plugins)


class Address(Value):
    """An address that a plug-in gave, of the interface of that place in the result (-1: it does not say)."""

    address: str
    prefix: int
    gateway: str = ""
    interface: int = -1


class Interface(Value):
    """An interface that a plug-in made; `sandbox` "" for one of the host's."""

    name: str
    mac: str = ""
    sandbox: str = ""


class Result(Value):
    """What ADD gave; `document` is handed on to the next plug-in as it came."""

    document: str
    interfaces: tuple[Interface, ...] = ()
    addresses: tuple[Address, ...] = ()
    nameservers: tuple[str, ...] = ()
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


class Failure(Value):
    """What a plug-in said instead."""

    code: int
    message: str
    details: str = ""


# --- lists ----------------------------------------------------------------------------------------------------------


def parse_list(text: str | bytes, where: str) -> ConfList:
    """A conflist, or a configuration of one plug-in as a list of one. Raises InvalidArgument."""
    document = _object(_loads(text, where), where)
    name = _name(document.get("name"), f"{where}: name")
    entries = document.get("plugins") if "plugins" in document else [document]
    if not isinstance(entries, list) or not 0 < len(entries) <= _MOST:
        raise wrong(f"{where}: plugins", f"a list of 1 to {_MOST} plug-ins", entries)
    plugins = [_plugin(_object(one, f"{where}: plugins"), where) for one in entries]
    return ConfList(
        name=name,
        version=_version(document, where),
        plugins=tuple(plugins),
        check=not _on(document, "disableCheck", where),
        gc=not _on(document, "disableGC", where),
    )


def _plugin(entry: dict[str, Any], where: str) -> Plugin:
    kind = _short(entry.get("type"), f"{where}: type")
    if not kind or "/" in kind or kind in (".", ".."):  # it becomes the name of a program
        raise wrong(f"{where}: type", "the name of a plug-in", kind)
    wanted = _object(entry.get("capabilities") or {}, f"{where}: capabilities")
    known = tuple(sorted(key for key, value in wanted.items() if value is True))
    return Plugin(kind=kind, document=jsontext.dumps(entry), capabilities=known)


def _version(document: dict[str, Any], where: str) -> str:
    """The list's, or the newest that it and we know (1.1: cniVersions)."""
    several = document.get("cniVersions")
    if isinstance(several, list):
        common = [one for one in VERSIONS if one in several or one == document.get("cniVersion")]
        if common:
            return common[-1]
    version = document.get("cniVersion", "0.1.0") or "0.1.0"
    if version not in VERSIONS:
        raise errors.Unsupported(f"{where}: CNI {version!r} is not known here", hint="known: " + ", ".join(VERSIONS))
    return str(version)


def _on(document: dict[str, Any], key: str, where: str) -> bool:
    """true, or the word: the specification has had both."""
    value = document.get(key, False)
    if value in ("true", "false"):
        return bool(value == "true")
    if not isinstance(value, bool):
        raise wrong(f"{where}: {key}", "true or false", value)
    return value


# --- what a plug-in is asked ----------------------------------------------------------------------------------------


def request(
    conf: ConfList, plugin: Plugin, *, previous: str = "", wishes: str = "{}", args: str = "{}", valid: str = ""
) -> str:
    """A plug-in's standard input. `previous` is a result's document; `wishes` an object by capability, of which each
    plug-in gets those that it takes; `args` what any may read; `valid` GC's list."""
    document = jsontext.loads(plugin.document)
    document["name"], document["cniVersion"] = conf.name, conf.version
    given = {key: value for key, value in jsontext.loads(wishes).items() if key in plugin.capabilities}
    document.pop("runtimeConfig", None)
    document.pop("capabilities", None)
    if given:
        document["runtimeConfig"] = given
    extra = jsontext.loads(args)
    if extra:
        own = document.get("args") if isinstance(document.get("args"), dict) else {}
        document["args"] = {**own, "cni": {**(own.get("cni") or {}), **extra}}
    if previous:
        document["prevResult"] = jsontext.loads(previous)
    if valid:
        document[VALID_ATTACHMENTS] = jsontext.loads(valid)
    return jsontext.dumps(document)


# --- what it answers ------------------------------------------------------------------------------------------------


def parse_result(text: str | bytes, where: str) -> Result:
    """A result of ADD, of any version. Raises InvalidArgument."""
    document = _object(_loads(text, where), where)
    old = [(document.get(key), family) for key, family in (("ip4", 4), ("ip6", 6)) if document.get(key)]
    if old:  # before 0.3.0
        given = [_old_address(_object(one, where), where) for one, _ in old]
    else:
        given = [_address(one, where) for one in _list(document.get("ips"), f"{where}: ips", _MOST)]
    for route in _list(document.get("routes"), f"{where}: routes", _MOST_ROUTES):
        _object(route, f"{where}: routes")
    dns = _object(document.get("dns") or {}, f"{where}: dns")
    domain = _word(dns.get("domain") or "", f"{where}: dns.domain")
    search = _words(dns.get("search"), f"{where}: dns.search")
    interfaces = [_interface(one, where) for one in _list(document.get("interfaces"), f"{where}: interfaces", _MOST)]
    return Result(
        document=jsontext.dumps(document),
        interfaces=tuple(interfaces),
        addresses=tuple(given),
        nameservers=tuple([_plain(one, f"{where}: dns") for one in _words(dns.get("nameservers"), f"{where}: dns")]),
        search=search or ((domain,) if domain else ()),
        options=_words(dns.get("options"), f"{where}: dns.options"),
    )


def parse_failure(text: str | bytes) -> Failure | None:
    """What a plug-in that failed said; None where that is no such document."""
    try:
        document = _object(_loads(text, ""), "")
    except errors.InvalidArgument:
        return None
    code, message, details = document.get("code"), document.get("msg"), document.get("details", "")
    if not isinstance(code, int) or not isinstance(message, str):
        return None
    return Failure(code=code, message=message[:1024], details=details[:4096] if isinstance(details, str) else "")


def _address(entry: Any, where: str) -> Address:
    one = _object(entry, f"{where}: ips")
    at = one.get("interface", -1)
    if not isinstance(at, int) or isinstance(at, bool) or not -1 <= at < _MOST:
        raise wrong(f"{where}: ips.interface", "a place in interfaces", at)
    return _at(one.get("address"), one.get("gateway"), at, where)


def _old_address(one: dict[str, Any], where: str) -> Address:
    return _at(one.get("ip"), one.get("gateway"), -1, where)


def _at(address: Any, gateway: Any, interface: int, where: str) -> Address:
    text = _short(address, f"{where}: address")
    plain, slash, prefix = text.partition("/")
    bits = 128 if ":" in plain else 32
    if not slash or not prefix.isascii() or not prefix.isdecimal() or len(prefix) > 3 or int(prefix) > bits:
        raise wrong(f"{where}: address", "ADDRESS/PREFIX", text)
    return Address(
        address=_plain(plain, f"{where}: address"),
        prefix=int(prefix),
        gateway=_plain(gateway, f"{where}: gateway") if gateway else "",
        interface=interface,
    )


def _plain(value: Any, path: str) -> str:
    """An address, as the kernel reads it."""
    from _socket import AF_INET, AF_INET6, inet_ntop, inet_pton

    text = _short(value, path)
    family = AF_INET6 if ":" in text else AF_INET
    try:
        return inet_ntop(family, inet_pton(family, text))
    except (OSError, ValueError):
        raise wrong(path, "an IP address", text) from None


def _interface(entry: Any, where: str) -> Interface:
    one = _object(entry, f"{where}: interfaces")
    return Interface(
        name=_short(one.get("name"), f"{where}: interfaces.name"),
        mac=_short(one.get("mac") or "", f"{where}: interfaces.mac"),
        sandbox=_short(one.get("sandbox") or "", f"{where}: interfaces.sandbox"),
    )


def _loads(text: str | bytes, where: str) -> Any:
    try:
        return jsontext.loads(text)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(f"{where}: this is not JSON: {error}") from None


def _object(value: Any, path: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise wrong(path, "an object", value)
    return value


def _list(value: Any, path: str, most: int) -> list[Any]:
    if value is None:
        return []
    if not isinstance(value, list) or len(value) > most:
        raise wrong(path, f"a list of at most {most}", value)
    return value


def _short(value: Any, path: str) -> str:
    if not isinstance(value, str) or len(value) > _LONGEST or any(ord(c) < 32 for c in value):
        raise wrong(path, "a short text", value)
    return value


def _word(value: Any, path: str) -> str:
    """What becomes a word of a file."""
    text = _short(value, path)
    if any(c.isspace() for c in text):
        raise wrong(path, "one word", text)
    return text


def _words(value: Any, path: str) -> tuple[str, ...]:
    return tuple([_word(one, path) for one in _list(value, path, _MOST)])


def _name(value: Any, path: str) -> str:
    """As container ids are: a letter or digit, then those, '_', '.' and '-'."""
    text = _short(value, path)
    legal = text[:1].isalnum() and all(c.isascii() and (c.isalnum() or c in "_.-") for c in text)
    if not legal:
        raise wrong(path, "letters, digits, '_', '.' and '-'", text)
    return text
