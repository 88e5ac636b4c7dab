"""What the health of a container is judged by: the flags and the image's HEALTHCHECK together. Pure.

Holds: `read`, `merge`. Does not hold: the checks themselves.
"""

from __future__ import annotations

from atoll.base import errors, units
from atoll.engine.requests import Health

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.spec.image import Healthcheck

_LEAST = 1_000_000
_FIELDS = ("test", "interval", "timeout", "start_period", "start_interval", "retries")
ACTIONS = ("none", "kill", "restart", "stop")


def read(
    *,
    command: str | None = None,
    interval: str | None = None,
    timeout: str | None = None,
    start_period: str | None = None,
    start_interval: str | None = None,
    retries: int | None = None,
    on_failure: str | None = None,
    none: bool = False,
) -> Health | None:
    """What the flags say, None if none of them was given. Raises InvalidArgument in Docker's words."""
    spans = {
        "interval": interval,
        "timeout": timeout,
        "start_period": start_period,
        "start_interval": start_interval,
    }
    if on_failure is not None and on_failure not in ACTIONS:
        raise errors.InvalidArgument(
            f"invalid on-failure action {on_failure!r} for health check", hint=f"there are {', '.join(ACTIONS)}"
        )
    other = command or retries or any(spans.values()) or on_failure
    if none:
        if other:
            raise errors.InvalidArgument("--no-healthcheck conflicts with --health-* options")
        return Health(test=("NONE",))
    if not other:
        return None
    if retries is not None and retries < 0:
        raise errors.InvalidArgument("--health-retries cannot be negative")
    times: dict[str, Any] = {}
    for name, text in spans.items():
        flag = "--health-" + name.replace("_", "-")
        if text is not None and text.startswith("-"):
            raise errors.InvalidArgument(f"{flag} cannot be negative")
        times[name] = units.parse_span(text, f"argument for {flag}") if text else 0
        if 0 < times[name] < _LEAST:
            raise errors.InvalidArgument(f"{flag} cannot be less than 1ms")
    acts = "" if on_failure in (None, "none") else on_failure or ""
    return Health(test=("CMD-SHELL", command) if command else (), retries=retries or 0, on_failure=acts, **times)


def merge(given: Health | None, image: Healthcheck | None) -> Health | None:
    """The flags over the image's; None where nothing checks. What an image's author wrote wrongly (a negative time,
    an unknown kind of test) counts as not given. Raises InvalidArgument for flags without a command."""
    base = _of_image(image) if image is not None else None
    if given is None:
        return base if base is not None and base.test and base.test[0] != "NONE" else None
    if given.test and given.test[0] == "NONE":
        return None
    merged = given
    if base is not None:
        pairs = {name: getattr(given, name) or getattr(base, name) for name in _FIELDS}
        merged = given.replace(**pairs)
    if not merged.test or merged.test[0] == "NONE":
        if merged.on_failure:
            raise errors.InvalidArgument(
                f"cannot set on-failure action to {merged.on_failure} without a health check"
            )
        return None
    return merged


def _of_image(image: Healthcheck) -> Health | None:
    words = image.test
    sound = (
        words[:1] == ("NONE",)
        or (words[:1] == ("CMD",) and len(words) > 1)
        or (words[:1] == ("CMD-SHELL",) and len(words) == 2)
    )
    if not sound:
        return None
    times = {name: getattr(image, name) for name in _FIELDS[1:-1]}
    sound_times: dict[str, Any] = {name: value if value >= _LEAST else 0 for name, value in times.items()}
    return Health(test=words, retries=max(0, min(image.retries, (1 << 31) - 1)), **sound_times)
