"""The validation programs (`tests/validation`) on atoll-runtime, beside what runc and crun do with them.

A sample runs on each, to see that the record still holds; with `--full` all of them.
`tools/validation_table.py` sets ATOLL_VALIDATION_RECORD, which writes the record anew.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from kit import peers
from kit.bundle import Runtime
from validation.outcomes import EXPLAINED, PROGRAMS, RECORDED, differences, judge, recorded

RECORD = "ATOLL_VALIDATION_RECORD"  # in the environment of tools/validation_table.py
Make = Callable[[str], Runtime]


@pytest.fixture
def runtime_of(sandbox: Any, leak_check: None) -> Iterator[Make]:
    """A function that gives a runtime by its name, cleared in the end."""
    made: list[Runtime] = []

    def make(name: str) -> Runtime:
        made.append(peers.judged(name, os.path.join(sandbox.scratch, f"validate-{name}-{len(made)}")))
        return made[-1]

    yield make
    for one in made:
        peers.close(one)


def test_programs(runtime_of: Make, sample: Callable[[Sequence[str], int], list[str]]):
    """atoll-runtime passes whatever it passed, and whatever a peer passes here."""
    runtime = runtime_of("atoll-runtime")
    for name in sample(list(PROGRAMS), 20):
        found = judge(name, runtime)
        runtime.clear()
        if any(recorded()[name].values()):
            assert not found, name


def test_the_record_of_the_peers_holds(runtime_of: Make, sample: Callable[[Sequence[str], int], list[str]]):
    for peer in ("runc", "crun"):
        runtime = runtime_of(peer)
        for name in sample(list(PROGRAMS), 6):
            found = _judged(name, runtime, passes=recorded()[name][peer])
            assert (not found) == recorded()[name][peer], f"{peer}, {name}: {found}"


def _judged(name: str, runtime: Runtime, *, passes: bool) -> str | None:
    """What a peer is found to do wrong, at the third time: crun, which passes "hooks", now and then writes a state to
    one that has ended."""
    for _ in range(3):
        found = judge(name, runtime)
        runtime.clear()
        if not passes or not found:
            break
    return found


@pytest.mark.full
@pytest.mark.timeout(600)
def test_every_runtime_on_every_program(runtime_of: Make):
    runtimes = {name: runtime_of(name) for name in peers.NAMES}
    results: dict[str, dict[str, bool]] = {}
    for program in PROGRAMS:
        results[program] = {}
        for name, runtime in runtimes.items():
            results[program][name] = not (found := judge(program, runtime))
            print(f"{program}: {name}: {found or 'passed'}")
            runtime.clear()
    if RECORD in os.environ:
        RECORDED.write_text(json.dumps(results, indent=1) + "\n")
    else:
        assert results == recorded()


def test_every_difference_from_runc_is_explained():
    assert set(differences(recorded())) == set(EXPLAINED)
    lost = [name for name, passed in recorded().items() if not passed["atoll-runtime"] and any(passed.values())]
    assert not lost, "a peer passes what atoll-runtime does not"
