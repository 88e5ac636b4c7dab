"""vm kernel install."""

from __future__ import annotations

import os

from atoll.vm import kernel as kernels

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.vm.kernel import Kernel


def install(engine: Engine, source: str, *, digest: str | None = None) -> Kernel:
    """Take the kernel out of a file and make it the one that machines boot; those that run keep theirs. `digest`:
    what its SHA-256 must be. Raises NotFound, Corrupt, InvalidArgument, Unsupported."""
    return kernels.install(f"{engine.paths.data}/vm", os.path.join(engine.cwd, source), digest=digest)
