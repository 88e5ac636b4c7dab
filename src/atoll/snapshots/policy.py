"""What applying a layer may do and what came of it: values that cross to the unpacking process.

Holds: the policy with its budgets, the result. Does not hold: the work (`apply.py`).
"""

from __future__ import annotations

from atoll.base.value import Value


class ApplyPolicy(Value):
    """How to apply a layer.

    `ownership`: "chown" gives files the owners the layer names, "record" keeps them in an attribute because only
    one id is mapped. `devices`: "create", or "record" for an empty file with the wanted device in the attribute
    (the kernel refuses device nodes in a user namespace), or "drop". `opaque_xattr` marks an opaque directory:
    overlayfs reads `trusted.` ones, with `userxattr` `user.` ones. `bottom`: nothing lies below, whiteouts mean
    nothing. `plain`: it is no layer but a tree, in which names are names.
    Budgets refuse bombs: entries, bytes of data, apparent bytes (sparse files), seconds of processor time.
    """

    ownership: str = "chown"
    devices: str = "create"
    opaque_xattr: str = "trusted.overlay.opaque"
    bottom: bool = False
    plain: bool = False
    max_entries: int = 5_000_000
    max_bytes: int = 256 << 30
    max_apparent: int = 16 << 40
    max_seconds: float = 3600.0


class ApplyResult(Value):
    """`entries` applied, `bytes` of file data, `opaque`: the whole layer hides what is below; `stripped` counts
    attributes and nodes that a layer must not carry, `recorded` devices kept as attributes only, `implicit` the
    directories that no entry described (their attributes are to be taken from the layers below), `marks` those that
    are opaque and could not be marked for want of a capability: somebody else is to do it."""

    entries: int
    bytes: int
    opaque: bool = False
    stripped: int = 0
    recorded: int = 0
    implicit: tuple[str, ...] = ()
    marks: tuple[str, ...] = ()


def for_map(*, rootless: bool, single: bool, bottom: bool) -> ApplyPolicy:
    """The policy for root, for a user with ranges, and for a user with one id."""
    return ApplyPolicy(
        ownership="record" if single else "chown",
        devices="record" if rootless else "create",
        opaque_xattr="user.overlay.opaque" if rootless else "trusted.overlay.opaque",
        bottom=bottom,
    )
