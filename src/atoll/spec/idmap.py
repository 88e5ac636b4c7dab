"""Id maps: which user and group ids a user namespace has and what they are outside.

Holds: the values, the text of /proc/PID/uid_map, the key of a snapshot, and the map an ordinary user may have.
Does not hold: writing a map into the kernel (`linux/userns.py`).
"""

from __future__ import annotations

import itertools
import os

from atoll.base import errors
from atoll.base.value import Value

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

_TOOLS = ("/usr/bin", "/bin", "/usr/local/bin", "/usr/sbin", "/sbin", "/run/wrappers/bin")
_MAX_ID = (1 << 32) - 2  # (uid_t) -1 is "no change", never an id (CVE-2024-40635)


class IdMap(Value):
    """One line of a map: `count` ids from `inside` on are the ids from `outside` on."""

    inside: int
    outside: int
    count: int

    def to_json(self) -> list[int]:
        """`[inside, outside, count]`."""
        return [self.inside, self.outside, self.count]


class RootlessMap(Value):
    """The maps of a user namespace and how to write them.

    `single` says that only one id is mapped: chown is impossible inside, and the owner a file should have is kept
    in an attribute. `newuidmap` and `newgidmap` are the set-id helpers to call (uidmap package); None when the
    maps can be written directly (single, or by root).
    """

    uid_map: tuple[IdMap, ...]
    gid_map: tuple[IdMap, ...]
    single: bool = False
    newuidmap: str | None = None
    newgidmap: str | None = None

    @property
    def key(self) -> str:
        """What tells snapshots of one layer apart: short, stable, fit for a file name."""
        if self.single:
            return "single"
        uids, gids = _short(self.uid_map), _short(self.gid_map)
        return uids if uids == gids else f"u{uids}g{gids}"

    def ways(self) -> dict[str, Any]:
        """The arguments of `linux/userns.py:enter` by name."""
        return {
            "uid_map": [(m.inside, m.outside, m.count) for m in self.uid_map],
            "gid_map": [(m.inside, m.outside, m.count) for m in self.gid_map],
            "newuidmap": self.newuidmap,
            "newgidmap": self.newgidmap,
            "single": self.single,
        }

    def to_json(self) -> dict[str, Any]:
        """The wire form, for crossing a process boundary."""
        return {
            "uid_map": [m.to_json() for m in self.uid_map],
            "gid_map": [m.to_json() for m in self.gid_map],
            "single": self.single,
            "newuidmap": self.newuidmap,
            "newgidmap": self.newgidmap,
        }


# The key of snapshots whose files have the owners the image names: root without a user namespace.
IDENTITY_KEY = "id"


def key_of(idmap: RootlessMap | None) -> str:
    """The snapshot key of a map; None is the identity."""
    return idmap.key if idmap else IDENTITY_KEY


def from_json(wire: Any) -> RootlessMap:
    """Parse `RootlessMap.to_json`. Raises InvalidArgument."""
    try:
        return RootlessMap(
            uid_map=tuple(IdMap(inside=i, outside=o, count=c) for i, o, c in wire["uid_map"]),
            gid_map=tuple(IdMap(inside=i, outside=o, count=c) for i, o, c in wire["gid_map"]),
            single=bool(wire["single"]),
            newuidmap=wire["newuidmap"],
            newgidmap=wire["newgidmap"],
        )
    except (TypeError, KeyError, ValueError) as error:
        raise errors.InvalidArgument(f"malformed id map: {error}") from None


def to_text(maps: Iterable[IdMap]) -> str:
    """The content of a uid_map or gid_map file (user_namespaces(7))."""
    return "".join(f"{m.inside} {m.outside} {m.count}\n" for m in maps)


