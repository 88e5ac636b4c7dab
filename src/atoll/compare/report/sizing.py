"""`--for "web server, 200 copies"`: whether so many fit, at each rung, from what was measured.

Holds: `Want`, `parse`, `render`. The words before the number are the user's own; only what can be reckoned is taken
from them: how many, and how much memory each needs (`200 copies of 64m`).
"""

from __future__ import annotations

import re

from atoll.base import errors
from atoll.base.value import Value
from atoll.compare.report import numbers
from atoll.compare.rungs.every import RUNGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.compare.values import Comparison

_COPIES = re.compile(r"(\d[\d,_ ]*)\s*(?:×|x\b|copies|copy|instances?|containers?|servers?|machines?|boxes)", re.I)
_SIZE = re.compile(r"\b(\d+(?:\.\d+)?)\s*([kmg])(?:i?b)?\b", re.I)
_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_SPARE = 0.9


class Want(Value):
    """What is asked for: the words, how many, and bytes that a copy itself needs (0: not said)."""

    words: str
    copies: int
    each: int = 0


def parse(text: str) -> Want:
    """Raises InvalidArgument where no number of copies is named."""
    found = _COPIES.search(text)
    if found is None or not (copies := int(re.sub(r"\D", "", found[1]) or 0)):
        raise errors.InvalidArgument(
            f"--for {text!r}: how many copies?", hint='such as --for "web server, 200 copies of 64m"'
        )
    size = _SIZE.search(text[: found.start()] + text[found.end() :])
    each = int(float(size[1]) * _UNITS[size[2].lower()]) if size else 0
    words = (text[: found.start()] + text[found.end() :]).replace(size[0] if size else "\0", "").strip(" ,")
    return Want(words=re.sub(r"(^|\s+)of\b", "", words).strip(" ,") or "a copy", copies=copies, each=each)


def render(found: Comparison, want: Want) -> str:
    """A line a rung, and the strongest that fits. Raises FailedPrecondition without a measurement of memory."""
    memory, fit = found.row("memory"), found.row("fit")
    if memory is None or fit is None:
        raise errors.FailedPrecondition("memory was not measured", hint="add --only memory")
    with_need = f", {numbers.shown(want.each, 'B')} each" if want.each else ""
    lines = [f"{want.words}: {want.copies:,} copies{with_need}", ""]
    best = ""
    for rung in found.shown:
        each, most = memory.cell(rung.name), fit.cell(rung.name)
        if not each.samples or not most.samples:
            lines.append(f"  {rung.title:<30} unknown: {each.reason or most.reason}")
            continue
        processes = most.median if "processes" in most.note else float("inf")
        room = int(min(processes, _free(found) * _SPARE / (each.median + want.each)))
        fits = room >= want.copies
        total = numbers.shown(want.copies * (each.median + want.each), "B")
        words = f"{total} of memory" + _start(found, rung.name, want.copies) + _disk(found, rung.name, want.copies)
        lines.append(f"  {rung.title:<30} {'fits' if fits else 'does not fit'}: {words}; room for {room:,}")
        best = rung.title if fits and rung.name in RUNGS else best  # other engines are no stronger than ours
    lines += ["", f"The strongest that fits: {best}." if best else "It fits nowhere here."]
    if not want.each:
        lines.append('What a copy itself needs was not said, and is not counted: --for "… copies of 64m".')
    lines += [f"Not on this host: {one.title}: {one.reason}" for one in found.missing]
    return "\n".join(lines) + "\n"


def _free(found: Comparison) -> float:
    """Bytes that were available when it was measured."""
    words = found.machine.get("memory available", found.machine.get("memory", "0")).split()
    return float(words[0]) * (1 << 20) if words and words[0].isdecimal() else 0.0


def _start(found: Comparison, name: str, copies: int) -> str:
    row = found.row("start")
    cell = row.cell(name) if row is not None else None
    if cell is None or not cell.samples:
        return ""
    return f", started one after another in {numbers.shown(cell.median * copies, 's')}"


def _disk(found: Comparison, name: str, copies: int) -> str:
    row = found.row("disk")
    cell = row.cell(name) if row is not None else None
    return f", {numbers.shown(cell.median * copies, 'B')} of disk" if cell is not None and cell.samples else ""
