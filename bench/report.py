"""What a row yields, and how it is shown: Markdown for people, JSON for comparing runs."""

from __future__ import annotations

import datetime
import json
import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from bench.harness import Summary
from bench.peers.atoll import program
from bench.world import REPOSITORY


@dataclass(frozen=True)
class Options:
    """How much to measure."""

    pairs: int = 15
    pull_pairs: int = 3
    memory_containers: int = 1000


@dataclass
class Result:
    """One line of a table. Values are milliseconds unless the column says otherwise; None prints as a dash."""

    row: str
    name: str
    values: dict[str, float | str | None] = field(default_factory=dict)
    samples: list[float] = field(default_factory=list)


def timing(row: str, name: str, summary: Summary, **more: float | str | None) -> Result:
    """Median, minimum and CPU of a summary, in milliseconds."""
    values: dict[str, float | str | None] = {
        "median ms": summary.median * 1000,
        "min ms": summary.minimum * 1000,
        "CPU ms": summary.cpu * 1000,
        "runs": len(summary.samples),
        **more,
    }
    return Result(row, name, values, [round(s.wall * 1000, 3) for s in summary.samples])


def judged(ratio: float, goal: float | None) -> str | None:
    """What the column `goal` says of a ratio."""
    return None if goal is None else f"≤ {goal:g}: {'met' if ratio <= goal else 'MISSED'}"


def table(title: str, results: Sequence[Result]) -> str:
    """A Markdown table with the columns that the results have between them."""
    columns: list[str] = []
    for result in results:
        columns += [c for c in result.values if c not in columns]
    lines = [f"### {title}", "", "| | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    for result in results:
        cells = [_cell(column, result.values.get(column)) for column in columns]
        lines.append(f"| {result.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _cell(column: str, value: float | str | None) -> str:
    if value is None:
        return "–"
    if isinstance(value, str) or column == "runs":
        return str(value)
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def machine() -> dict[str, object]:
    """What the figures depend on."""
    python = _first_line(program(), "--version")
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "commit": _git("rev-parse", "--short", "HEAD") + ("+" if _git("status", "--porcelain", "src") else ""),
        "kernel": platform.release(),
        "cpus": os.cpu_count(),
        "load": round(os.getloadavg()[0], 2),
        "atoll": f"{program()} ({python})",
        "python": _interpreter(),
    }


def _interpreter() -> str:
    """The interpreter behind the atoll that is measured: a pyenv shim would cost 100 ms of its own."""
    places = [os.path.join(os.path.dirname(program()), "python3"), os.path.join(REPOSITORY, ".venv/bin/python3")]
    path = next((os.path.realpath(p) for p in places if os.path.exists(p)), "/usr/bin/python3")
    return f"{path} ({_first_line(path, '--version')})"


def _first_line(*command: str) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except OSError as error:
        return str(error)
    return (answer.stdout or answer.stderr).split("\n")[0]


def _git(*words: str) -> str:
    answer = subprocess.run(["git", "-C", REPOSITORY, *words], capture_output=True, text=True)
    return answer.stdout.strip()


def save(facts: dict[str, object], results: Sequence[Result], problems: Sequence[str], text: str) -> str:
    """Write JSON and Markdown to bench/results/; returns the JSON's path."""
    folder = os.path.join(REPOSITORY, "bench", "results")
    os.makedirs(folder, exist_ok=True)
    stem = os.path.join(folder, str(facts["date"]).replace(":", "").replace("+0000", "Z"))
    with open(stem + ".json", "w") as stream:
        json.dump({"machine": facts, "results": [asdict(r) for r in results], "problems": list(problems)}, stream)
        stream.write("\n")
    with open(stem + ".md", "w") as stream:
        stream.write(text)
    return stem + ".json"
