"""The `host` image: this very machine, throw-away.

Start reading at `plan`.
"""

from __future__ import annotations

from atoll.base.value import Value
from atoll.spec.idmap import RootlessMap
from atoll.spec.image import ImageConfig
from atoll.spec.rootfs import RootPlan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence


class HostPlan(Value):
    """root plan, image config (PATH, HOME, working dir), the id map the container must have, scratch directory."""

    root: RootPlan
    config: ImageConfig
    working_dir: str
    idmap: RootlessMap
    scratch: str


def plan(*, cwd: str, uid: int, scratch: Sequence[str], hide: Sequence[str] = ()) -> HostPlan:
    """What the root is made of. `scratch`: candidate directories (absent yet), first usable one is taken:
    engine passes (<run>/containers/<id>/scratch, <data>/containers/<id>/scratch). `hide`: the store's own places.
    Touches nothing; `prepare` makes the scratch directories."""
    raise NotImplementedError


def prepare(plan: HostPlan) -> None:
    """Make the scratch directories (uppers, works, whiteouts)."""
    raise NotImplementedError


def discard(scratch: str, idmap: RootlessMap | None) -> None:
    """Remove the scratch directories."""
    raise NotImplementedError
