"""The question before something is removed for good."""

from __future__ import annotations

import sys


def confirmed(warning: str) -> bool:
    """Ask on standard output, as Docker does; only `y` or `yes` means yes, and so the end of input means no."""
    sys.stdout.write(f"WARNING! {warning}\nAre you sure you want to continue? [y/N] ")
    sys.stdout.flush()
    try:
        answer = sys.stdin.readline()
    except (OSError, ValueError):
        return False
    return answer.strip().lower() in ("y", "yes")
