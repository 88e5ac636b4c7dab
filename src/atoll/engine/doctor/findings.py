"""What an examination finds: values, and the host as it is read.

Holds: `Finding`, the outcomes, `Host` (files below a root and programs: a made-up host in tests).
"""

from __future__ import annotations

import os

from atoll.base import files
from atoll.base.value import Value

GOOD, NOTE, POOR, BAD = "ok", "note", "warning", "missing"
"""It works; worth knowing; something is weaker or slower than it could be; something does not work."""

_SEARCH = (
    "/usr/local/sbin",
    "/usr/local/bin",
    "/usr/sbin",
    "/usr/bin",
    "/sbin",
    "/bin",
    "/usr/libexec",
    "/usr/lib/qemu",
)


class Finding(Value):
    """One line: what was looked at, how it is, in words, and the command that mends it ("" where there is none)."""

    area: str
    title: str
    outcome: str
    said: str
    fix: str = ""


class Host:
    """The host's files below `root`, for the user `uid`."""

    def __init__(self, uid: int, root: str = "") -> None:
        self.uid, self.root = uid, root

    def read(self, path: str) -> str:
        """A file's text without its last newline; "" if it cannot be read."""
        try:
            return files.read_text(self.root + path).strip()
        except (OSError, ValueError):
            return ""

    def number(self, path: str) -> int | None:
        """A file's number, None if there is none."""
        text = self.read(path)
        return int(text) if text.lstrip("-").isdecimal() else None

    def exists(self, path: str) -> bool:
        """Whether something is there."""
        return os.path.exists(self.root + path)

    def program(self, name: str) -> str | None:
        """The path of an installed program."""
        for folder in _SEARCH:
            path = f"{folder}/{name}"
            if os.path.isfile(self.root + path) and os.access(self.root + path, os.X_OK):
                return path
        return None

    def install(self, package: str) -> str:
        """The command that installs one of Debian's packages, or how it is called."""
        if self.program("apt-get"):
            return f"apt-get install {package}"
        return f"install {package} (the name that Debian gives it)"

    def sysctl(self, name: str) -> int | None:
        """A kernel parameter, None where this kernel has none."""
        return self.number("/proc/sys/" + name.replace(".", "/"))
