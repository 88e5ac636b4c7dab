"""`checkpoint` and `restore` through CRIU: not yet carried out; the preflight says what this host would lack.

Holds: the verbs' refusal. Does not hold: the calls to CRIU.
"""

from __future__ import annotations

import os

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.command.context import Context


def checkpoint(context: Context, argv: list[str]) -> int:
    """Refused. Raises Unsupported with what blocks it."""
    raise _unsupported(context, "checkpoint")


def restore(context: Context, argv: list[str]) -> int:
    """Refused. Raises Unsupported with what blocks it."""
    raise _unsupported(context, "restore")


def _unsupported(context: Context, verb: str) -> errors.Unsupported:
    program = context.criu or "criu"
    places = os.environ.get("PATH", os.defpath).split(":")
    found = "/" in program or any(os.access(f"{place}/{program}", os.X_OK) for place in places)
    why = (
        "this version of atoll-runtime cannot yet"
        if found
        else f"{program} is not installed, and without it nothing can"
    )
    return errors.Unsupported(f"{verb}: {why} save or restore processes")
