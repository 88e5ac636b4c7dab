"""Points in time as RFC 3339 text, without `datetime` (its import is a part of every start)."""

from __future__ import annotations

import time

from atoll.base import errors, units

ZERO = "0001-01-01T00:00:00Z"  # Go's zero time, Docker's word for "never"


def rfc3339(ns: int) -> str:
    """UTC with up to nine decimals, trailing zeros dropped (Go's RFC3339Nano). `ns` since the epoch."""
    second, part = divmod(ns, 10**9)
    t = time.gmtime(second)
    shown = f"{t[0]:04d}-{t[1]:02d}-{t[2]:02d}T{t[3]:02d}:{t[4]:02d}:{t[5]:02d}"
    return f"{shown}.{part:09d}".rstrip("0") + "Z" if part else shown + "Z"


def rfc3339_fixed(ns: int) -> str:
    """UTC with all nine decimals, as `docker logs -t` prints it."""
    second, part = divmod(ns, 10**9)
    t = time.gmtime(second)
    return f"{t[0]:04d}-{t[1]:02d}-{t[2]:02d}T{t[3]:02d}:{t[4]:02d}:{t[5]:02d}.{part:09d}Z"


def local(ns: int) -> str:
    """`2024-05-01 12:00:00 +0200 CEST`, as Docker's lists show a point in time."""
    return time.strftime("%Y-%m-%d %H:%M:%S %z %Z", time.localtime(ns // 10**9))


def parse(text: str) -> int:
    """Nanoseconds since the epoch of `2024-05-01T12:00:00[.123][Z|+02:00]`, or of a day or minute alone.

    Without a zone it is local time, as Docker reads it. Raises InvalidArgument.
    """
    wrong = errors.InvalidArgument(
        f"invalid time: '{text}'", hint="write e.g. 2024-05-01T12:00:00Z, 10m or 1714557600"
    )
    body, offset = _split_zone(text)
    day, _, clock = body.partition("T")
    clock, _, part = clock.partition(".")
    try:
        year, month, mday = (int(x) for x in day.split("-"))
        numbers = [int(x) for x in clock.split(":")] if clock else []
        if len(numbers) > 3 or not 1 <= month <= 12 or not 1 <= mday <= 31 or not 1 <= year <= 9999:
            raise wrong
        hour, minute, second = (*numbers, 0, 0, 0)[:3]
        if part and not part.isdecimal():
            raise wrong
        if offset is None:
            whole = int(time.mktime((year, month, mday, hour, minute, second, 0, 0, -1)))
        else:
            whole = _utc(year, month, mday) + hour * 3600 + minute * 60 + second - offset
        return whole * 10**9 + int((part or "0")[:9].ljust(9, "0"))
    except (ValueError, OverflowError):
        raise wrong from None


def _split_zone(text: str) -> tuple[str, int | None]:
    if text.endswith(("Z", "z")):
        return text[:-1], 0
    if len(text) > 16 and text[-3:-2] == ":" and text[-6] in "+-" and (text[-5:-3] + text[-2:]).isdecimal():
        seconds = int(text[-5:-3]) * 3600 + int(text[-2:]) * 60
        return text[:-6], -seconds if text[-6] == "-" else seconds
    return text, None


def _utc(year: int, month: int, day: int) -> int:
    """Seconds since the epoch of a day's start in the proleptic Gregorian calendar."""
    y = year - (month <= 2)
    era = y // 400
    of_era = y - era * 400
    of_year = (153 * (month + (-3 if month > 2 else 9)) + 2) // 5 + day - 1
    return (era * 146097 + of_era * 365 + of_era // 4 - of_era // 100 + of_year - 719468) * 86400


def since(text: str, now_ns: int) -> int:
    """A point in time as `--since` and `--until` take it: a duration back from now, unix seconds, or a date.

    Returns nanoseconds since the epoch. Raises InvalidArgument.
    """
    whole, dot, part = text.partition(".")
    if whole.isdecimal() and (not dot or part.isdecimal()):
        return int(whole) * 10**9 + int((part or "0")[:9].ljust(9, "0"))
    if text[:1].isdecimal() and "-" not in text:
        return now_ns - units.parse_span(text, "time")
    return parse(text)
