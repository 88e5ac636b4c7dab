"""Spawner and monitors: the processes that keep containers company.

Holds: the wire (`protocol.py`, `requests.py`, `sockets.py`), the spawner, the monitor and exec sessions with their
relay of stdio, logs and exit records, the client that talks to them. Does not hold: what to do about an exit
(restart, clean-up: `engine`, run as a command), how a container is made (`runtime`).
May import: runtime, spec, linux, base.
Start reading at: the drawing in `protocol.py`, then `monitor.py`.
"""
