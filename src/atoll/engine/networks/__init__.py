"""Networks: which there are, who is on them with which address, and when that is made so.

Holds: the records (`records.py`) and rows (`rows.py`), the verbs a file each, the two moments of a container's life
that concern networks (`attach.py` before and after its processes are made, `release.py` after their end). Does not
hold: links, filters, names themselves (`atoll.network`). Start reading at `attach.py`.
"""
