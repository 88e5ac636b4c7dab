"""How this user talks to registries: the settings as the client takes them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.images.values import Credentials, RegistryOptions


def options(
    engine: Engine, credentials: Credentials | None = None, *, insecure: str | None = None
) -> RegistryOptions:
    """The options; `credentials` count instead of the kept ones, `insecure` is a host for this once."""
    from atoll.images.values import RegistryOptions

    config = engine.config
    listed = (*config.insecure_registries, insecure) if insecure else config.insecure_registries
    return RegistryOptions(
        insecure=listed, registries=config.registries, offline=config.offline, credentials=credentials
    )
