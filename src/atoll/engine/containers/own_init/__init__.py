"""A first process of our own for `--init`, where the host has neither catatonit nor tini: a program of machine code.

Holds: `image` (the ELF file for a machine), the program itself (`program.py`, written once in operations that every
machine has), what turns these into machine code (`x86_64.py`, `aarch64.py`), the file around it (`elf.py`). Does not
hold: where it lies and how it gets into a container (`../init_program.py`).
Start reading at `program.py`.

Why machine code: pid 1 stays for as long as the container does, so it should take no memory to speak of (a Python
process takes five megabytes, this one a page of code and one of stack), it runs in whatever root the image brings, so
it can need no library and no interpreter, and installing Atoll takes no compiler.
"""

from __future__ import annotations

from atoll.engine.containers.own_init import elf, program

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.containers.own_init.machine import Machine


def image(machine: str) -> bytes | None:
    """The program's file for a machine as uname(2) calls it; None for one that has no such program."""
    return assemble(machine, program.write)


def assemble(machine: str, write: Callable[[Machine], None]) -> bytes | None:
    """The file of what `write` writes in the operations of `machine.py`; None for a machine that has no such code."""
    made: Machine
    if machine == "x86_64":
        from atoll.engine.containers.own_init.x86_64 import X86

        made = X86()
    elif machine == "aarch64":
        from atoll.engine.containers.own_init.aarch64 import Arm

        made = Arm()
    else:
        return None
    write(made)
    return elf.file(made.NUMBER, made.code())
