"""Disks as a source of images: a raw or qcow2 file, its partitions, the ext4 in one of them, as an archive.

Holds: what a disk's file says (`medium.py`, `qcow2.py`), its partitions (`partitions.py`), its files (`ext4.py`), and
the choice of a root with its archive (`archive.py`, where to start). Does not hold: what becomes of it (`engine`).
All of it is somebody else's data, and hostile until proved otherwise: it is read here, in Python, by offsets that are
checked, and never mounted, nor given to a program. No file but the one named is ever opened: a qcow2 that says it
stands on another one is refused (threats.md).
"""
