"""version: of Atoll and what it stands on."""

from __future__ import annotations

import os
import sys

import atoll
from atoll.spec import platform
from atoll.spec.runtime import VERSION

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def version() -> dict[str, Any]:
    """Docker's document, the client's half (there is no server)."""
    machine = platform.host()
    return {
        "Client": {
            "Platform": {"Name": "Atoll"},
            "Version": atoll.__version__,
            "PythonVersion": ".".join([str(part) for part in sys.version_info[:3]]),
            "OciVersion": VERSION,
            "Os": machine.os,
            "Arch": machine.architecture,
            "KernelVersion": os.uname().release,
        }
    }
