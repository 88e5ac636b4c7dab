"""Checkpoint and restore through CRIU: `criu swrk`, spoken to over a socket.

Holds: the messages (`protobuf.py`, `rpc.py`), saving (`dump.py`), bringing back (`restore.py`), what of a container
lies outside of it (`external.py`). Does not hold: the verbs' options (`command/checkpoint.py`).
Start reading at: `rpc.py`, which draws the conversation. Nothing of it is loaded for another verb.
"""
