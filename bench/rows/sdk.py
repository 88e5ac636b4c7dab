"""The SDK in one process: create a container, run `true` in it, collect its output; warm and cold, beside crun alone.

One Python process does all of it (`BODY`): imports and first call are its own, untimed but for the cold figure. The
ratio is of medians: crun is measured in turn with each batch.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Iterator

from bench.harness import alone
from bench.peers.atoll import Atoll
from bench.peers.raw import Raw
from bench.report import Options, Result, judged
from bench.world import BUSYBOX, REPOSITORY, World

TITLE = "SDK: create, run `true`, collect output, in one process"
PEERS = (Atoll, Raw)
GOAL_MS, GOAL_RATIO = 10.0, 1.5
BODY = """
import json, sys, time
began = time.perf_counter()
import atoll
client = atoll.Client()
def once():
    start = time.perf_counter()
    done = atoll.run(sys.argv[1], ["true"], client=client)
    assert done.exit_code == 0, done
    return 1000 * (time.perf_counter() - start)
once()
cold = 1000 * (time.perf_counter() - began)
time.sleep(1.5)  # the spawner has its spares by now
for _ in range(3):
    once()
    time.sleep(0.1)
found = []
for _ in range(int(sys.argv[2])):
    found.append(once())
    time.sleep(float(sys.argv[3]))
print(json.dumps({"cold": cold, "warm": found}))
"""


def measure(world: World, options: Options) -> Iterator[Result | str]:
    """With a pause between two, in which the spawner makes ready again, and without one."""
    try:
        atoll = world.peer(Atoll)
        reference = world.reference(BUSYBOX)
        atoll.run_true(reference)  # pulls
        atoll.end_spawner()
        env = dict(atoll.command().env) | {"PYTHONPATH": os.path.join(REPOSITORY, "src")}
        raw = world.peer(Raw, "crun").run_true()
        for label, pause in (("a pause of 0.1 s between two", "0.1"), ("without a pause", "0")):
            command = ["/usr/bin/python3", "-c", BODY, reference, str(options.pairs), pause]
            told = subprocess.run(command, env=env, capture_output=True, text=True, timeout=300, check=False)
            if told.returncode:
                yield f"sdk: {told.stderr.strip().splitlines()[-1] if told.stderr else 'no word why'}"
                return
            found = json.loads(told.stdout)
            median = statistics.median(found["warm"])
            crun = alone(raw, options.pairs).median * 1000
            met = "met" if median <= GOAL_MS else "MISSED"
            values: dict[str, float | str | None] = {
                "median ms": median,
                "min ms": min(found["warm"]),
                "first call, with the import": found["cold"],
                "crun": crun,
                "ratio": median / crun,
                "goal": f"≤ {GOAL_MS:g} ms: {met}; {judged(median / crun, GOAL_RATIO)}",
            }
            yield Result("sdk", label, values, [round(one, 3) for one in found["warm"]])
    except (OSError, RuntimeError, subprocess.SubprocessError, ValueError) as error:
        yield f"sdk: {error}"
