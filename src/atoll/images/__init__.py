"""Images: the content store, and whatever holds images elsewhere; pulling; the `host` image.

Holds: blobs by digest, sources and destinations (registries, layouts, archives, daemons), the registry client,
credentials, pull, this machine as an image. Does not hold: names and relations of images (rows of the engine),
unpacked layers (`snapshots`), whom to believe (`trust`).
May import: `snapshots`, `spec`, `linux`, `base`.
Start reading at: `source.py`, then `pull.py`; `registry.py` on `transport.py` on `http.py`; `host.py` stands alone.
"""
