"""A distribution's kernel, with its configuration and modules: in a Debian package, or as this host has it installed.

Holds: `Package`, `Installed`, each with `kernel`, `config` and `modules`. Does not hold: what is made of them
(`kernel.py`, `initrd.py`). Source: deb(5), an ar(5) archive with a tar archive in it. Modules may be compressed, each
by itself (`.ko.xz`, `.ko.gz`).
"""

from __future__ import annotations

import os

from atoll.base import errors, files
from atoll.vm.initrd import depends, normal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LARGEST = 256 << 20
ROOT = ""
"""Where a host's own files are."""
MODULES = "lib/modules/"
_ENDINGS = (".ko", ".ko.xz", ".ko.gz", ".ko.zst")


class Package:
    """A `.deb`'s content. Raises InvalidArgument for one without a kernel, Corrupt."""

    def __init__(self, data: bytes, name: str) -> None:
        self._name, self._tar = name, _member(data, name)
        found = self._read(lambda path: path.startswith(("boot/vmlinuz", "boot/config")))
        kernels = [content for path, content in found.items() if path.startswith("boot/vmlinuz")]
        if not kernels:
            raise errors.InvalidArgument(f"{name} holds no /boot/vmlinuz")
        self.kernel = kernels[0]
        configs = [content for path, content in found.items() if path.startswith("boot/config")]
        self.config = configs[0].decode(errors="replace") if configs else None

    def modules(self, names: Iterable[str]) -> dict[str, bytes]:
        """The modules of these names and all that they depend on. Raises NotFound, Corrupt, Unsupported."""
        found: dict[str, bytes] = {}
        missing = set(names)
        while missing:
            read = self._read(lambda path, wanted=missing: _module(path) in wanted)  # type: ignore[misc]
            found |= {_module(path): _plain(content, path) for path, content in read.items()}
            absent = missing - found.keys()
            if absent:
                raise errors.NotFound(f"{self._name} has no module {', '.join(sorted(absent))}")
            missing = {one for name in missing for one in depends(found[name])} - found.keys()
        return found

    def _read(self, wanted: Callable[[str], bool]) -> dict[str, bytes]:
        """Files by their paths without a leading slash, in one pass: the archive is compressed as a whole."""
        import io
        import tarfile

        found = {}
        try:
            with tarfile.open(fileobj=io.BytesIO(self._tar)) as archive:
                for one in archive:
                    path = one.name.lstrip("./")
                    if one.isfile() and wanted(path.removeprefix("usr/")) and one.size <= LARGEST:
                        stream = archive.extractfile(one)
                        assert stream is not None
                        found[path.removeprefix("usr/")] = stream.read()
        except (tarfile.TarError, OSError, EOFError) as error:
            raise errors.Corrupt(f"{self._name}: {error}") from None
        return found


class Installed:
    """What this host has for a release as uname(2) calls it. Raises NotFound, Unsupported."""

    def __init__(self, release: str) -> None:
        root = ROOT
        self.path = f"{root}/boot/vmlinuz-{release}"
        if not os.path.isfile(self.path):
            raise errors.NotFound(
                f"this host's kernel is not at {self.path}", hint="atoll vm kernel install --from FILE"
            )
        try:
            self.config = files.read_text(f"{root}/boot/config-{release}")
        except OSError as error:
            raise errors.Unsupported(f"nothing says what is built into {self.path}: {error.strerror}") from None
        self._folder = f"{root}/{MODULES}{release}"

    def modules(self, names: Iterable[str]) -> dict[str, bytes]:
        """As `Package.modules`."""
        paths = {}
        for folder, _, here in os.walk(f"{self._folder}/kernel"):
            paths.update({_module(f"{MODULES}{name}"): f"{folder}/{name}" for name in here})
        found: dict[str, bytes] = {}
        waiting = list(names)
        while waiting:
            name = waiting.pop()
            if name in found:
                continue
            if name not in paths:
                raise errors.NotFound(f"{self._folder} has no module {name}")
            found[name] = _plain(files.read_bytes(paths[name]), paths[name])
            waiting += depends(found[name])
        return found


def _member(data: bytes, name: str) -> bytes:
    """The tar archive of files."""
    position = 8
    while position + 60 <= len(data):
        header = data[position : position + 60]
        try:
            size = int(header[48:58])
        except ValueError:
            raise errors.Corrupt(f"{name}: a damaged ar archive") from None
        if size < 0:
            raise errors.Corrupt(f"{name}: a damaged ar archive")
        if header.startswith(b"data.tar"):
            return data[position + 60 : position + 60 + size]
        position += 60 + size + size % 2
    raise errors.InvalidArgument(f"{name} holds no files")


def _module(path: str) -> str:
    """The name of the module that a file is, or ""."""
    if not path.startswith(MODULES):
        return ""
    base = path.rpartition("/")[2]
    for ending in _ENDINGS:
        if base.endswith(ending):
            return normal(base.removesuffix(ending))
    return ""


def _plain(content: bytes, path: str) -> bytes:
    import lzma
    import zlib

    try:
        if path.endswith(".xz"):
            return lzma.decompress(content)
        if path.endswith(".gz"):
            return zlib.decompress(content, 31)
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise errors.Corrupt(f"{path}: {error}") from None
    if path.endswith(".zst"):
        raise errors.Unsupported(f"{path} is compressed with zstd, which this Python does not know")
    return content
