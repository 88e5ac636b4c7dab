"""The isolation dial: one seam, several levels behind it.

Holds: the seam (`protocol.py`) and its implementations (`container.py`: our runtime). Does not hold: which level a
container gets (`engine`), images, networks.
May import: monitor, runtime, snapshots, spec, linux, base.
Start reading at: `protocol.py`. `tests/contract/` holds the suite that every implementation passes.
"""
