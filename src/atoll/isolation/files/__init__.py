"""Files into and out of a container, as a command drives it.

Holds: the other side of the confined process (`client.py`), the same for a container in a machine (`machine.py`).
Does not hold: what that process does (`runtime/files`; in a guest `guest/files.py`), the verbs (`engine/containers`).
Start reading at: `client.py`, which draws the conversation.
"""
