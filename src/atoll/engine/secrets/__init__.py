"""Secrets: small values that containers get and nobody else reads, encrypted on disk. Start reading at `vault.py`.

Holds: `vault.py` (the encrypted store), `keys.py` (where its key comes from), the verbs (`manage.py`), `deliver.py`
(into a container at its launch). Cold: nothing here is loaded by a command that has no secret to do with.
"""
