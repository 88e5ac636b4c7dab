"""System calls: which numbers pass every filter and are there.

Holds: `Reached`, `reached`. Does not hold: how they were tried (`../program/calls.py`, which says why an answer means
what it is taken for here).
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.compare.program.calls import NOT_TRIED, SIGNALLED, UNTRIED

_ENOSYS = 38
_LEAVES = frozenset(("exit", "exit_group"))
"""They end the child before it can tell; no filter of a living program refuses them."""
_PAST_FILTERS = frozenset(("uretprobe", "uprobe"))
"""The kernel's own, which it answers before filters are asked and only to itself."""


class Reached(Value):
    """Names of calls by what became of them."""

    passed: tuple[str, ...]
    refused: tuple[str, ...]
    absent: tuple[str, ...]


def reached(answers: bytes, names: dict[str, int], first: int = 0) -> Reached:
    """Sort the names by three bytes a number: those that pass every filter and exist in the kernel that answers;
    those that a filter refuses; those that this kernel does not have."""
    passed, refused, absent = [], [], []
    for name, number in sorted(names.items(), key=lambda one: one[1]):
        at = 3 * (number - first)
        if at < 0 or at + 3 > len(answers) or name in _PAST_FILTERS:
            continue
        filtered, really = answers[at : at + 2], answers[at + 2]
        if name in _LEAVES:
            passed.append(name)
        elif _ENOSYS not in filtered and SIGNALLED not in filtered:
            refused.append(name)
        elif really == _ENOSYS and name not in UNTRIED:
            absent.append(name)
        else:
            assert really != NOT_TRIED or name in UNTRIED or SIGNALLED in filtered
            passed.append(name)
    return Reached(passed=tuple(passed), refused=tuple(refused), absent=tuple(absent))
