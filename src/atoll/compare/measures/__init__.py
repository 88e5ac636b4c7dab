"""What is measured, a module a subject; each yields rows.

Holds: `life.py` (start, answer, stop), `inside.py` (calls, forks, files, network, processor), `memory.py`, `disk.py`,
`noise.py` (a neighbour), `survival.py`; `rounds.py` is how: A B C, A B C, so that what disturbs this machine disturbs
all rungs alike. Does not hold: the wall (`../wall/`).
"""
