"""The flags that every command which talks to a registry understands: `--creds`, `--tls-verify`.

Holds: reading them. Does not hold: the settings that they override (`engine/images/registries.py`).
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.engine.engine import Engine
    from atoll.images.values import RegistryOptions


def options(engine: Engine, given: Given, name: str) -> RegistryOptions:
    """How to talk to the registry of `name` (a reference or a place). Raises InvalidArgument."""
    from atoll.cli.options import UsageError
    from atoll.engine.images.registries import options as options_of
    from atoll.images import places
    from atoll.images.values import Credentials

    credentials = None
    text = given.text("creds")
    if text is not None:
        username, _, password = text.partition(":")
        if not username:
            raise UsageError("--creds needs name:password", given.command.name)
        credentials = Credentials(username=username, password=password)
    insecure = None
    if (given.has("tls-verify") and not given.on("tls-verify")) or given.on("insecure"):
        reference = places.parse(name).reference
        insecure = reference.registry if reference is not None else None
    return options_of(engine, credentials, insecure=insecure)
