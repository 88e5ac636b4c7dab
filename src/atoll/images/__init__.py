"""Images: the content store, registries, pulling, and the `host` image.

Holds: blobs by digest, the registry client, pull, this machine as an image. Does not hold: names and relations of
images (rows of the engine), unpacked layers (`snapshots`).
May import: `snapshots`, `spec`, `linux`, `base`.
Start reading at: `pull.py`; `host.py` stands alone.
"""
