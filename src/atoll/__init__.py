"""Atoll, a complete container stack in Python.

Importing this package costs nothing: it loads no room before one of the SDK's names is used (`atoll.Sandbox`,
`atoll.Client`; `atoll.sdk` has them all). `ARCHITECTURE.md` is the map, `atoll.cli` the command line.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.sdk import *  # noqa: F403 - for type checkers; at run time `__getattr__` finds them

__version__ = "0.1.0.dev0"


def __getattr__(name: str) -> object:
    """PEP 562: a name of the SDK, loaded when it is first asked for."""
    if not name.startswith("_"):
        sdk = __import__("atoll.sdk", fromlist=["__all__"])
        if name in sdk.__all__:
            return getattr(sdk, name)
    raise AttributeError(f"module 'atoll' has no attribute {name!r}")
