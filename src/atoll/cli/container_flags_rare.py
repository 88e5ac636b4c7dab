"""The flags of `run` and `create` that a usual command line goes without; read as text, judged by the engine.

Holds: `FLAGS` and `read`, which gives the fields of the request. Does not hold: those of every day
(`container_flags.py`).
"""

from __future__ import annotations

from atoll.cli.options import NUMBER, TEXT, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.cli.options import Given

FLAGS = (
    Flag(name="health-cmd", kind=TEXT, help="Command that checks the container's health"),
    Flag(name="health-interval", kind=TEXT, what="duration", help="Time between two checks, e.g. 30s"),
    Flag(name="health-retries", kind=NUMBER, what="int", help="Failures in a row that make it unhealthy"),
    Flag(name="health-start-interval", kind=TEXT, what="duration", help="Time between two checks while it starts"),
    Flag(name="health-start-period", kind=TEXT, what="duration", help="Time to start, in which failures don't count"),
    Flag(name="health-timeout", kind=TEXT, what="duration", help="Most time that one check may take"),
    Flag(name="no-healthcheck", help="Do without the image's HEALTHCHECK"),
)


def read(given: Given) -> dict[str, Any]:
    """The request's fields for the flags here. Raises UsageError and InvalidArgument."""
    from atoll.engine.containers import health_request

    return {
        "health": health_request.read(
            command=given.text("health-cmd"),
            interval=given.text("health-interval"),
            timeout=given.text("health-timeout"),
            start_period=given.text("health-start-period"),
            start_interval=given.text("health-start-interval"),
            retries=given.number("health-retries"),
            none=given.on("no-healthcheck"),
        )
    }
