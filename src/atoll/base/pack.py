"""The code of the modules that `atoll run` needs, in one file: a third less to import.

Holds: `Pack`, a finder that serves modules from the file, and `save`, which writes it. Does not hold: what a start
does with them (`launch.py`).
Of what importing a module costs here, about a third goes into finding it: a dozen system calls and a path search in
Python for each of seventy. The pack lies beside the bytecode (`__pycache__/`), is written by whoever may write there,
and is trusted just as far; a module is served only while its source has the time and size that it had then, so an
edited or upgraded package is never run from an old pack.
"""

from __future__ import annotations

import marshal
import os
import sys
from _frozen_importlib import ModuleSpec
from _frozen_importlib_external import MAGIC_NUMBER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import CodeType, ModuleType
    from typing import Any

PACKAGE = "atoll"
_HEAD = b"atoll-pack-1" + MAGIC_NUMBER


class Pack:
    """Serves what the file holds and is still true. `missed` names the modules that it should have held."""

    def __init__(self, directory: str, name: str = "run") -> None:
        self.directory = directory
        self.path = f"{directory}/{PACKAGE}/__pycache__/{name}.{sys.implementation.cache_tag}.pack"
        self.missed: list[str] = []
        self._entries: dict[str, Any] = _read(self.path)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """importlib's protocol. None for what is not ours or not held: the usual finders then look."""
        if not name.startswith(PACKAGE):
            return None
        entry = self._entries.get(name)
        if entry is None or not _is_true(f"{self.directory}/{entry[0]}", entry[2]):
            self.missed.append(name)
            return None
        origin = f"{self.directory}/{entry[0]}"
        spec = ModuleSpec(name, self, origin=origin, is_package=entry[1])  # type: ignore[arg-type]
        spec.has_location = True
        if spec.submodule_search_locations is not None:
            spec.submodule_search_locations.append(os.path.dirname(origin))
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """The usual kind of module."""

    def exec_module(self, module: ModuleType) -> None:
        """Run the module's code."""
        exec(marshal.loads(self._entries[module.__name__][3]), module.__dict__)

    def get_code(self, name: str) -> CodeType | None:
        """The code of a module that is held (for tracebacks and the next pack)."""
        entry = self._entries.get(name)
        return marshal.loads(entry[3]) if entry is not None else None

    def get_source(self, name: str) -> str | None:
        """The source, for tracebacks."""
        entry = self._entries.get(name)
        if entry is None:
            return None
        with open(f"{self.directory}/{entry[0]}", encoding="utf-8") as file:
            return file.read()


def _is_true(source: str, known: Any) -> bool:
    try:
        found = os.stat(source)
    except OSError:
        return False
    return known == [found.st_mtime_ns, found.st_size]  # type: ignore[no-any-return]


def _read(path: str) -> dict[str, Any]:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return {}
    try:
        data = os.read(fd, os.fstat(fd).st_size)
        # Whole, and ours, before it is parsed: `marshal` believes any length that it reads.
        if data.startswith(_HEAD) and data.endswith(_HEAD):
            entries: dict[str, Any] = marshal.loads(memoryview(data)[len(_HEAD) :])
            return entries
    except (ValueError, EOFError, TypeError, OSError):  # as if there were none
        pass
    finally:
        os.close(fd)
    return {}


def save(pack: Pack) -> None:
    """Write a pack of all that it held and missed, if this user may; whole or not at all. Never raises OSError."""
    if not pack.missed or sys.dont_write_bytecode or not os.access(os.path.dirname(pack.path), os.W_OK):
        return
    entries: dict[str, Any] = {}
    for name in [*pack._entries, *pack.missed]:
        held = pack._entries.get(name)
        # What another command had put there stays: a pack that served one at a time would be written at each.
        true = held is not None and _is_true(f"{pack.directory}/{held[0]}", held[2])
        entry = held if true else _entry(name, pack.directory)
        if entry is not None:
            entries[name] = entry
    temporary = f"{pack.path}.{os.getpid()}"
    try:
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
        with open(fd, "wb") as file:
            file.write(_HEAD + marshal.dumps(entries) + _HEAD)
        os.rename(temporary, pack.path)
    except OSError:
        try:
            os.unlink(temporary)
        except OSError:
            pass


def _entry(name: str, directory: str) -> list[Any] | None:
    """[source below the directory, is a package, [mtime, size], code], or None for what has no such source now."""
    module = sys.modules.get(name)
    spec = getattr(module, "__spec__", None)
    if spec is None or spec.origin is None or not spec.origin.startswith(f"{directory}/"):
        return None
    if isinstance(spec.loader, Pack):  # its code is of an older source: not to be kept under the time of this one
        return None
    try:
        found = os.stat(spec.origin)
        code = spec.loader.get_code(name)
    except (OSError, ImportError, AttributeError):
        return None
    if code is None:
        return None
    relative = spec.origin.removeprefix(f"{directory}/")
    is_package = spec.submodule_search_locations is not None
    return [relative, is_package, [found.st_mtime_ns, found.st_size], marshal.dumps(code)]
