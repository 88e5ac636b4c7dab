"""`quick.py` once more as a program of machine code: a warm command need not start an interpreter first.

Holds: `image` (the ELF file for a machine), `keep` (has it where `bin/atoll` finds it). Does not hold: the
conversation (`warm.py` draws it), the operations (`base/assembly/machine.py`).
Start reading at `program.py`; what each step is for is said in `quick.py`, which does the same on every machine.

    thin PYTHON -SI -c BOOT DIRECTORY MODULE WORD…      what `bin/atoll` would have executed, and this in front of it

Without a door, or with one that declines, it executes those words, with a mark that the door need not be asked again.
It may take no library and no compiler, so it is written in the dozen operations that Atoll's own init is written in,
once for all machines, and is assembled by the spawner while nobody waits (a test runs both machines' programs).
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.base.assembly import assemble

FILE = "atoll/__pycache__/thin"
"""Below the package's directory, beside what is compiled: who may write there may write the package."""


def image(machine: str) -> bytes | None:
    """The program's file for a machine as uname(2) calls it; None for one that has no such program."""
    from atoll.cli.thin import program

    return assemble(machine, program.write)


def keep(directory: str) -> None:
    """Have it below the package's directory, where the package's owner can write it; others do with what is there."""
    path = f"{directory}/{FILE}"
    try:
        content = image(os.uname().machine)
        if content is None:
            return
        try:
            if files.read_bytes(path) == content and os.access(path, os.X_OK):
                return
        except FileNotFoundError:
            pass
        files.write_atomic(path, content, mode=0o755)
    except OSError:
        return
