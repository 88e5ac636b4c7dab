"""The rungs of the ladder and the other engines: each starts, stops and removes a copy of the program its own way.

Holds: `Way` (`way.py`) and its kinds: the bare program (`plain.py`), documents for an OCI runtime (`bundles.py`),
levels of this Atoll (`levels.py`), engines with a command like Docker's (`engines.py`); `every` and `find_runtimes`
(`every.py`). Start reading at `way.py`.
"""
