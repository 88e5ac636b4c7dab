"""Atoll measured against its peers, side by side.

Holds: `harness` (spawn, wait, pairs), `world` (the corner all of it runs in), `peers/` (one file per engine),
`rows/` (one file per question), `report` (Markdown and JSON). Does not hold: anything the product imports.
Start reading at: `__main__.py`, then one file of `rows/`.
"""
