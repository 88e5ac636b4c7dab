"""The tests here share `bpf_machine`, `model` and `libseccomp`, modules of this directory."""

from __future__ import annotations

import os
import sys

sys.path.insert(0, os.path.dirname(__file__))
