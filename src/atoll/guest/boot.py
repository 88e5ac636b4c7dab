"""The first module of a guest: finds Atoll on the guest's root and becomes the agent. A script, never imported."""

from __future__ import annotations

import sys

if __name__ == "__main__":
    sys.path.append("/usr/lib/atoll")
    from atoll.guest.agent import main

    main()
