"""A simple model of what a layer's entries mean, to hold the real thing against. No file system, no cleverness."""

from __future__ import annotations

import io
import os
import stat
import tarfile
from dataclasses import dataclass, field


class Refused(Exception):
    """The layer is to be refused."""


@dataclass
class Node:
    """`kind`: "file", "dir", "link", "whiteout". Hard links share one node."""

    kind: str
    content: bytes = b""
    target: str = ""
    opaque: bool = False
    children: dict[str, Node] = field(default_factory=dict)


@dataclass(frozen=True)
class Step:
    """One entry: `kind` as tarfile's constant or "whiteout" / "opaque"; `arg` is content or link target."""

    kind: str
    name: str
    arg: str = ""


def run(steps: list[Step]) -> Node:
    """The tree after all steps. Raises Refused."""
    root = Node("dir")
    for step in steps:
        _apply(root, step)
    return root


def _apply(root: Node, step: Step) -> None:
    parts = [p for p in step.name.split("/") if p and p != "."]
    if ".." in parts:
        raise Refused(step.name)
    if step.kind == "opaque":
        _enter(root, parts, make=True).opaque = True
        return
    if not parts:
        if step.kind != "dir":
            raise Refused("root")
        return
    base = parts[-1]
    if step.kind == "whiteout":
        parent = _enter(root, parts[:-1], make=True)
        there = parent.children.get(base)
        if there is None:
            parent.children[base] = Node("whiteout")
        elif there.kind == "dir":
            there.opaque = True
        return
    if step.kind == "hard":
        _hard_link(root, step, parts)
        return
    parent = _enter(root, parts[:-1], make=True)
    there = parent.children.get(base)
    if step.kind == "dir":
        if there is None or there.kind != "dir":
            parent.children[base] = Node("dir", opaque=there is not None)
    elif step.kind == "file":
        parent.children[base] = Node("file", content=step.arg.encode())
    elif step.kind == "link":
        parent.children[base] = Node("link", target=step.arg)


def _hard_link(root: Node, step: Step, parts: list[str]) -> None:
    source = [p for p in step.arg.split("/") if p and p != "."]
    if ".." in source or not source:
        raise Refused(step.arg)
    if source == parts:
        return
    folder = _enter(root, source[:-1], make=False)
    node = folder.children.get(source[-1])
    if node is not None and node.kind == "whiteout":
        raise Refused("whiteout")
    parent = _enter(root, parts[:-1], make=True)
    there = parent.children.get(parts[-1])
    node = folder.children.get(source[-1])  # making the parent may have replaced it
    if node is None:
        raise Refused("no source")
    if there is node:
        return
    if there is not None:
        del parent.children[parts[-1]]
        if not _reachable(root, folder) or folder.children.get(source[-1]) is not node:
            raise Refused("the source went with the old entry")
    if node.kind == "dir":
        raise Refused("directory")
    parent.children[parts[-1]] = node


def _reachable(root: Node, wanted: Node) -> bool:
    pending = [root]
    while pending:
        node = pending.pop()
        if node is wanted:
            return True
        pending += node.children.values()
    return False


def _enter(root: Node, parts: list[str], *, make: bool) -> Node:
    """The directory at a path; the path's own components are made, those of link targets are not."""
    if not parts:
        return root
    try:
        return _strict(root, parts)
    except LookupError as problem:
        if not make:
            raise Refused(str(problem)) from None
    parent = _enter(root, parts[:-1], make=True)
    there = parent.children.get(parts[-1])
    if there is None:
        parent.children[parts[-1]] = Node("dir")
    elif there.kind == "whiteout":
        parent.children[parts[-1]] = Node("dir", opaque=True)
    try:
        return _strict(root, parts)
    except LookupError as problem:
        raise Refused(str(problem)) from None


def _strict(root: Node, parts: list[str]) -> Node:
    """Follow a path as the kernel does with the root as `/`."""
    stack = [root]
    todo = list(parts)
    budget = 41
    while todo:
        part = todo.pop(0)
        if part in ("", "."):
            continue
        if part == "..":
            if len(stack) > 1:
                stack.pop()
            continue
        node = stack[-1].children.get(part)
        if node is None:
            raise LookupError("ENOENT")
        if node.kind == "link":
            budget -= 1
            if not budget:
                raise LookupError("ELOOP")
            if node.target.startswith("/"):
                stack = [root]
            todo = node.target.split("/") + todo
        elif node.kind == "dir":
            stack.append(node)
        else:
            raise LookupError("ENOTDIR")
    return stack[-1]


def describe(node: Node) -> dict[str, object]:
    """The model's tree as plain data; nodes of hard links carry the names of their group."""
    names: dict[int, list[str]] = {}
    out: dict[str, tuple[object, ...]] = {}
    nodes: dict[str, Node] = {}

    def walk(at: Node, path: str) -> None:
        for name, child in at.children.items():
            inner = f"{path}/{name}"
            nodes[inner] = child
            names.setdefault(id(child), []).append(inner)
            walk(child, inner)

    walk(node, "")
    for path, child in nodes.items():
        group = tuple(sorted(names[id(child)])) if child.kind in ("file", "link") else ()
        out[path] = (child.kind, child.content, child.target, child.opaque, group)
    return dict(out)


def look(root: str, opaque_xattr: str) -> dict[str, object]:
    """A real tree in the same form."""
    inodes: dict[tuple[int, int], list[str]] = {}
    found: dict[str, tuple[str, bytes, str, bool, tuple[int, int]]] = {}
    for folder, dirs, files in os.walk(root):
        for name in dirs + files:
            real = os.path.join(folder, name)
            path = real[len(root) :]
            info = os.lstat(real)
            key = (info.st_dev, info.st_ino)
            inodes.setdefault(key, []).append(path)
            content, target, opaque = b"", "", False
            if stat.S_ISDIR(info.st_mode):
                kind = "dir"
                opaque = opaque_xattr in os.listxattr(real)
            elif stat.S_ISLNK(info.st_mode):
                kind, target = "link", os.readlink(real)
            elif stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
                kind = "whiteout"
            else:
                kind = "file"
                with open(real, "rb") as stream:
                    content = stream.read()
            found[path] = (kind, content, target, opaque, key)
    return {
        path: (kind, content, target, opaque, tuple(sorted(inodes[key])) if kind in ("file", "link") else ())
        for path, (kind, content, target, opaque, key) in found.items()
    }


def archive(steps: list[Step], fmt: int = tarfile.PAX_FORMAT) -> bytes:
    """The steps as a tar archive."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=fmt) as tar:
        for step in steps:
            name = step.name
            if step.kind == "whiteout":
                folder, _, base = name.rpartition("/")
                name = f"{folder}/.wh.{base}" if folder else f".wh.{base}"
            elif step.kind == "opaque":
                name = f"{name}/.wh..wh..opq"
            info = tarfile.TarInfo(name)
            kinds = {"dir": tarfile.DIRTYPE, "link": tarfile.SYMTYPE, "hard": tarfile.LNKTYPE}
            info.type = kinds.get(step.kind, tarfile.REGTYPE)
            info.mode = 0o755 if step.kind == "dir" else 0o644
            data = step.arg.encode() if step.kind == "file" else b""
            if step.kind in ("link", "hard"):
                info.linkname = step.arg
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return buffer.getvalue()
