"""What the hot path may not import, each ban with its reason, and what a cold start of the hot modules imports.

The figures are CPU milliseconds of one import on Python 3.11 (docs/startup.md measures the start as a whole).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from gates.tree import ROOT, SOURCE, imports, modules, name

HOT_ROOMS = ("base", "linux", "spec", "runtime", "monitor", "isolation", "snapshots", "network", "engine", "cli")

# Modules of hot rooms that no `atoll run`, spawner, monitor or init loads before it needs them anyway.
COLD = {
    "src/atoll/isolation/files": "cp and export",
    "src/atoll/runtime/files": "cp and export, in a process of its own that imports all before it is inside",
    "src/atoll/runtime/seccomp/tables": "generated; loaded when a profile is compiled, not read from the cache",
    "src/atoll/snapshots/stream.py": "decompression and digests of a layer, in the process that unpacks",
}

BANNED = {
    "argparse": "9 ms, and it imports gettext and re; cli/ has its own small parser",
    "asyncio": "43 ms; servers only",
    "collections": "3 ms; a dict or a list does",
    "concurrent": "19 ms and threads: one thread before a fork",
    "contextlib": "4 ms; base.rollback, or a class with __enter__",
    "dataclasses": "16 ms (inspect); base.value",
    "datetime": "3 ms; time.time_ns and base.clock",
    "enum": "4 ms; module constants",
    "functools": "3 ms, it imports collections; write the function",
    "glob": "10 ms (re, fnmatch); os.scandir",
    "hashlib": "3 ms (OpenSSL); import it where bytes are hashed, or take _sha2",
    "http": "30 ms",
    "importlib": "warnings and more; __import__",
    "inspect": "12 ms",
    "ipaddress": "9 ms; spec/ parses addresses itself",
    "json": "9 ms (re); base.jsontext",
    "logging": "14 ms",
    "pathlib": "12 ms; os.path",
    "platform": "9 ms (re); os.uname",
    "random": "9 ms (hashlib, math); os.urandom",
    "re": "7 ms; str methods",
    "selectors": "6 ms (collections); select.epoll",
    "shlex": "7 ms (re)",
    "shutil": "9 ms; base.files",
    "signal": "5 ms (enum); linux.signals, _signal",
    "socket": "9 ms (enum, selectors); _socket",
    "sqlite3": "7 ms (datetime, collections); _sqlite3",
    "ssl": "17 ms",
    "subprocess": "13 ms; linux.process, os.posix_spawn",
    "tarfile": "12 ms; snapshots.tar",
    "tempfile": "12 ms (random, shutil); base.files",
    "textwrap": "7 ms (re)",
    "threading": "3 ms, and one thread before a fork",
    "tomllib": "8 ms (re); only when a configuration file exists",
    "traceback": "10 ms; sys.excepthook",
    "typing": "10 ms; under TYPE_CHECKING",
    "urllib": "37 ms",
    "urllib3": "60 ms; images/ when it pulls",
    "uuid": "6 ms; base.ids",
    "warnings": "1 ms, and nobody reads them",
    "zipfile": "20 ms",
}

HOT = [
    path
    for room in HOT_ROOMS
    if (SOURCE / room).is_dir()
    for path in modules(room)
    if not any(name(path).startswith(cold) for cold in COLD)
]


@pytest.mark.parametrize("path", HOT, ids=name)
def test_no_heavy_import(path: Path) -> None:
    wrong = {
        f"line {line}: {module}: {BANNED[module.split('.')[0]]}"
        for module, line in imports(path, at_import=True)
        if module.split(".")[0] in BANNED
    }
    assert not wrong


def test_bans_carry_their_reason() -> None:
    assert all(len(reason) > 3 for reason in [*BANNED.values(), *COLD.values()])
    assert all((ROOT / path).exists() for path in COLD)


@pytest.mark.parametrize("room", [room for room in HOT_ROOMS if room not in ("engine", "cli", "snapshots")])
def test_no_heavy_import_by_detour(room: str) -> None:
    """Imported in a bare interpreter, all of a room's modules together load no banned one."""
    names = [
        ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts).removesuffix(".__init__")
        for path in modules(room)
        if path in HOT
    ]
    script = f"import sys; sys.path.append({str(SOURCE.parent)!r})\nfor n in {names!r}: __import__(n)\n"
    script += f"print(sorted({set(BANNED)!r} & set(sys.modules)))"
    result = subprocess.run(
        [sys.executable, "-SI", "-c", script], capture_output=True, text=True, timeout=60, check=True
    )
    assert result.stdout.strip() == "[]"
