"""What a container takes on disk: its own files, and those together with its image's."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.engine.store import ContainerRow


def sizes(engine: Engine, row: ContainerRow) -> tuple[int, int]:
    """(bytes that it wrote, bytes with its image's layers). Docker counts lengths, not blocks; a directory that we
    may not enter (another id's, in a user's container) counts nothing."""
    written = _length(engine.snapshots.writable(row.id).upper)
    if engine.snapshots.is_copy(row.id):
        from atoll.snapshots.copying import copied_bytes

        return max(0, written - copied_bytes(engine.snapshots.writable(row.id).path)), written
    layers = sum([layer.size for layer in engine.store.layers(row.image)]) if row.image else 0
    return written, written + layers


def _length(path: str) -> int:
    total, seen = 0, set()
    pending = [path]
    while pending:
        try:
            with os.scandir(pending.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    elif entry.is_file(follow_symlinks=False):
                        info = entry.stat(follow_symlinks=False)
                        if (info.st_dev, info.st_ino) not in seen:
                            seen.add((info.st_dev, info.st_ino))
                            total += info.st_size
        except OSError:  # gone meanwhile, or not ours to enter
            continue
    return total
