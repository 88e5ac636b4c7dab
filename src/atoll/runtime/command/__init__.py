"""The command `atoll-runtime`: runc's command line on this room's functions.

Holds: parsing (`options.py`), one module for each family of verbs, the log and error forms (`report.py`).
Does not hold: any step of a container's life (`../create.py` and its neighbours).
Start reading at: `../main.py`, whose table says which function serves a verb.
"""
