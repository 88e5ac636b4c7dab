"""The program that runs inside: one static file of machine code and scripts, which needs nothing of any image.

Holds: `image`. Does not hold: where it is put (`../place.py`), who reads what it writes (`../measures/`, `../wall/`).
Start reading at `main.py`, which lists what it can be asked; `script.py` and `interpreter.py` are how it is made.

Why not the host's Python, as the guests of `vm` have it: what is measured are microseconds and pages, an interpreter
of five megabytes would be most of it, and it would have to be mounted into each rung. Why scripts below it: the
code of each machine is then a page that is tested once, and what is measured can be read.
"""

from __future__ import annotations


def image(machine: str) -> bytes:
    """The program's file for a machine as uname(2) calls it. Raises Unsupported for one that has none."""
    from atoll.compare.program.main import Context, write

    context = Context(machine)
    write(context)
    return context.s.image()
