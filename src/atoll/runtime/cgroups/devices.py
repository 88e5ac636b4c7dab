"""Device rules: what a container may read, write and make nodes of.

Holds: `Rule`, `rules_for` (the spec's list behind "deny all", with the default devices), `allows` (the meaning),
`whitelist` (the same for v1's device files). Does not hold: the program for v2 (`devicebpf.py`).
Source: runtime-spec config-linux.md, "Allowed Device list" (applied in order) and "Default Devices"; the kernel's
admin-guide/cgroup-v1/devices.

The meaning, the same on v1 and v2: for each of read, write and mknod the last rule that matches the device decides,
none means no; a request for several is granted if each is.
"""

from __future__ import annotations

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.spec.runtime import DeviceRule

# BPF_DEVCG_ACC_* of linux/bpf.h
MKNOD, READ, WRITE = 1, 2, 4
ALL = MKNOD | READ | WRITE
_LETTERS = {"m": MKNOD, "r": READ, "w": WRITE}
_MAJOR_MAX, _MINOR_MAX = (1 << 12) - 1, (1 << 20) - 1  # MINORBITS of linux/kdev_t.h


class Rule(Value):
    """`kind` "b" or "c"; None as number matches all; `access` of MKNOD, READ, WRITE."""

    allow: bool
    kind: str
    major: int | None = None
    minor: int | None = None
    access: int = ALL

    def covers(self, kind: str, major: int | None, minor: int | None) -> bool:
        """Whether the rule matches every device of that pattern."""
        return self.kind == kind and self.major in (None, major) and self.minor in (None, minor)


def _default(kind: str, major: int | None, minor: int | None, access: int = ALL) -> Rule:
    return Rule(allow=True, kind=kind, major=major, minor=minor, access=access)


# Making a node is the capability's matter (CAP_MKNOD), using it this list's.
DEFAULTS = (
    _default("c", None, None, MKNOD),
    _default("b", None, None, MKNOD),
    _default("c", 1, 3),  # null
    _default("c", 1, 5),  # zero
    _default("c", 1, 7),  # full
    _default("c", 1, 8),  # random
    _default("c", 1, 9),  # urandom
    _default("c", 5, 0),  # tty
    _default("c", 5, 1),  # console
    _default("c", 5, 2),  # ptmx
    _default("c", 136, None),  # pts/*
)
_DENY_ALL = (Rule(allow=False, kind="b"), Rule(allow=False, kind="c"))


def rules_for(asked: tuple[DeviceRule, ...]) -> tuple[Rule, ...]:
    """Deny all, then what was asked in its order, then the default devices. Raises InvalidArgument."""
    out = list(_DENY_ALL)
    for index, rule in enumerate(asked):
        out.extend(_parse(rule, f"linux.resources.devices[{index}]"))
    return (*out, *DEFAULTS)


def _parse(rule: DeviceRule, prop: str) -> list[Rule]:
    access = 0
    for letter in "rwm" if rule.access is None else rule.access:
        if letter not in _LETTERS:
            raise errors.InvalidArgument(f"{prop}.access is {rule.access!r}", hint="letters of rwm")
        access |= _LETTERS[letter]
    if not access:
        raise errors.InvalidArgument(f"{prop}.access is empty", hint="letters of rwm, or leave it out for all")
    major, minor = (None if number == -1 else number for number in (rule.major, rule.minor))
    for number, most, name in ((major, _MAJOR_MAX, "major"), (minor, _MINOR_MAX, "minor")):
        if number is not None and not 0 <= number <= most:
            raise errors.InvalidArgument(f"{prop}.{name} is {number}", hint=f"0 to {most}, or -1 for all")
    kinds = ("b", "c") if rule.type in (None, "a") else (str(rule.type),)
    return [Rule(allow=rule.allow, kind=kind, major=major, minor=minor, access=access) for kind in kinds]


def allows(rules: tuple[Rule, ...], kind: str, major: int, minor: int, access: int) -> bool:
    """What the rules mean, said as plainly as possible; the two back ends are tested against it."""
    for bit in (MKNOD, READ, WRITE):
        verdict = False
        for rule in rules:
            if rule.access & bit and rule.covers(kind, major, minor):
                verdict = rule.allow
        if access & bit and not verdict:
            return False
    return True


Key = tuple[str, "int | None", "int | None"]


def whitelist(rules: tuple[Rule, ...]) -> tuple[bool, list[tuple[Key, int]]]:
    """The rules for v1: (allow by default, exceptions to that).

    v1 keeps one default and exceptions of the other sign; it cannot carve a hole into an exception. Raises
    Unsupported for rules that need one (such as: all of major 1, but not 1:3).
    """
    try:
        default, kept = _fold(rules, turning=True)
    except errors.Unsupported:
        default, kept = _fold(rules, turning=False)
    if not default:
        # To grant read and write at once v1 wants one exception that has both: give each what the wider ones have,
        # and each overlap of two an exception of its own.
        for first in list(kept):
            for second in list(kept):
                both = _meet(first, second)
                if both is not None:
                    kept.setdefault(both, 0)
        for key in kept:
            for wider, access in list(kept.items()):
                if _inside(key, wider):
                    kept[key] |= access
        for key in [k for k, access in kept.items() if _redundant(k, access, kept)]:
            del kept[key]
    return default, [(key, access) for key, access in kept.items() if access]


def _fold(rules: tuple[Rule, ...], *, turning: bool) -> tuple[bool, dict[Key, int]]:
    # By default no; with `turning` the default becomes yes once both kinds are allowed in full, and back.
    default, kept = False, dict[Key, int]()
    for rule in rules:
        key = (rule.kind, rule.major, rule.minor)
        if rule.allow != default:
            kept[key] = kept.get(key, 0) | rule.access
            if turning and all(kept.get((kind, None, None), 0) == ALL for kind in "bc"):
                default, kept = not default, {}
            continue
        for other in list(kept):
            if not kept[other] & rule.access or _meet(key, other) is None:
                continue
            if not _inside(other, key):
                raise errors.Unsupported(
                    f"device rules need a hole: {_say(key)} out of {_say(other)}, which cgroup v1 cannot express",
                    hint="name the devices one by one instead of the wider rule",
                )
            kept[other] &= ~rule.access
            if not kept[other]:
                del kept[other]
    return default, kept


def _inside(key: Key, wider: Key) -> bool:
    return key[0] == wider[0] and wider[1] in (None, key[1]) and wider[2] in (None, key[2])


def _meet(one: Key, two: Key) -> Key | None:
    """The devices that both patterns match, or None."""
    if one[0] != two[0]:
        return None
    numbers: list[int | None] = []
    for a, b in ((one[1], two[1]), (one[2], two[2])):
        if a is not None and b is not None and a != b:
            return None
        numbers.append(b if a is None else a)
    return (one[0], numbers[0], numbers[1])


def _redundant(key: Key, access: int, kept: dict[Key, int]) -> bool:
    return any(other != key and _inside(key, other) and access & ~bits == 0 for other, bits in kept.items())


def _say(key: Key) -> str:
    return f"{key[0]} {'*' if key[1] is None else key[1]}:{'*' if key[2] is None else key[2]}"


def line(key: Key, access: int) -> str:
    """An exception as v1's devices.allow and devices.deny take it."""
    return f"{_say(key)} {''.join(letter for letter, bit in _LETTERS.items() if access & bit)}"
