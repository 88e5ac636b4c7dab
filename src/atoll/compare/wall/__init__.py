"""The wall itself: what of the host's kernel can be seen and reached from inside.

Holds: `measure` (`look.py`), the counting of system calls (`calls.py`), the known ways out (`trials.py`), what
`/proc` and `/sys` show (`files.py`). Does not hold: the probing scripts, which run inside (`../program/`).
"""
