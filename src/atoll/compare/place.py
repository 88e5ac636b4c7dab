"""The private place of a comparison: a store of its own, the image with the program in it, its files, everything
below one process.

Holds: `Place`. Does not hold: rungs. For root also a network and a mount namespace of its own with nothing but a
loopback: bridges, firewall rules and forwarding of the networks made here are invisible outside and go with it.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import time

from atoll.base import clock, errors, files, launch
from atoll.compare import processes
from atoll.compare.copies import FAILURES
from atoll.compare.program import image as program_image
from atoll.engine.engine import Engine
from atoll.linux import mount, netdevice, process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.store import ImageRow

DIRECTORY = "/atoll-compare"
PROGRAM = f"{DIRECTORY}/probe"
IMAGE = "localhost/atoll-compare:latest"
_TIMEOUT = 300


class Place:
    """Use as a context manager: everything is gone afterwards, processes too."""

    def __init__(self, engine: Engine, image: str | None, say: Callable[[str], None]) -> None:
        self._outer, self._image, self._say = engine, image, say
        self.uid = engine.uid
        self.data = self.run = ""
        self.env: dict[str, str] = {}
        self.own_network = False
        self.serial = 0
        self._unpacked = ""
        self._covered: list[str] = []
        self._made: list[str] = []

    def __enter__(self) -> Place:
        process.become_subreaper()
        if self.uid == 0:
            self._apart()
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _apart(self) -> None:
        """Namespaces of its own, as far as root is allowed them."""
        try:
            process.unshare(process.CLONE_NEWNS | process.CLONE_NEWNET)
            mount.set_propagation("/", mount.MS_REC | mount.MS_SLAVE)
            netdevice.set_up("lo")
            self.own_network = True
        except OSError as error:
            self._say(f"no network of its own: {error.strerror}")

    def _make(self) -> None:
        outer = self._outer
        self.data = tempfile.mkdtemp(prefix="compare-", dir=outer.paths.data)
        runtime = outer.environ.get("XDG_RUNTIME_DIR", "")
        # A socket's path has 108 bytes of room, so this is short, and not below the run root.
        usual = runtime if self.uid and os.access(runtime, os.W_OK) else "/run" if self.uid == 0 else "/tmp"
        self.run = tempfile.mkdtemp(prefix="cmp-", dir=usual)
        self.env = {
            **outer.environ,
            "ATOLL_DATA_ROOT": f"{self.data}/store",
            "ATOLL_RUN_ROOT": f"{self.run}/r",
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        }
        os.mkdir(f"{self.data}/store", 0o700)
        self._share_machines()
        self.engine = Engine(self.env, self.uid, outer.gid)
        self.program = f"{self.data}/probe"
        files.write_atomic(self.program, program_image(os.uname().machine), mode=0o755)
        self._make_image()

    def _share_machines(self) -> None:
        """Kernels, closures and templates are the user's: made once, and used again after this. Disks of images are
        not."""
        theirs, ours = f"{self._outer.paths.data}/vm", f"{self.data}/store/vm"
        os.mkdir(ours, 0o711)
        for kind in ("kernels", "closure", "templates"):
            if os.path.isdir(f"{theirs}/{kind}"):
                os.symlink(f"{theirs}/{kind}", f"{ours}/{kind}")
        if os.path.isfile(f"{theirs}/kvm.json"):
            shutil.copy(f"{theirs}/kvm.json", f"{ours}/kvm.json")

    # -- what rungs use

    def name(self) -> str:
        """A new name for a container."""
        self.serial += 1
        return f"compare-{os.getpid()}-{self.serial}"

    def folder(self, name: str) -> str:
        """A directory in the place, made if it is not there."""
        path = f"{self.data}/{name}"
        os.makedirs(path, exist_ok=True)
        return path

    @property
    def log(self) -> str:
        """Where commands' own words go."""
        return f"{self.data}/log"

    def atoll(self, *words: str) -> list[str]:
        """The command of this very Atoll."""
        return launch.argv(*words)

    def cover(self, paths: tuple[str, ...]) -> None:
        """Put an empty file system over each place where an engine keeps state whatever it is told, so that neither
        the user's containers nor ours are seen by the other; only where mounts are our own."""
        for path in paths if self.own_network else ():
            if path in self._covered:
                continue
            try:
                os.mkdir(path, 0o711)
                self._made.append(path)
            except FileExistsError:
                pass
            except OSError:  # no such parent: nor will it be used
                continue
            mount.mount("tmpfs", path, "tmpfs", 0, "mode=0711")
            self._covered.append(path)

    def run_command(self, argv: list[str], *, timeout: float = _TIMEOUT, check: bool = True) -> str:
        """Run to its end; its output. Raises Unavailable with its last words, Timeout."""
        try:
            done = subprocess.run(
                argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, check=False
            )
        except subprocess.TimeoutExpired:
            raise errors.Timeout(f"{argv[0]} takes longer than {timeout:g} seconds") from None
        except OSError as error:
            raise errors.Unavailable(f"{argv[0]} cannot be run: {error.strerror}") from error
        if check and done.returncode:
            lines = done.stderr.decode(errors="replace").strip().splitlines()
            raise errors.Unavailable(lines[-1][:300] if lines else f"it ended with code {done.returncode}")
        return done.stdout.decode(errors="replace")

    def bundle(self) -> str:
        """The image unpacked, with the document that it would be run by (`config.json` beside `rootfs`)."""
        if not self._unpacked:
            from atoll.engine.images.bundle import bundle

            path = f"{self.data}/bundle"
            bundle(self.engine, IMAGE, path)
            self._unpacked = path
        return self._unpacked

    def archive(self) -> str:
        """The image as Docker's archive."""
        from atoll.engine.images.save import save

        path = f"{self.data}/image.tar"
        if not os.path.exists(path):
            save(self.engine, [IMAGE], path)
        return path

    def descendants(self) -> set[int]:
        """Every process of this comparison but its own."""
        return processes.below(os.getpid())

    # -- the image

    def _make_image(self) -> None:
        """The image that was named, or an empty one, and a layer with the program on top."""
        from atoll.engine.images import making
        from atoll.images import making as documents
        from atoll.images.ingest import Ingest

        created = clock.rfc3339(time.time_ns())
        if self._image:
            row = self._fetched(self._image)
            config, below = making.config_of(self.engine, row), making.layers_of(self.engine, row)
        else:
            config, below = documents.new_config(created), ()
        inner = dict(config.get("config") or {})
        for key in ("Entrypoint", "Cmd", "User", "Healthcheck", "Volumes", "ExposedPorts", "StopSignal"):
            inner.pop(key, None)
        config = {**config, "config": {**inner, "Cmd": [PROGRAM, "b"], "WorkingDir": DIRECTORY}}
        with making.content_lock(self.engine), Ingest(self.engine.content()) as ingest:
            ingest.write(self._layer())
            blob = ingest.commit()
            config = documents.with_layer(config, blob.digest, created=created, comment="atoll compare")
            making.make(self.engine, config, [*below, documents.layer(blob)], IMAGE)

    def _layer(self) -> bytes:
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            folder = tarfile.TarInfo(DIRECTORY[1:])
            folder.type, folder.mode = tarfile.DIRTYPE, 0o777
            tar.addfile(folder)
            entry = tarfile.TarInfo(PROGRAM[1:])
            entry.mode, entry.size = 0o755, os.path.getsize(self.program)
            with open(self.program, "rb") as file:
                tar.addfile(entry, file)
        return buffer.getvalue()

    def _fetched(self, name: str) -> ImageRow:
        """The image's row in the private store. Raises NotFound."""
        from atoll.engine.images.load import load
        from atoll.engine.images.resolve import need
        from atoll.engine.images.save import save

        need(self._outer, name)
        path = f"{self.data}/base.tar"
        save(self._outer, [name], path)
        load(self.engine, path)
        os.unlink(path)
        return need(self.engine, name)

    # -- the end

    def __exit__(self, *_: object) -> None:
        """Processes first, then what they had mounted and made, then files. What fails is told, and the rest done."""
        steps: tuple[Callable[[], object], ...] = (
            self._remove_containers,
            lambda: processes.end(self.descendants()),
            processes.reap,
            self._unmount,
            self._remove_mapped,
        )
        for step in steps:
            try:
                step()
            except FAILURES as error:
                self._say(f"not all of {self.data} could be removed: {error}")
        for path in (self.data, self.run):
            if path:
                shutil.rmtree(path, ignore_errors=True)

    def _remove_mapped(self) -> None:
        """What an ordinary user's containers and engines unpacked has owners and modes that are not his to remove."""
        if self.data and self.engine.idmap is not None:
            from atoll.snapshots.worker import remove_trees

            shutil.rmtree(self.data, ignore_errors=True)
            if os.path.isdir(self.data):
                remove_trees([self.data], self.engine.idmap)

    def _unmount(self) -> None:
        """What engines that were killed had mounted, in this process's own namespace."""
        if not self.own_network:
            return
        with open("/proc/self/mountinfo") as file:
            places = [line.split()[4] for line in file]
        for path in reversed(places):
            if path.startswith((f"{self.data}/", f"{self.run}/")) or path in self._covered:
                mount.umount2(path, mount.MNT_DETACH)
        for path in self._made:
            os.rmdir(path)

    def _remove_containers(self) -> None:
        """By the store's own means: an ordinary user's files belong to ids that are not his."""
        if not os.path.isdir(f"{self.data}/store/containers"):
            return
        for kind in ("kernels", "closure", "templates"):
            link = f"{self.data}/store/vm/{kind}"
            if os.path.islink(link):
                os.unlink(link)  # what it points at stays
        self.run_command(self.atoll("system", "reset", "--force"))
