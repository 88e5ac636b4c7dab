"""What a monitor runs after the end of a container that is on networks and stays: its addresses are given back."""

from __future__ import annotations

import os
import sys

from atoll.base import errors


def main(argv: list[str]) -> int:
    """`ended CONTAINER`: 0, or 1 with the reason on standard error. One that runs again is left alone."""
    from atoll.engine.engine import Engine
    from atoll.engine.locks import lock_container
    from atoll.engine.networks.release import release
    from atoll.engine.networks.repair import has_ended

    try:
        engine = Engine(os.environ, os.geteuid(), os.getegid())
        with lock_container(engine.paths.container(argv[0])):
            if has_ended(engine, argv[0]):
                release(engine, argv[0])
    except errors.NotFound:  # removed meanwhile, with all that it had
        return 0
    except errors.AtollError as error:
        sys.stderr.write(f"atoll: {error}\n")
        return 1
    return 0
