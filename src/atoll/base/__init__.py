"""What every room stands on: errors, immutable values, undo, files, identifiers, lean JSON.

Holds: the exception tree, `Value`, `Rollback`, atomic files and locks, ids, JSON without `re`, and how small programs
are assembled (`assembly/`).
Does not hold: system calls (`linux`), any policy, anything about containers.
May import: the standard library's cheap modules only; nothing of Atoll.
Start reading at: `errors.py`, `value.py`.
"""