def check(maps: tuple[IdMap, ...], what: str) -> None:
    """Refuse what the kernel would, but saying why: overlaps, ids out of range, empty or too many lines.

    Raises InvalidArgument.
    """
    if not 1 <= len(maps) <= 340:
        raise errors.InvalidArgument(f"{what}: {len(maps)} lines; the kernel takes 1 to 340")
    for m in maps:
        if m.count < 1 or m.inside < 0 or m.outside < 0 or max(m.inside, m.outside) + m.count - 1 > _MAX_ID:
            raise errors.InvalidArgument(f"{what}: '{m.inside} {m.outside} {m.count}' leaves the range of ids")
    for side in ("inside", "outside"):
        ordered = sorted((getattr(m, side), m.count) for m in maps)
        for (start, count), (following, _) in itertools.pairwise(ordered):
            if start + count > following:
                raise errors.InvalidArgument(f"{what}: the ranges overlap {side} at {following}")


def outside_id(maps: Iterable[IdMap], inside: int) -> int | None:
    """The id outside of one inside; None if the map lacks it."""
    for m in maps:
        if m.inside <= inside < m.inside + m.count:
            return m.outside + inside - m.inside
    return None


def single(uid: int, gid: int) -> RootlessMap:
    """Only this user, as root inside: what every kernel with user namespaces grants with nothing installed."""
    return RootlessMap(
        uid_map=(IdMap(inside=0, outside=uid, count=1),),
        gid_map=(IdMap(inside=0, outside=gid, count=1),),
        single=True,
    )


def ranges_in(text: str, names: Iterable[str]) -> tuple[tuple[int, int], ...]:
    """The (start, count) ranges that a /etc/subuid text grants to a user, by name or by number (subuid(5))."""
    wanted = set(names)
    found: list[tuple[int, int]] = []
    for line in text.splitlines():
        fields = line.split("#")[0].strip().split(":")
        if len(fields) != 3 or fields[0] not in wanted:
            continue
        if fields[1].isdecimal() and fields[2].isdecimal() and int(fields[2]) > 0:
            found.append((int(fields[1]), int(fields[2])))
    return tuple(found)


def full(
    uid: int,
    gid: int,
    uid_ranges: tuple[tuple[int, int], ...],
    gid_ranges: tuple[tuple[int, int], ...],
    helpers: tuple[str | None, str | None],
) -> RootlessMap:
    """The user as root inside, followed by the granted ranges from 1 on."""
    return RootlessMap(
        uid_map=_stack(uid, uid_ranges),
        gid_map=_stack(gid, gid_ranges),
        newuidmap=helpers[0],
        newgidmap=helpers[1],
    )


def for_user(uid: int, gid: int | None = None, *, etc: str = "/etc") -> RootlessMap | None:
    """The map this user's containers get: None for root (no namespace needed), ranges where they are granted and
    the helpers installed, otherwise the single map. Reads /etc/subuid, /etc/subgid and the user's name.
    """
    if uid == 0:
        return None
    gid = os.getgid() if gid is None else gid
    helpers = (_helper("newuidmap"), _helper("newgidmap"))
    if None in helpers:
        return single(uid, gid)
    names = _names(uid)
    uids = ranges_in(_read(f"{etc}/subuid"), names)
    gids = ranges_in(_read(f"{etc}/subgid"), names)
    if not uids or not gids:
        return single(uid, gid)
    return full(uid, gid, uids, gids, helpers)


def _stack(first: int, ranges: tuple[tuple[int, int], ...]) -> tuple[IdMap, ...]:
    maps = [IdMap(inside=0, outside=first, count=1)]
    following = 1
    for start, count in ranges:
        if start <= first < start + count:
            continue  # a range that holds the user's own id would map it twice, which the kernel refuses
        maps.append(IdMap(inside=following, outside=start, count=count))
        following += count
    return tuple(maps[:340])


def _short(maps: tuple[IdMap, ...]) -> str:
    return "_".join(f"{m.inside}-{m.outside}-{m.count}" for m in maps)


def _helper(name: str) -> str | None:
    for folder in _TOOLS:
        path = f"{folder}/{name}"
        if os.access(path, os.X_OK):
            return path
    return None


def _names(uid: int) -> tuple[str, ...]:
    import pwd

    try:
        return (pwd.getpwuid(uid).pw_name, str(uid))
    except KeyError:
        return (str(uid),)


def _read(path: str) -> str:
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read()
    except OSError:
        return ""
