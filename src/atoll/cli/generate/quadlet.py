"""`atoll generate quadlet`: units of systemd of quadlet's files.

As a generator (systemd.generator(7)) it is called by a script of two lines with --generator and three folders; it
then reads the usual places, and writes what it can though one file is wrong.
"""

from __future__ import annotations

import os
import sys

from atoll.base import errors
from atoll.cli.options import TEXT, Command, Flag, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given
    from atoll.spec.quadlet import File, Service

COMMAND = Command(
    name="generate quadlet",
    usage="generate quadlet [OPTIONS] [DIR|FILE...]",
    help="Make systemd units of .container, .pod, .volume, .network, .kube and .image files.\n"
    "Without --output they are printed; without DIR the usual places are read.",
    flags=(
        Flag(name="generator", help="As a generator of systemd: DIR is NORMAL [EARLY LATE], written to"),
        Flag(
            name="output", short="o", kind=TEXT, help="Write the units, and the links that want them, to this folder"
        ),
        Flag(name="user", help="For the systemd of a user (so for who is not root)"),
    ),
    most=None,
)
_FAILED = 1
_SYSTEM = ("/run/atoll/quadlet", "/etc/atoll/quadlet", "/usr/share/atoll/quadlet")
_MOST_FILES = 4000


def main(given: Given) -> int:
    """Run the command."""
    from atoll.cli.display import printable
    from atoll.cli.generate.program import places, program
    from atoll.spec.quadlet import convert

    user = given.on("user") or os.geteuid() != 0
    output, sources = given.text("output"), given.args
    if given.on("generator"):
        if output is not None or len(sources) not in (1, 3):
            raise UsageError("--generator takes one folder or three, and no --output", given.command.name)
        output, sources = sources[0], []
    files = find(sources or usual_places(user), strict=bool(sources))
    units, wrong = convert(files, program(), user=user, environment=places())
    for error in wrong:
        sys.stderr.write(f"atoll: {printable(str(error))}\n")
    if output is None:
        sys.stdout.write("\n".join([f"# {unit.name}\n{unit.text}" for unit in units]))
    else:
        write(units, output)
        if not given.on("generator"):
            sys.stdout.write("".join([f"{output}/{unit.name}\n" for unit in units]))
    return _FAILED if wrong else 0


def usual_places(user: bool) -> list[str]:
    """Where files are looked for, those that go first hide those of their name further on; $QUADLET_UNIT_DIRS instead
    of all of them."""
    given = os.environ.get("QUADLET_UNIT_DIRS")
    if given:
        return given.split(":")
    if not user:
        return list(_SYSTEM)
    home = os.environ.get("XDG_CONFIG_HOME") or f"{os.environ.get('HOME', '')}/.config"
    run = os.environ.get("XDG_RUNTIME_DIR")
    own = [f"{run}/atoll/quadlet"] if run else []
    return [*own, f"{home}/atoll/quadlet", f"/etc/atoll/quadlet/users/{os.getuid()}", "/etc/atoll/quadlet/users"]


def find(sources: list[str], *, strict: bool) -> list[File]:
    """The files in these folders, subfolders excepted, or named; with `strict` what is not there is an error. Raises
    what the disk says."""
    from atoll.spec.quadlet_keys import KINDS

    found: dict[str, File] = {}
    for source in sources:
        path = os.path.abspath(source)
        try:
            names = sorted(os.listdir(path)) if os.path.isdir(path) else [""]
            if not os.path.exists(path):
                if strict:
                    raise FileNotFoundError(2, os.strerror(2), path)
                continue
            for name in names:
                file = f"{path}/{name}" if name else path
                base = os.path.basename(file)
                if base.rpartition(".")[2] in KINDS and os.path.isfile(file) and base not in found:
                    found[base] = _read(file, base)
                elif not name:
                    raise errors.InvalidArgument(f"{file}: its ending is none of " + ", ".join(KINDS))
        except OSError as error:
            raise errors.from_os_error(error, "read quadlet's files") from error
        if len(found) > _MOST_FILES:
            raise errors.InvalidArgument(f"{path}: more than {_MOST_FILES} files")
    return list(found.values())


def _read(path: str, name: str) -> File:
    from atoll.base import files
    from atoll.spec.quadlet import File

    drop_ins = []
    folder = f"{path}.d"
    if os.path.isdir(folder):
        for one in sorted(os.listdir(folder)):
            if one.endswith(".conf"):
                drop_ins.append((f"{folder}/{one}", files.read_text(f"{folder}/{one}")))
    try:
        return File(name=name, path=path, text=files.read_text(path), drop_ins=tuple(drop_ins))
    except ValueError:
        raise errors.InvalidArgument(f"{path}: not UTF-8") from None


def write(units: list[Service], folder: str) -> None:
    """The units and the links that want them. Raises what the disk says."""
    from atoll.base import files

    try:
        os.makedirs(folder, exist_ok=True)
        for unit in units:
            files.write_atomic(f"{folder}/{unit.name}", unit.text, mode=0o644)
            for link in unit.links:
                place = f"{folder}/{link}"
                os.makedirs(os.path.dirname(place), exist_ok=True)
                target = f"../{unit.name}" if "/" in link else unit.name
                if os.path.lexists(place):
                    os.unlink(place)
                os.symlink(target, place)
    except OSError as error:
        raise errors.from_os_error(error, "write the units") from error
