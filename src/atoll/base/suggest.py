"""A guess at what a mistyped word was meant to be."""

from __future__ import annotations


def distance(a: str, b: str) -> int:
    """How many insertions, removals, changes or swaps of neighbours lead from `a` to `b`."""
    older: list[int] = []
    before = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, older[j - 2] + 1)
            row.append(cost)
        older, before = before, row
    return before[-1]


def nearest(word: str, known: list[str]) -> str | None:
    """The known word that `word` most likely stands for, or None if nothing is near."""
    if len(word) > 60:
        return None
    longer = sorted((one for one in known if one.startswith(word)), key=len) if len(word.strip("-")) > 1 else []
    if longer:
        return longer[0]
    best = min(known, key=lambda one: (distance(word, one), one), default=None)
    if best is None:
        return None
    return best if distance(word, best) <= max(1, len(best) // 3) else None
