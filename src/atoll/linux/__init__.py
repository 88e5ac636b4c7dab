"""The kernel's interfaces, named as in the man pages: the only room with ctypes, ioctl and netlink.

Holds: system calls (mounts, namespaces, processes, capabilities, seccomp, terminals), the `Root` handle.
Does not hold: any policy, any notion of a container.
May import: base (nothing else of Atoll).
Raises: OSError(errno, text, subject), never AtollError; the caller knows what was being tried.
Start reading at: `libc.py`, then `mount.py`, `process.py`, `root.py`.
"""
