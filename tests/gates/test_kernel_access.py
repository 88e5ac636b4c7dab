"""Only `linux/` talks to the kernel past the standard library: ctypes, ioctl, netlink."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from gates.tree import modules, name, parsed

# Name or attribute → why it stays in linux/.
CALLS = {
    "ioctl": "structures by hand belong beside their man page",
    "AF_NETLINK": "messages by hand belong beside their man page",
    "NETLINK_ROUTE": "messages by hand belong beside their man page",
    "AF_PACKET": "raw frames belong beside their man page",
    "syscall": "numbers differ between architectures; linux/ has the table",
    "prctl": "a process's own state is changed in one place",
}
OUTSIDE = [path for path in modules() if path.parent.name != "linux" or "linux" not in path.parts]


@pytest.mark.parametrize("path", OUTSIDE, ids=name)
def test_kernel_only_through_linux(path: Path) -> None:
    wrong = []
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import) and any(alias.name.split(".")[0] == "ctypes" for alias in node.names):
            wrong.append(f"line {node.lineno}: ctypes")
        if isinstance(node, ast.ImportFrom):
            if (node.module or "").split(".")[0] in ("ctypes", "_ctypes"):
                wrong.append(f"line {node.lineno}: ctypes")
            if not (node.module or "").startswith("atoll.linux"):
                wrong += [f"line {node.lineno}: {a.name}: {CALLS[a.name]}" for a in node.names if a.name in CALLS]
        if isinstance(node, ast.Attribute) and node.attr in CALLS and _of_the_library(node.value):
            wrong.append(f"line {node.lineno}: {node.attr}: {CALLS[node.attr]}")
    assert not wrong


def _of_the_library(owner: ast.expr) -> bool:
    return isinstance(owner, ast.Name) and owner.id in ("fcntl", "socket", "_socket", "os", "libc", "cdll")
