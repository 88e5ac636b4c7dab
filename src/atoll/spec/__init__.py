"""Documents of OCI and Docker as typed frozen values; pure.

Holds: the runtime-spec (`runtime.py`), image index, manifest and configuration (`image.py`), references, digests,
platforms, id maps, a container's root as data (`rootfs.py`); reading and writing their JSON.
Does not hold: any I/O, any default that is policy.
May import: base.
Start reading at: `rootfs.py`, then `runtime.py`; `codec.py` is how JSON becomes a value.
"""
