"""audit limits: tampering behind the engine's back is found, noted and put right."""

from __future__ import annotations

import glob
import os

from kit.command import Atoll


def places(pid: object) -> dict[str, str]:
    """The container's directory by controller."""
    found = {}
    with open(f"/proc/{pid}/cgroup") as file:
        for line in file:
            _, kinds, path = line.strip().split(":", 2)
            for kind in kinds.split(","):
                place = f"/sys/fs/cgroup/{kind}{path}" if kind else f"/sys/fs/cgroup{path}"
                found[kind] = place
    return found


def write(text: str, *candidates: str) -> None:
    path = next(one for one in candidates if os.path.exists(one))
    with open(path, "w") as file:
        file.write(text)


def test_what_was_rewritten_and_moved_out(atoll: Atoll, busybox: str):
    name = atoll.good(
        "run", "-d", "-m", "64m", "--pids-limit", "50", "--cpus", "0.5", busybox, "sh", "-c", "sleep 100 & wait"
    )
    assert atoll.good("audit", "limits") == "", "nothing is wrong with what was just made"
    pid = atoll.state(name)["Pid"]
    own = places(pid)
    whole = own.get("", "/none")
    write("30", own.get("pids", whole) + "/pids.max", whole + "/pids.max")
    write(str(32 << 20), own.get("memory", whole) + "/memory.limit_in_bytes", whole + "/memory.max")
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        child = file.read().split()[0]
    outside = os.path.dirname(own.get("pids", whole))
    write(child, outside + "/cgroup.procs")
    found = atoll("audit", "limits", "--format", "{{.Limit}} {{.Repaired}} {{.Finding}}").failed(1)
    result = atoll("audit", "limits", "--format", "{{.Limit}} {{.Repaired}} {{.Finding}}")
    assert result.code == 1
    lines = result.out.strip().split("\n")
    assert sorted(line.split()[0] for line in lines) == ["memory", "pids", "processes"], found
    assert "asked for 64MiB, the kernel has 32MiB" in result.out
    assert f"process {child} was moved out" in result.out
    repaired = atoll("audit", "limits", "--repair", "--format", "{{.Repaired}}")
    assert (repaired.code, set(repaired.out.split())) == (0, {"yes"})
    assert atoll.good("audit", "limits") == ""
    assert places(child) == own
    events = atoll.good("events", "--since", "10m", "--until", "0s", "--format", "{{.Action}}")
    assert {"audit", "audit-repair"} <= set(events.split())
    atoll.good("rm", "-f", name)


def test_an_ancestor_that_allows_less_is_told(atoll: Atoll, busybox: str):
    name = atoll.good(
        "run", "-d", "--pids-limit", "50", "--cgroup-parent", "/atoll-audit-test", busybox, "sleep", "100"
    )
    own = places(atoll.state(name)["Pid"])
    parent = os.path.dirname(own.get("pids", own.get("", "/none")))
    write("20", parent + "/pids.max")
    result = atoll("audit", "limits", "--repair")
    assert result.code == 1
    assert "/atoll-audit-test allows 20 processes at most" in result.out
    atoll.good("rm", "-f", name)
    for place in (*glob.glob("/sys/fs/cgroup/*/atoll-audit-test"), *glob.glob("/sys/fs/cgroup/atoll-audit-test")):
        os.rmdir(place)
