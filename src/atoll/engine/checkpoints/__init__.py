"""Checkpoints: machines of containers saved while they run, gone on with, copied, moved.

Holds: `store.py` (where they are), `save.py`, `restore.py`, `fork.py`, `export.py` and `import_.py` (archives, whose
form `archive.py` knows), `copies.py` (a further container of the same kind). Does not hold: how a machine is saved
(`guest/saving.py`, `isolation/vm_saving.py`).
Start reading at: `save.py`; docs/checkpoint.md explains the whole to users.
"""
