"""Layers unpacked, once per id map, and the writable directories of containers; overlays as plans.

Holds: the store of layers, applying a layer's archive safely, the worker process that does it, plans of overlays.
Does not hold: blobs and registries (`images`), mounting (the runtime executes plans), names (the engine's rows).
May import: `spec`, `linux`, `base`.
Start reading at: `store.py` (what `atoll run` needs, lean), then `apply.py`.
"""
