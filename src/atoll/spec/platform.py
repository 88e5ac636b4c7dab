"""Platforms: operating system, architecture and variant, and which of an index's images fits here.

Holds: the value, its text form, Docker's and OCI's spellings, the order of preference. Does not hold: manifests.
"""

from __future__ import annotations

import os

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# What uname, people and registries call them, to GOARCH (image-spec, image-index.md, "platform").
_ARCHITECTURES: dict[str, tuple[str, str | None]] = {
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "amd64": ("amd64", None),
    "aarch64": ("arm64", None),
    "arm64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armv7l": ("arm", "v7"),
    "armv6l": ("arm", "v6"),
    "armel": ("arm", "v6"),
    "arm": ("arm", None),
    "i386": ("386", None),
    "i686": ("386", None),
    "386": ("386", None),
    "ppc64le": ("ppc64le", None),
    "s390x": ("s390x", None),
    "riscv64": ("riscv64", None),
    "loongarch64": ("loong64", None),
    "loong64": ("loong64", None),
    "mips64le": ("mips64le", None),
}
# Variants that a machine of the first also runs, best first.
_ARM = ("v8", "v7", "v6", "v5")
_DEFAULT_VARIANT = {"arm64": "v8", "arm": "v7", "amd64": "v1"}


class Platform(Value):
    """`os` and `architecture` are Go's names; `variant` None means the architecture's usual one."""

    os: str
    architecture: str
    variant: str | None = None
    os_version: str | None = None

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def to_json(self) -> dict[str, Any]:
        """The object of an index entry."""
        out = {"architecture": self.architecture, "os": self.os}
        if self.os_version:
            out["os.version"] = self.os_version
        if self.variant:
            out["variant"] = self.variant
        return out


def parse(text: str) -> Platform:
    """`linux/arm64/v8`, `linux/amd64`, or the architecture alone. Raises InvalidArgument."""
    parts = text.strip().lower().split("/")
    if not all(parts) or len(parts) > 3:
        raise errors.InvalidArgument(f"platform {text!r} is not os/architecture[/variant]")
    if len(parts) == 1:
        parts = ["linux", parts[0]] if parts[0] in _ARCHITECTURES else [parts[0], host().architecture]
    return normal(parts[0], parts[1], parts[2] if len(parts) == 3 else None)


def normal(system: str, architecture: str, variant: str | None = None, version: str | None = None) -> Platform:
    """A platform with the usual spelling of its parts."""
    name, implied = _ARCHITECTURES.get(architecture, (architecture, None))
    variant = variant or implied
    if variant and variant.isdecimal():
        variant = "v" + variant
    if variant == _DEFAULT_VARIANT.get(name) and name != "arm":
        variant = None
    return Platform(os=system, architecture=name, variant=variant, os_version=version)


def host() -> Platform:
    """This machine."""
    return normal("linux", os.uname().machine)


def rank(want: Platform, have: Platform) -> int | None:
    """How well an image for `have` serves a machine `want`: 0 is exact, more is worse, None is not at all."""
    want = normal(want.os, want.architecture, want.variant)
    have = normal(have.os, have.architecture, have.variant)
    if want.os != have.os or want.architecture != have.architecture:
        return None
    if want.variant == have.variant:
        return 0
    if want.architecture == "arm":
        return _later(_ARM, want.variant or "v7", have.variant or "v7")
    if want.architecture == "amd64":
        levels = ("v4", "v3", "v2", "v1")
        return _later(levels, want.variant or "v1", have.variant or "v1")
    if want.architecture == "arm64":
        return 1 if have.variant is None else None  # v9 runs v8, not the other way round
    return 1 if have.variant is None else None


def _later(order: tuple[str, ...], want: str, have: str) -> int | None:
    if want not in order or have not in order:
        return None
    distance = order.index(have) - order.index(want)
    return distance if distance >= 0 else None
