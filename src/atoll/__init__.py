"""Atoll, a complete container stack in Python.

Importing this package costs nothing: it loads no room. `ARCHITECTURE.md` is the map, `atoll.cli` the command line.
"""

__version__ = "0.1.0.dev0"
