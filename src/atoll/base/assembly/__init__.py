"""Small programs of machine code, for where no interpreter and no library can be, and installing takes no compiler.

Holds: `assemble` (the ELF file of a program), the operations in which such programs are written once for all
machines (`machine.py`), what turns these into machine code (`x86_64.py`, `aarch64.py`), the file around it
(`elf.py`). Does not hold: the programs, which lie with those who need them.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.base.assembly.machine import Machine


def assemble(machine: str, write: Callable[[Machine], None]) -> bytes | None:
    """The file of what `write` writes in the operations of `machine.py`; None for a machine that has no such code."""
    from atoll.base.assembly import elf

    made: Machine
    if machine == "x86_64":
        from atoll.base.assembly.x86_64 import X86

        made = X86()
    elif machine == "aarch64":
        from atoll.base.assembly.aarch64 import Arm

        made = Arm()
    else:
        return None
    write(made)
    return elf.file(made.NUMBER, made.code())
