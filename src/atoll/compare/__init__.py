"""compare: the same image at each strength of isolation and in each engine of this host, measured and probed.

Holds: `compare` (`compare.py`), the rungs (`rungs/`), what is measured (`measures/`), how the wall is probed
(`wall/`), the small program that does the work inside (`program/`), and what is made of the results (`report/`).
Does not hold: any way of its own to isolate: rungs below `container` are documents for our own OCI runtime that lack
what the next one adds, levels are `atoll run --isolation …`, other engines are their own commands.
May import: engine, isolation (which levels there are), runtime (the numbers of system calls), spec, linux, base.
Start reading at: `compare.py`.

Everything happens in a store of its own, below the data root, and for root in a network and a mount namespace of its
own: containers, images, networks and the host's firewall are left alone. It is cold code: it may import anything.
"""
