"""Running the validation programs, and what differs from runc.

Holds: `judge`, `recorded` (who passed what when the table was made), `EXPLAINED`, `table`.
Does not hold: the programs.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from kit.bundle import Runtime
from validation import linux, programs

assert linux.program is programs.program  # imported for what it enters in the list
PROGRAMS = programs.PROGRAMS
RECORDED = Path(__file__).with_name("outcomes.json")

# Where atoll-runtime passes and runc does not, or the other way round: why. Every difference has an entry.
EXPLAINED = {
    "delete": "runc kills and deletes a created container; runtime.md: what is not stopped is not deleted",
    "domainname": "newer than runc 1.1.5",
    "hooks_stdin": "runc runs poststart hooks as part of create and tells them `created`",
    "linux_cgroups_in_use": "runc 1.1.5 puts a second container into the cgroup of the first, with a warning",
    "linux_devices_mismatch": "runc keeps the other device and says nothing",
    "linux_masked_paths_relative": "runc masks nothing and says nothing",
    "linux_ns_time": "newer than runc 1.1.5",
    "linux_personality": "newer than runc 1.1.5",
    "linux_readonly_paths_relative": "runc makes nothing read-only and says nothing",
    "linux_rootfs_propagation_shared": "runc's root is private all the same: it is bound after that",
    "linux_rootfs_propagation_unbindable": "as with shared",
    "linux_seccomp_errno_of_kill": "runc ignores an errno that the action has no use for",
    "misc_props": "runc does not look at ociVersion",
    "mounts": "runc gives a tmpfs the mode of the directory it lies on, whatever its option says",
    "mounts_idmap": "newer than runc 1.1.5",
    "poststart_fail": "runc runs poststart hooks as part of create",
    "poststop_fail": "runc stops at the first poststop hook that fails",
    "process_io_priority": "newer than runc 1.1.5",
    "process_scheduler": "newer than runc 1.1.5",
    "startContainer_fail": "runc's start has gone before the hook runs, and ends with 0",
}


def judge(name: str, runtime: Runtime) -> str:
    """Run one program: "" if it passes, else the first line of what it found."""
    try:
        PROGRAMS[name](runtime)
    except (AssertionError, OSError, ValueError, KeyError, StopIteration) as error:
        lines = (str(error) or type(error).__name__).strip().splitlines()
        return f"{lines[0]} … {lines[-1]}" if len(lines) > 1 else lines[0]
    return ""


def recorded() -> dict[str, dict[str, bool]]:
    """Program → runtime → whether it passed, when the table was made."""
    return dict(json.loads(RECORDED.read_text()))


def differences(results: dict[str, dict[str, bool]]) -> Iterator[str]:
    """Programs on which atoll-runtime and runc disagree."""
    for name, passed in results.items():
        if passed["atoll-runtime"] != passed["runc"]:
            yield name


HEAD = """# The validation programs

Written by `tools/validation_table.py`, do not edit. The programs are those of `tests/validation`: one property of the
runtime-spec each, tried on {versions} on the same bundles.
{counts}.
`tests/integration/test_runtime_validation.py` runs a sample of them on each, and all with `--full`.

| program | runc | crun | atoll-runtime | what is asked, and why runc differs |
|---|---|---|---|---|
"""


def table(results: dict[str, dict[str, bool]], versions: str) -> str:
    """The document."""
    counts = ", ".join(
        f"{peer} passes {sum(passed[peer] for passed in results.values())}"
        for peer in ("runc", "crun", "atoll-runtime")
    )
    lines = [HEAD.format(versions=versions, counts=f"Of {len(results)}, {counts}").rstrip("\n")]
    for name, passed in results.items():
        cells = " | ".join("yes" if passed[peer] else "**no**" for peer in ("runc", "crun", "atoll-runtime"))
        words = (PROGRAMS[name].__doc__ or "").strip().replace("\n    ", " ")
        if name in EXPLAINED:
            words += f" *{EXPLAINED[name]}*"
        lines.append(f"| `{name}` | {cells} | {words} |")
    return "\n".join(lines) + "\n"
