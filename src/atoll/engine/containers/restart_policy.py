"""`--restart`: when a container that has ended is started again. Pure.

Holds: `parse`. Does not hold: carrying it out.
"""

from __future__ import annotations

from atoll.base import errors

POLICIES = ("no", "always", "unless-stopped", "on-failure")


def parse(text: str) -> tuple[str, int]:
    """Policy and the most restarts (0: no bound) of `always`, `on-failure:3` and so on. Raises InvalidArgument in
    Docker's words."""
    policy, colon, count = text.partition(":")
    if policy not in POLICIES:
        raise errors.InvalidArgument(
            f"invalid restart policy: unknown policy '{policy}'; use one of {', '.join(POLICIES)}"
        )
    if not colon:
        return policy, 0
    if not count.isascii() or not count.isdecimal() or len(count) > 9:
        raise errors.InvalidArgument(
            "invalid restart policy format: maximum retry count must be an integer", hint="e.g. on-failure:5"
        )
    if policy != "on-failure":
        raise errors.InvalidArgument("invalid restart policy: maximum retry count can only be used with 'on-failure'")
    return policy, int(count)
