"""`python3 -m atoll`: the same command line as `bin/atoll`, started the slow way (docs/startup.md)."""

from __future__ import annotations

from atoll.base import launch

if __name__ == "__main__":
    launch.enter(launch.CLI)
