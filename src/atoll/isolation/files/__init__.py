"""Files into and out of a container, as a command drives it.

Holds: the other side of the confined process (`client.py`). Does not hold: what that process does (`runtime/files`),
the verbs (`engine/containers/copy.py`).
"""
