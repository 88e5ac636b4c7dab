"""`state`, `list`, `ps`: what there is.

Holds: the verbs and their forms. Source: runtime.md "State" and "Query State"; runc(8) for the tables.
"""

from __future__ import annotations

import os
import sys

from atoll.base import errors, jsontext
from atoll.runtime import state
from atoll.runtime.command.options import FLAG, TEXT, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from atoll.runtime.command.context import Context

LIST = {"format": TEXT, "quiet": FLAG}
PS = {"format": TEXT}


def state_(context: Context, argv: list[str]) -> int:
    """Print a container's state."""
    run_dir = context.existing(parse("state", argv, {}, {}).one_word())
    write(pretty(state.document(run_dir, state.read(run_dir))) + "\n")
    return 0


def list_(context: Context, argv: list[str]) -> int:
    """Print the containers of this root."""
    given = parse("list", argv, LIST, {"f": "format", "q": "quiet"})
    if given.words:
        raise errors.InvalidArgument('atoll-runtime: "list" requires exactly 0 argument(s)')
    found = [_listed(run) for run in _runs(context.root)]
    if given.flag("quiet"):
        write("".join([f"{one['id']}\n" for one in found]))
    elif _form(given.text("format")) == "json":
        write((jsontext.dumps(found) if found else "null") + "\n")
    else:
        rows = [["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]]
        rows += [[str(one[k]) for k in ("id", "pid", "status", "bundle", "created", "owner")] for one in found]
        write(_table(rows))
    return 0


def ps(context: Context, argv: list[str]) -> int:
    """Print the processes of a container, as ps(1) shows them or as pids."""
    given = parse("ps", argv, PS, {"f": "format"}, leading=True)
    if not given.words:
        raise errors.InvalidArgument('atoll-runtime: "ps" requires a minimum of 1 argument(s)')
    record = state.read(context.existing(given.words[0]))
    if record.cgroup is None:
        raise errors.Unsupported(f"container {record.id} has no cgroup that would list its processes")
    from atoll.runtime.cgroups.cgroup import Cgroup

    pids = Cgroup.from_json(record.cgroup).pids()
    if _form(given.text("format")) == "json":
        write(jsontext.dumps(pids) + "\n")
        return 0
    write(_ps_table(set(pids), given.words[1:] or ["-ef"]))
    return 0


def _runs(root: str) -> list[str]:
    try:
        names = sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    return [f"{root}/{name}" for name in names if os.path.exists(f"{root}/{name}/{state.FILE}")]


def _listed(run_dir: str) -> dict[str, Any]:
    import pwd

    uid = os.stat(run_dir).st_uid
    try:
        owner = pwd.getpwuid(uid).pw_name
    except KeyError:
        owner = f"#{uid}"
    return {**state.document(run_dir, state.read(run_dir)), "owner": owner}


def _form(text: str | None) -> str:
    if text not in (None, "table", "json"):
        raise errors.InvalidArgument(f"invalid format option {text!r}: table or json")
    return text or "table"


def _table(rows: list[list[str]]) -> str:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ["   ".join([cell.ljust(width) for cell, width in zip(row, widths, strict=True)]) for row in rows]
    return "".join([f"{line.rstrip()}\n" for line in lines])


def _ps_table(pids: set[int], options: list[str]) -> str:
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    try:
        actions = [(os.POSIX_SPAWN_DUP2, write_end, 1)]
        child = os.posix_spawnp("ps", ["ps", *options], os.environ, file_actions=actions)
    except OSError as error:
        os.close(read_end)
        raise errors.from_os_error(error, "run ps(1)", hint="install procps, or use --format json") from error
    finally:
        os.close(write_end)
    with open(read_end, encoding="utf-8", errors="replace") as stream:
        lines = stream.read().splitlines()
    if os.waitpid(child, 0)[1] != 0 or not lines:
        raise errors.InvalidArgument(f"ps {' '.join(options)} failed")
    header = lines[0].split()
    if "PID" not in header:
        raise errors.InvalidArgument("ps: the options given print no PID column")
    column = header.index("PID")
    kept = [line for line in lines[1:] if (words := line.split())[column:] and _is_in(words[column], pids)]
    return "".join([f"{line}\n" for line in [lines[0], *kept]])


def _is_in(word: str, pids: set[int]) -> bool:
    return word.isdecimal() and int(word) in pids


def pretty(value: object) -> str:
    """JSON with two spaces, as runc prints it."""
    import json

    return json.dumps(value, indent=2, ensure_ascii=False)


def write(text: str) -> None:
    """To standard output. Raises OSError."""
    sys.stdout.write(text)
    sys.stdout.flush()
