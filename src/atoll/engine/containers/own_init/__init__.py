"""A first process of our own for `--init`, where the host has neither catatonit nor tini: a program of machine code.

Holds: `image` (the ELF file for a machine), the program itself (`program.py`). Does not hold: what turns it into
machine code (`base/assembly/`), where it lies and how it gets into a container (`../init_program.py`).

Why machine code: pid 1 stays for as long as the container does, so it should take no memory to speak of (a Python
process takes five megabytes, this one a page of code and one of stack), it runs in whatever root the image brings, so
it can need no library and no interpreter, and installing Atoll takes no compiler.
"""

from __future__ import annotations

from atoll.base.assembly import assemble
from atoll.engine.containers.own_init import program


def image(machine: str) -> bytes | None:
    """The program's file for a machine as uname(2) calls it; None for one that has no such program."""
    return assemble(machine, program.write)
