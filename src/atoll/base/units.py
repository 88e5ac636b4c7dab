"""Sizes and spans of time as Docker's users write and read them.

Holds: parsing (`512m`, `1h30m`) and showing (`4.26MB`, `About an hour`). Does not hold: points in time (`clock.py`).
"""

from __future__ import annotations

from atoll.base import errors

_BINARY = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "t": 1 << 40, "p": 1 << 50}
_SPANS = {"ns": 1, "us": 1000, "µs": 1000, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_DECIMAL = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
_DIGITS = frozenset("0123456789")


def _number(text: str) -> int:
    """How many leading characters of `text` are a plain decimal number."""
    at = 0
    while at < len(text) and (text[at] in _DIGITS or text[at] == "."):
        at += 1
    return at


def parse_size(text: str, what: str = "size") -> int:
    """Bytes of `512`, `64k`, `1.5g`, `64MiB`: binary units in either case, as Docker's RAMInBytes reads them.

    Raises InvalidArgument.
    """
    body = text.strip().lower()
    end = _number(body)
    unit = body[end:].strip()
    if len(unit) > 1:
        unit = unit.removesuffix("ib") if unit.endswith("ib") else unit.removesuffix("b")
    wrong = errors.InvalidArgument(f"invalid {what}: '{text}'", hint="write a number with b, k, m, g or t, e.g. 512m")
    if end == 0 or unit not in _BINARY or len(body) > 40:
        raise wrong
    try:
        whole, _, part = body[:end].partition(".")
        size = int(whole or "0") * _BINARY[unit]
        if part:
            size += int(float("0." + part) * _BINARY[unit])
        elif not whole:
            raise wrong
    except ValueError:
        raise wrong from None
    if size > (1 << 63) - 1:
        raise wrong
    return size


def parse_span(text: str, what: str = "duration") -> int:
    """Nanoseconds of a Go duration: `10s`, `1h30m`, `1.5h`, `250ms`. Raises InvalidArgument."""
    wrong = errors.InvalidArgument(f"invalid {what}: '{text}'", hint="write e.g. 30s, 5m or 1h30m")
    rest, total = text.strip(), 0
    if not rest or len(rest) > 60:
        raise wrong
    while rest:
        end = _number(rest)
        unit_end = end
        while unit_end < len(rest) and rest[unit_end] not in _DIGITS and rest[unit_end] != ".":
            unit_end += 1
        unit = rest[end:unit_end]
        if unit not in _SPANS or rest[:end].count(".") > 1 or rest[:end] in ("", "."):
            raise wrong
        whole, _, part = rest[:end].partition(".")
        total += int(whole or "0") * _SPANS[unit] + (int(float("0." + part) * _SPANS[unit]) if part else 0)
        rest = rest[unit_end:]
    return total


def parse_nano_cpus(text: str) -> int:
    """`--cpus`: CPUs times 10^9, as Docker counts them. Raises InvalidArgument."""
    wrong = errors.InvalidArgument(f"invalid number of CPUs: '{text}'", hint="write e.g. 1.5")
    whole, _, part = text.strip().partition(".")
    if not (whole or part) or any(c not in _DIGITS for c in whole + part) or len(part) > 9 or len(whole) > 6:
        raise wrong
    nano = int(whole or "0") * 10**9 + int(part.ljust(9, "0") or "0")
    return nano


def show_size(size: int, digits: int = 3) -> str:
    """Bytes in decimal units with so many significant digits, as `docker images` shows them: `4.26MB`."""
    value, unit = float(size), 0
    while float(f"{value:.{digits}g}") >= 1000 and unit < len(_DECIMAL) - 1:
        value, unit = value / 1000, unit + 1
    return f"{value:.{digits}g}{_DECIMAL[unit]}"


def show_binary(size: int) -> str:
    """Bytes in binary units: `7.77GiB`."""
    value, unit = float(size), 0
    while value >= 1024 and unit < 5:
        value, unit = value / 1024, unit + 1
    return f"{value:.4g}{('B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB')[unit]}"


def show_span(seconds: float) -> str:
    """A span in Docker's words: `5 seconds`, `About an hour`, `3 weeks`."""
    whole = int(seconds)
    if whole < 1:
        return "Less than a second"
    if whole < 60:
        return "1 second" if whole == 1 else f"{whole} seconds"
    minutes = whole // 60
    if minutes < 60:
        return "About a minute" if minutes == 1 else f"{minutes} minutes"
    hours = int(seconds / 3600 + 0.5)
    if hours < 48:
        return "About an hour" if hours == 1 else f"{hours} hours"
    for limit, size, word in ((24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks"), (24 * 730, 24 * 30, "months")):
        if hours < limit:
            return f"{hours // size} {word}"
    return f"{hours // (24 * 365)} years"
