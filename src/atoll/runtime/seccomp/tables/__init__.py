"""Names and numbers of Linux system calls, one module per architecture, imported only when a filter is compiled.

Holds: `numbers`, the reader of the generated modules beside it. Does not hold: x32's marker bit (see `arches.py`).
The modules are written by `tools/syscall_tables.py`.
"""

from __future__ import annotations


def numbers(arch: str) -> dict[str, int]:
    """Name to number for "x86_64", "x32", "i386", "aarch64" or "arm". Raises KeyError on another name."""
    if arch == "x86_64":
        from atoll.runtime.seccomp.tables.x86_64 import NUMBERS
    elif arch == "x32":
        from atoll.runtime.seccomp.tables.x32 import NUMBERS
    elif arch == "i386":
        from atoll.runtime.seccomp.tables.i386 import NUMBERS
    elif arch == "aarch64":
        from atoll.runtime.seccomp.tables.aarch64 import NUMBERS
    elif arch == "arm":
        from atoll.runtime.seccomp.tables.arm import NUMBERS
    else:
        raise KeyError(arch)
    found: dict[str, int] = {}
    count = 0
    for word in NUMBERS.split():
        if word[0].isdigit():
            count = int(word)
        else:
            found[word] = count
            count += 1
    return found
