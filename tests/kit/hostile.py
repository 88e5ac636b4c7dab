"""Machines whose agent means harm: a store like `vm.store`'s, with another first program in its guests.

Holds: `store`, `BEFORE` and `AFTERWARDS` (names of lies that end their machine). Does not hold: the lies
(`hostile_agent.py`), which are told in the guest.
"""

from __future__ import annotations

import os
import shutil
import subprocess

from atoll.vm.closure import closure, planned
from atoll.vm.qemu import PROGRAM
from kit import hostile_agent

BEFORE = tuple([name for name in (*hostile_agent.BEFORE, *hostile_agent.RUNNING) if name not in ("silence", "pour")])
AFTERWARDS = tuple(hostile_agent.AFTERWARDS)


def store(real: str, place: str) -> str:
    """A directory to be a data root's `vm`, made at `place`: the kernel and the jail of `real`, and a guest whose
    agent is the liar. A template of it is made by whoever starts the first machine."""
    honest = closure(real, PROGRAM)
    made = planned(place, PROGRAM)
    os.makedirs(os.path.dirname(made.agent), mode=0o711)
    os.symlink(f"{real}/kernels", f"{place}/kernels")
    os.symlink(honest.jail, made.jail)
    tree = f"{place}/agent"
    left_out = shutil.ignore_patterns("qemu*", "virtiofsd")
    shutil.copytree(honest.jail, tree, symlinks=True, ignore=left_out)
    with open(hostile_agent.__file__) as source, open(f"{tree}/init", "w") as stream:
        stream.write(f"#!{made.python} -SI\n{source.read()}")
    os.chmod(f"{tree}/init", 0o755)
    subprocess.run(["mkfs.erofs", "-T0", made.agent, tree], check=True, capture_output=True)
    shutil.rmtree(tree)
    os.chmod(made.agent, 0o644)
    return place
