"""What this host grants, found out by trying, and how to mend what it lacks.

Holds: `findings.py` (what is found, in values), `trials.py` (trying in a child that is thrown away), the checks by
area (`kernel.py`, `users.py`, `storage.py`, `networks.py`, `levels.py`), all of them (`examine.py`), the plan that
hardens a host (`harden.py`). Does not hold: what our own containers may do (`engine/audit`).
Start reading at: `examine.py`.
"""
