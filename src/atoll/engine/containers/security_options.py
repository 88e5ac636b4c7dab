"""`--security-opt`: each default that a container may have loosened or tightened. Pure.

Holds: `Options`, `parse`. Does not hold: what the defaults are (`defaults.py`), seccomp files (`profile.py`). Loaded
only when there is such an option. Docker's words, and of Podman's `mask=`, `unmask=`; our own are `profile=` and
`allow_32bit`.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

_HINT = (
    "known are no-new-privileges[=false], seccomp=unconfined|builtin|FILE, apparmor=PROFILE, label=…, "
    "systempaths=unconfined, mask=PATH[:PATH…], unmask=ALL|PATH[:PATH…], writable-cgroups, allow_32bit, "
    "profile=docker|atoll"
)


class Options(Value):
    """What the options say together; None is "not said". `seccomp` is `default`, `unconfined` or a file's path;
    `label` are SELinux words such as `type:spc_t`, or `disable`; `unmask` may hold `ALL`."""

    profile: str | None = None
    no_new_privileges: bool | None = None
    seccomp: str = "default"
    allow_32bit: bool = False
    apparmor: str | None = None
    label: tuple[str, ...] = ()
    mask: tuple[str, ...] = ()
    unmask: tuple[str, ...] = ()
    writable_cgroups: bool = False


def parse(given: Sequence[str]) -> Options:
    """All of them, the later over the earlier. Raises InvalidArgument in Docker's words."""
    options = Options()
    for option in given:
        if "\0" in option or "\n" in option:
            raise errors.InvalidArgument("invalid --security-opt: it holds a control character")
        key, separator, value = option.partition("=")
        if not separator:
            key, separator, value = option.partition(":")
        options = _one(options, option, key, value)
    return options


def _one(options: Options, option: str, key: str, value: str) -> Options:
    if key in ("no-new-privileges", "writable-cgroups", "allow_32bit"):
        if value not in ("", "true", "false"):
            raise errors.InvalidArgument(f"invalid --security-opt: '{option}'", hint="true or false")
        return options.replace(**{key.replace("-", "_"): value != "false"})
    if key == "seccomp" and value:
        return options.replace(seccomp="default" if value == "builtin" else value)
    if key == "profile" and value in ("atoll", "docker"):
        return options.replace(profile=value)
    if key == "apparmor" and value:
        return options.replace(apparmor=value)
    if key == "label" and value:
        return options.replace(label=_label(options.label, option, value))
    if key == "systempaths" and value == "unconfined":
        return options.replace(unmask=("ALL",))
    if key in ("mask", "unmask") and value:
        paths = tuple(value.split(":"))
        for path in paths:
            if not path.startswith("/") and not (key == "unmask" and path == "ALL"):
                raise errors.InvalidArgument(f"invalid --security-opt: '{option}': '{path}' is no absolute path")
        return options.replace(**{key: (*getattr(options, key), *paths)})
    raise errors.InvalidArgument(f"invalid --security-opt: '{option}'", hint=_HINT)


def _label(before: tuple[str, ...], option: str, value: str) -> tuple[str, ...]:
    if value == "disable":
        return ("disable",)
    kind, colon, word = value.partition(":")
    if not colon or not word or kind not in ("user", "role", "type", "level", "filetype", "nested"):
        raise errors.InvalidArgument(
            f"invalid --security-opt: '{option}'", hint="label=disable, or user:, role:, type:, level: and a word"
        )
    return (*before, value)


def apply_paths(
    masked: tuple[str, ...], read_only: tuple[str, ...], options: Options
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hidden and the read-only paths with `mask=` and `unmask=` applied; an unmasked path opens what lies below
    it, too, and `*` at its end stands for any."""
    if "ALL" in options.unmask:
        masked = read_only = ()
    for path in options.unmask:
        stem = path.removesuffix("*").rstrip("/") if path.endswith("*") else path.rstrip("/")
        masked = tuple([one for one in masked if not _covers(stem, one)])
        read_only = tuple([one for one in read_only if not _covers(stem, one)])
    return (*masked, *[path for path in options.mask if path not in masked]), read_only


def _covers(stem: str, path: str) -> bool:
    return path == stem or path.startswith(stem + "/")


def selinux_label(options: Options) -> str | None:
    """The label to run as that `label=` asks for; None where there is nothing to say. The level of a container of its
    own, as SELinux's users know it, is two random categories unless one is given."""
    if not options.label or options.label == ("disable",):
        return None
    words = dict([word.split(":", 1) for word in options.label if ":" in word])
    level = words.get("level", "s0")
    return (
        f"{words.get('user', 'system_u')}:{words.get('role', 'system_r')}:{words.get('type', 'container_t')}:{level}"
    )
