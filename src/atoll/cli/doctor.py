"""`atoll doctor`: what this host grants, in plain words, and how to mend what it lacks."""

from __future__ import annotations

import sys

from atoll.cli.options import TEXT, Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.base.value import Value
    from atoll.cli.options import Given
    from atoll.engine.doctor.findings import Finding

COMMAND = Command(
    name="doctor",
    usage="doctor [OPTIONS]",
    help="Examine this host: what works here, what does not, and the command that mends it.\n"
    "The exit code is 1 if something that containers need is missing.",
    flags=(
        Flag(name="format", kind=TEXT, help="json, table, or a Go template"),
        Flag(name="harden", help="Print a plan that hardens this host instead"),
        Flag(name="apply", help="With --harden: carry the plan out, and note how it was before"),
        Flag(name="undo", help="With --harden: put back what --apply changed"),
    ),
)


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import errors
    from atoll.cli.wiring import open_engine

    apply, undo = given.on("apply"), given.on("undo")
    if (apply or undo) and not given.on("harden"):
        raise errors.InvalidArgument("--apply and --undo go with --harden")
    if apply and undo:
        raise errors.InvalidArgument("--apply and --undo exclude one another")
    style = given.text("format")
    if given.on("harden"):
        return _harden(style, apply=apply, undo=undo)
    from atoll.engine.doctor.examine import examine, works

    found = examine(open_engine())
    if style is None:
        _page(found)
    else:
        header = ("AREA", "WHAT", "STATE", "FOUND", "TO MEND IT")
        _show(style, found, ("area", "title", "outcome", "said", "fix"), header)
    return 0 if works(found) else 1


def _page(found: list[Finding]) -> None:
    """A heading an area, a line a finding, below it how to mend it."""
    from atoll.cli.display import printable

    wide = max(len(one.title) for one in found)
    area = ""
    for one in found:
        if one.area != area:
            sys.stdout.write(f"{chr(10) if area else ''}{one.area}\n")
            area = one.area
        sys.stdout.write(f"  {one.outcome:<7}  {one.title:<{wide}}  {printable(one.said)}\n")
        if one.fix:
            sys.stdout.write(f"           {'':<{wide}}  -> {printable(one.fix)}\n")


def _harden(style: str | None, *, apply: bool, undo: bool) -> int:
    from atoll.cli.wiring import open_engine
    from atoll.engine.doctor import harden

    engine = open_engine()
    if undo:
        steps = harden.undo(engine)
    elif apply:
        steps = harden.apply(engine)
    else:
        steps = harden.plan()
    keys = ("setting", "now", "wanted", "state", "why")
    _show(style, steps, keys, ("SETTING", "NOW", "WANTED", "STATE", "WHY"))
    return 1 if any(step.state == harden.FAILED for step in steps) else 0


def _show(style: str | None, values: Sequence[Value], keys: tuple[str, ...], header: tuple[str, ...]) -> None:
    from atoll.cli.display import listed

    rows = [{key.title(): str(getattr(value, key)) for key in keys} for value in values]
    columns = [key.title() for key in keys]
    sys.stdout.write(listed(style, rows, columns, dict(zip(columns, header, strict=True))))
