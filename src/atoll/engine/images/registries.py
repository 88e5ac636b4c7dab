"""How this user talks to registries: the settings as the client takes them, and what short names stand for.

Holds: `options`, `candidates`. Does not hold: reading Podman's file (`images/registries_conf.py`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine
    from atoll.images.registries_conf import RegistriesConf
    from atoll.images.values import Credentials, RegistryOptions


def options(
    engine: Engine, credentials: Credentials | None = None, *, insecure: str | None = None
) -> RegistryOptions:
    """The options; `credentials` count instead of the kept ones, `insecure` is a host for this once."""
    from atoll.images.values import RegistryOptions

    config = engine.config
    known = config.registries
    if config.registries_conf is not None:  # atoll.toml's own tables count before it
        own = {one.prefix for one in known}
        known = (*known, *[one for one in _conf(engine).registries if one.prefix not in own])
    listed = (*config.insecure_registries, insecure) if insecure else config.insecure_registries
    return RegistryOptions(insecure=listed, registries=known, offline=config.offline, credentials=credentials)


def candidates(engine: Engine, name: str) -> tuple[str, ...]:
    """The names that `name` stands for, in the order to try: itself, unless a registries.conf is in use and says
    otherwise of short names. Raises InvalidArgument, NotFound."""
    return (name,) if engine.config.registries_conf is None else _conf(engine).candidates(name)


def _conf(engine: Engine) -> RegistriesConf:
    from atoll.images import registries_conf

    assert engine.config.registries_conf is not None
    return registries_conf.read(engine.config.registries_conf)
