"""What all tests share: their order, the two tiers, the seed, and the rule that a skip is on the list.

- Stages run in the order unit, gates, contract, integration; the marker comes from the folder.
- `--full` runs whole matrices (`.ci/full`); without it `sample` picks from them, by a seed that is printed.
- `--strict-skips` (`.ci/run`) turns every skip that `tests/allowed-skips.txt` does not name into a failure.
"""

from __future__ import annotations

import fnmatch
import os
import random
import signal
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

TESTS = Path(__file__).resolve().parent
STAGES = ("unit", "gates", "contract", "integration")
T = TypeVar("T")
# Set before any other conftest is read, so that there is one seed and a child process has the same.
os.environ.setdefault("ATOLL_TEST_SEED", str(random.SystemRandom().randrange(10**9)))


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("atoll")
    group.addoption("--full", action="store_true", help="whole matrices instead of samples")
    group.addoption("--strict-skips", action="store_true", help="a skip not in tests/allowed-skips.txt fails")


def pytest_configure(config: pytest.Config) -> None:
    # A shell's background job ignores the interrupt, and so would every program that the tests start and interrupt.
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    config.stash[SEED] = int(os.environ["ATOLL_TEST_SEED"])
    config.stash[ALLOWED] = allowed_skips(TESTS / "allowed-skips.txt")
    import hypothesis
    import hypothesis.core

    hypothesis.settings.register_profile("sampled", deadline=None)
    hypothesis.settings.register_profile("full", deadline=None, max_examples=2000)
    hypothesis.settings.load_profile("full" if config.getoption("--full") else "sampled")
    hypothesis.core.global_force_seed = config.stash[SEED]


SEED = pytest.StashKey[int]()
ALLOWED = pytest.StashKey[list[tuple[str, str]]]()


def pytest_report_header(config: pytest.Config) -> str:
    tier = "full" if config.getoption("--full") else "sampled"
    return f"atoll: {tier} matrices, ATOLL_TEST_SEED={config.stash[SEED]}"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark by folder, order by stage, leave out what only the full tier runs."""
    for item in items:
        item.add_marker(_stage(item))
    items.sort(key=lambda item: STAGES.index(_stage(item)))
    if not config.getoption("--full"):
        whole = [item for item in items if item.get_closest_marker("full")]
        config.hook.pytest_deselected(items=whole)
        items[:] = [item for item in items if not item.get_closest_marker("full")]


def _stage(item: pytest.Item) -> str:
    folder = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else "unit"
    return folder if folder in STAGES else "unit"


@pytest.fixture(scope="session")
def seed(pytestconfig: pytest.Config) -> int:
    """The seed of this run, as printed in its header."""
    return pytestconfig.stash[SEED]


@pytest.fixture
def rng(seed: int, request: pytest.FixtureRequest) -> random.Random:
    """A random source that depends on the seed and the test's name only, so that one test can be repeated alone."""
    return random.Random(f"{seed}:{request.node.nodeid}")


@pytest.fixture
def sample(pytestconfig: pytest.Config, rng: random.Random) -> Callable[[Sequence[T], int], list[T]]:
    """`sample(matrix, n)`: n members in their order, or all of them with `--full`."""

    def choose(matrix: Sequence[T], count: int) -> list[T]:
        if pytestconfig.getoption("--full") or count >= len(matrix):
            return list(matrix)
        return [matrix[index] for index in sorted(rng.sample(range(len(matrix)), count))]

    return choose


def allowed_skips(path: Path) -> list[tuple[str, str]]:
    """The list's entries: a pattern for the test and one for the reason, both as a shell's (fnmatch)."""
    entries = []
    for line in path.read_text().splitlines():
        text = line.partition("#")[0].strip()
        if text:
            test, _, reason = text.partition(" | ")
            entries.append((test.strip(), reason.strip()))
    return entries


def is_allowed(entries: list[tuple[str, str]], nodeid: str, reason: str) -> bool:
    """Whether the list names this test with this reason."""
    return any(
        fnmatch.fnmatchcase(nodeid, test.replace("[", "[[]")) and fnmatch.fnmatchcase(reason, why)
        for test, why in entries
    )


def _judge(report: Any, config: pytest.Config) -> None:
    """Make a skip (or an expected failure) that is not on the list a failure."""
    if not report.skipped or not config.getoption("--strict-skips"):
        return
    reason = getattr(report, "wasxfail", None)
    if reason is None:
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    reason = reason.removeprefix("Skipped: ").removeprefix("reason: ")
    if not is_allowed(config.stash[ALLOWED], report.nodeid, reason):
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and tests/allowed-skips.txt does not allow it: {reason}"
        if hasattr(report, "wasxfail"):
            del report.wasxfail


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _judge(report, item.config)
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _judge(report, collector.config)
    return report
