"""image bootstrap: a Debian or Ubuntu image made from the distribution's own packages, the same bytes every time.

Holds: `bootstrap`. mmdebstrap writes a tar, debootstrap (root only) a directory; both get a fixed time, and what
differs from run to run (logs, caches, the machine's id, nodes) is left out.
"""

from __future__ import annotations

import os
import time

from atoll.base import clock, errors
from atoll.base.value import Value
from atoll.engine.images import making
from atoll.images.ingest import Ingest

TYPE_CHECKING = False
if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable

    from atoll.engine.engine import Engine
    from atoll.images.content import Blob

_MIRRORS = {"debian": "http://deb.debian.org/debian", "ubuntu": "http://archive.ubuntu.com/ubuntu"}
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_DIFFERS = (
    "var/cache/apt",
    "var/lib/apt/lists",
    "var/log",
    "var/cache/ldconfig/aux-cache",
    "etc/machine-id",
    "etc/resolv.conf",
    "etc/hostname",
)


class Recipe(Value):
    """What to make. `epoch` (seconds) is the time of the image and the latest of its files."""

    distribution: str
    suite: str
    variant: str = "minbase"
    include: tuple[str, ...] = ()
    mirror: str | None = None
    epoch: int = 0


def parse(text: str) -> tuple[str, str]:
    """`debian:bookworm` → distribution and suite. Raises InvalidArgument."""
    distribution, colon, suite = text.partition(":")
    if distribution not in _MIRRORS or not colon or not suite.replace("-", "").isalnum():
        raise errors.InvalidArgument(
            f"cannot bootstrap {text!r}", hint="write e.g. debian:bookworm; known are " + ", ".join(_MIRRORS)
        )
    return distribution, suite


def bootstrap(engine: Engine, recipe: Recipe, name: str, *, tell: Callable[[str], None] = lambda _: None) -> str:
    """Make the image and name it; returns its id. `tell` hears the tool's lines. Raises Unsupported without a tool,
    Unavailable when packages cannot be had."""
    import shutil

    from atoll.images import making as documents

    making.name_of(name)
    mirror = recipe.mirror or _MIRRORS[recipe.distribution]
    created = clock.rfc3339(recipe.epoch * 10**9)
    config = documents.changed(documents.new_config(created), [f"ENV {_PATH}", 'CMD ["bash"]'])
    with making.content_lock(engine), Ingest(engine.content()) as ingest:
        tool = shutil.which("mmdebstrap") or shutil.which("debootstrap")
        if tool is None:
            raise errors.Unsupported("neither mmdebstrap nor debootstrap is here", hint="apt install mmdebstrap")
        work = f"{engine.paths.data}/bootstrap.{os.getpid()}.{time.time_ns():x}"
        os.mkdir(work, 0o711)
        try:
            if tool.endswith("mmdebstrap"):
                blob = _by_mmdebstrap(recipe, mirror, ingest, tell)
            else:
                blob = _by_debootstrap(engine, recipe, mirror, f"{work}/root", ingest, tell)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        by = f"atoll image bootstrap {recipe.distribution}:{recipe.suite}"
        config = documents.with_layer(config, blob.digest, created=created, created_by=by)
        return making.make(engine, config, [documents.layer(blob)], name)


def _by_mmdebstrap(recipe: Recipe, mirror: str, ingest: Ingest, tell: Callable[[str], None]) -> Blob:
    """A tar on standard output, already in order and with clamped times (mmdebstrap(1), SOURCE_DATE_EPOCH)."""
    import subprocess

    argv = ["mmdebstrap", f"--variant={recipe.variant}", "--format=tar"]
    argv += [f"--include={one}" for one in recipe.include]
    for path in _DIFFERS:
        argv.append(f'--customize-hook=rm -rf "$1/{path}"')
    argv += ['--customize-hook=mkdir -p "$1/var/log" "$1/var/cache/apt" "$1/var/lib/apt/lists"']
    argv += [recipe.suite, "-", mirror]
    process = _start(argv, recipe, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        while chunk := process.stdout.read(1 << 20):
            ingest.write(chunk)
    finally:
        _settle(process, argv[0], tell)
    return ingest.commit()


def _by_debootstrap(
    engine: Engine, recipe: Recipe, mirror: str, root: str, ingest: Ingest, tell: Callable[[str], None]
) -> Blob:
    import subprocess

    from atoll.snapshots import diff

    if engine.uid != 0:
        raise errors.Unsupported("debootstrap needs root", hint="apt install mmdebstrap")
    argv = ["debootstrap", f"--variant={recipe.variant}"]
    argv += [f"--include={','.join(recipe.include)}"] if recipe.include else []
    process = _start([*argv, recipe.suite, root, mirror], recipe, stdout=subprocess.DEVNULL)
    _settle(process, argv[0], tell)
    for path in (*_DIFFERS, "dev", "proc", "sys", "run"):
        _empty(f"{root}/{path}")
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        diff.write_tree(fd, ingest.write, latest=recipe.epoch)
    finally:
        os.close(fd)
    return ingest.commit()


def _empty(path: str) -> None:
    """Directories lose their content, files go."""
    import shutil

    if os.path.isdir(path) and not os.path.islink(path):
        for name in os.listdir(path):
            inner = f"{path}/{name}"
            if os.path.isdir(inner) and not os.path.islink(inner):
                shutil.rmtree(inner)
            else:
                os.unlink(inner)
    elif os.path.lexists(path):
        os.unlink(path)


def _start(argv: list[str], recipe: Recipe, *, stdout: int) -> subprocess.Popen[bytes]:
    import subprocess
    import tempfile

    said = tempfile.TemporaryFile()
    environ = {**os.environ, "SOURCE_DATE_EPOCH": str(recipe.epoch), "LC_ALL": "C.UTF-8"}
    try:
        process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=said, env=environ)
    except OSError as error:
        raise errors.from_os_error(error, f"run {argv[0]}") from error
    process.stderr = said
    return process


def _settle(process: subprocess.Popen[bytes], tool: str, tell: Callable[[str], None]) -> None:
    """Wait for the tool's end. Raises Unavailable with its last words."""
    said = process.stderr
    assert said is not None
    code = process.wait()
    said.seek(0)
    lines = said.read().decode("utf-8", "replace").splitlines()
    said.close()
    for line in lines:
        tell(line)
    if code:
        last = next((line for line in reversed(lines) if line.startswith("E:")), lines[-1] if lines else "")
        raise errors.Unavailable(f"{tool} failed with code {code}: {last}", hint="are the packages reachable?")
