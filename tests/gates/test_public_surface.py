"""The names and signatures that others build on, listed in `public-surface.txt` and compared.

`ATOLL_WRITE_GOLDEN=1` writes the list anew; the difference is then seen, and decided on, in the commit.
"""

from __future__ import annotations

import importlib
import inspect
import os
from pathlib import Path

from atoll.base.value import Value, fields, is_required

LIST = Path(__file__).with_name("public-surface.txt")
MODULES = (
    "atoll",
    "atoll.base.errors",
    "atoll.base.launch",
    "atoll.base.value",
    "atoll.isolation.protocol",
    "atoll.sdk",
    "atoll.spec.rootfs",
)
HEADER = "# What others build on. tests/gates/test_public_surface.py compares; ATOLL_WRITE_GOLDEN=1 writes it anew.\n"


def _describe(module_name: str) -> list[str]:
    module = importlib.import_module(module_name)
    listed = getattr(module, "__all__", None)
    lines = []
    for name, thing in sorted(vars(module).items()):
        if name.startswith("_") or not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if name not in listed if listed is not None else thing.__module__ != module_name:
            continue
        lines.append(f"{module_name}.{name}{_shape(thing)}")
        if inspect.isclass(thing):
            members = {name: getattr(member, "__func__", member) for name, member in sorted(vars(thing).items())}
            lines += [
                f"{module_name}.{name}.{method}{inspect.signature(member)}"
                for method, member in members.items()
                if inspect.isfunction(member) and not method.startswith("_")
            ]
    return lines


def _shape(thing: type | object) -> str:
    if inspect.isfunction(thing):
        return str(inspect.signature(thing))
    assert isinstance(thing, type)
    if issubclass(thing, Value) and thing is not Value:
        return "(" + ", ".join(name if is_required(thing, name) else f"{name}=…" for name in fields(thing)) + ")"
    return f"({', '.join(base.__name__ for base in thing.__bases__)})"


def _commands() -> list[str]:
    from atoll.cli.commands import COMMANDS, module_of
    from atoll.cli.options import all_flags

    lines = []
    for name in COMMANDS:
        module = importlib.import_module(f"atoll.cli.{module_of(name)}")
        command = getattr(module, "COMMAND", None)
        flags = sorted(f"--{flag.name}" for flag in all_flags(command)) if command is not None else []
        lines.append(" ".join(["$ atoll", name, *flags]))
    return sorted(lines)


def test_public_surface() -> None:
    now = HEADER + "\n".join([*(line for name in MODULES for line in _describe(name)), *_commands()]) + "\n"
    if os.environ.get("ATOLL_WRITE_GOLDEN") == "1":
        LIST.write_text(now)
    assert now == LIST.read_text()
