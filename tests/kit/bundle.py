"""OCI bundles and runtimes on raw bundles: `atoll-runtime` as a caller of runc would use it.

Holds: `Bundle` (a busybox root and a config to change), `Runtime` (one root directory of one runtime).
Does not hold: engines on top of runtimes.
"""

from __future__ import annotations

import copy
import itertools
import json
import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from typing import IO, Any

from kit.command import Result, installed
from kit.sandbox import User

_serial = itertools.count()
APPLETS = (
    "sh ls cat id true false mount ps sleep tty echo env kill touch stat grep mkdir head readlink dd test seq".split()
)
BASE: dict[str, Any] = {
    "ociVersion": "1.2.0",
    "process": {
        "cwd": "/",
        "args": ["true"],
        "env": ["PATH=/bin"],
        "user": {"uid": 0, "gid": 0},
        "noNewPrivileges": True,
        "capabilities": {kind: ["CAP_KILL", "CAP_CHOWN"] for kind in ("bounding", "effective", "permitted")},
    },
    "root": {"path": "rootfs"},
    "hostname": "box",
    "mounts": [
        {"destination": "/proc", "type": "proc", "source": "proc", "options": ["nosuid", "noexec", "nodev"]},
        {
            "destination": "/dev",
            "type": "tmpfs",
            "source": "tmpfs",
            "options": ["nosuid", "strictatime", "mode=755", "size=65536k"],
        },
        {
            "destination": "/dev/pts",
            "type": "devpts",
            "source": "devpts",
            "options": ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"],
        },
        {"destination": "/dev/shm", "type": "tmpfs", "source": "shm", "options": ["nosuid", "mode=1777"]},
        {"destination": "/dev/mqueue", "type": "mqueue", "source": "mqueue", "options": ["nosuid"]},
        {"destination": "/sys", "type": "sysfs", "source": "sysfs", "options": ["nosuid", "noexec", "nodev", "ro"]},
    ],
    "linux": {
        "namespaces": [{"type": t} for t in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
        "maskedPaths": ["/proc/kcore", "/proc/keys", "/sys/firmware"],
        "readonlyPaths": ["/proc/sys", "/proc/sysrq-trigger"],
    },
}


class Bundle:
    """A directory with `rootfs/` and `config.json`; `config` is written by `save`."""

    def __init__(self, folder: str, user: User | None = None) -> None:
        self.folder, self.user = folder, user
        self.rootfs = os.path.join(folder, "rootfs")
        for name in ("bin", "proc", "sys", "dev", "etc", "tmp"):
            os.makedirs(os.path.join(self.rootfs, name))
        shutil.copy(
            "/usr/bin/busybox" if os.path.exists("/usr/bin/busybox") else "/bin/busybox",
            os.path.join(self.rootfs, "bin/busybox"),
        )
        for name in APPLETS:
            os.symlink("busybox", os.path.join(self.rootfs, "bin", name))
        self.config = copy.deepcopy(BASE)
        if user is not None:
            linux = self.config["linux"]
            linux["namespaces"].append({"type": "user"})
            for key, number in (("uidMappings", user.uid), ("gidMappings", user.gid)):
                linux[key] = [{"containerID": 0, "hostID": number, "size": 1}]
            subprocess.run(["chown", "-R", f"{user.uid}:{user.gid}", folder], check=True)

    def save(self, *args: str, **process: Any) -> Bundle:
        """Write config.json, with `args` as the program and `process` merged into `process`."""
        if args:
            self.config["process"]["args"] = list(args)
        self.config["process"].update(process)
        with open(os.path.join(self.folder, "config.json"), "w") as stream:
            json.dump(self.config, stream)
        return self

    def path(self, name: str) -> str:
        """A path on the host of a file in the root."""
        return os.path.join(self.rootfs, name.lstrip("/"))


class Runtime:
    """A runtime command with a root directory of its own."""

    def __init__(
        self,
        folder: str,
        *,
        program: str | None = None,
        user: User | None = None,
        join: Callable[[], None] | None = None,
    ) -> None:
        self.folder, self.user, self.join = folder, user, join
        self.program = program or installed("atoll-runtime")
        self.root = os.path.join(folder, "runtime")
        os.makedirs(folder, exist_ok=True)
        if user is not None:
            os.chown(folder, user.uid, user.gid)
        self.ids: list[str] = []

    def bundle(self) -> Bundle:
        """A fresh bundle."""
        return Bundle(os.path.join(self.folder, f"bundle-{next(_serial)}"), self.user)

    def new_id(self) -> str:
        """An id that is cleared at the end."""
        self.ids.append(f"c{next(_serial)}")
        return self.ids[-1]

    def popen(
        self,
        *words: str,
        env: dict[str, str] | None = None,
        fds: dict[int, int] | None = None,
        before: list[str] | None = None,
        **how: Any,
    ) -> subprocess.Popen[str]:
        """Start the runtime with these words; `fds` are descriptors to have there: number → ours; `before` is what
        to run in the runtime's stead, with its words appended."""
        if fds:
            how["pass_fds"] = tuple(fds)

        def enter() -> None:
            for number, fd in (fds or {}).items():
                os.dup2(fd, number, inheritable=True)
            if self.join is not None:
                self.join()
            if self.user is not None:
                os.setgroups([])
                os.setresgid(self.user.gid, self.user.gid, self.user.gid)
                os.setresuid(self.user.uid, self.user.uid, self.user.uid)

        base = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
        if self.user is not None:
            base["XDG_RUNTIME_DIR"] = self.user.runtime_dir
        settings = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "replace",
            **how,
        }
        command = [*(before or [self.program]), "--root", self.root, *words]
        fillers: list[int] = []
        try:
            while fds and (not fillers or fillers[-1] <= max(fds)):  # Popen's own pipes must not lie where ours go
                fillers.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
            return subprocess.Popen(command, env={**base, **(env or {})}, preexec_fn=enter, **settings)
        finally:
            for filler in fillers:
                os.close(filler)

    def __call__(self, *words: str, timeout: float = 30, stdin: str | None = None, **how: Any) -> Result:
        """Run to the end; output goes to files, because a detached container keeps its streams open."""
        import time

        began = time.monotonic()
        if stdin is not None:
            how["stdin"] = subprocess.PIPE
        with _file() as out, _file() as err:
            child = self.popen(*words, stdout=out, stderr=err, **how)
            try:
                child.communicate(stdin, timeout)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
                err.seek(0)
                raise AssertionError(f"still running after {timeout} s: {words}\n{err.read()}") from None
            texts = []
            for stream in (out, err):
                stream.seek(0)
                texts.append(stream.read())
        argv = (os.path.basename(self.program), *words)
        texts[1] = texts[1].replace('\\"', '"')  # a log line quotes its message
        return Result(argv, child.returncode, texts[0], texts[1], time.monotonic() - began)

    def good(self, *words: str, **how: Any) -> str:
        """Run, expect 0, give stdout."""
        return self(*words, **how).good()

    def run(self, bundle: Bundle, *args: str, **how: Any) -> Result:
        """`run` in the foreground."""
        return self("run", "--bundle", bundle.save(*args).folder, self.new_id(), **how)

    def create(self, bundle: Bundle, *args: str) -> str:
        """`create`; the id."""
        name = self.new_id()
        self.good("create", "--bundle", bundle.save(*args).folder, name)
        return name

    def started(self, bundle: Bundle, *args: str) -> str:
        """A detached container that runs; the id."""
        name = self.create(bundle, *(args or ("sleep", "100")))
        self.good("start", name)
        return name

    def state(self, name: str) -> dict[str, Any]:
        """`state` as a dictionary."""
        return dict(json.loads(self.good("state", name)))

    def clear(self) -> None:
        """Delete every container that was named by `new_id`."""
        problems = [result for name in self.ids if (result := self("delete", "--force", name)).code]
        self.ids = []
        assert not problems, "\n".join(str(one) for one in problems)


class ConsoleSocket:
    """The listening end that `--console-socket` wants; `receive` gives the terminal's master."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(path)
        self._listener.listen(1)
        self._listener.settimeout(20)
        os.chmod(path, 0o777)

    def receive(self) -> int:
        """One descriptor; the socket is closed after."""
        connection, _ = self._listener.accept()
        with connection, self._listener:
            _, fds, _, _ = socket.recv_fds(connection, 4096, 4)
        os.unlink(self.path)
        return fds[0]


def _file() -> IO[str]:
    return tempfile.TemporaryFile("w+", newline="")


def read_until(fd: int, wanted: str, seconds: float = 10) -> str:
    """Read a terminal until a text appears."""
    import select
    import time

    deadline, text = time.monotonic() + seconds, ""
    while wanted not in text:
        left = deadline - time.monotonic()
        assert left > 0, f"no {wanted!r} in {text!r}"
        if select.select([fd], [], [], left)[0]:
            try:
                text += os.read(fd, 4096).decode(errors="replace")
            except OSError:
                break
    return text


def words(result: Result) -> Sequence[str]:
    """Its output split on white space."""
    return result.good().split()
