"""Running the installed `atoll` command as a user would: arguments in, exit code and text out.

Holds: `Atoll` (one data root and one run root), `Result`. Does not hold: terminals (`terminal`), leak counts.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from kit import processes
from kit.sandbox import User

PATIENCE = float(os.environ.get("ATOLL_TEST_PATIENCE", "1"))
"""How many times as long as usual all may take: an emulated machine (tests/host) is slow."""
TIMEOUT = 60.0 * PATIENCE
LANGUAGE = {"LANG": "C.UTF-8", "TERM": "xterm"}


def installed(name: str = "atoll") -> str:
    """The command under test: in $ATOLL_BIN, beside this Python, in the source tree, or on PATH."""
    folder = os.environ.get("ATOLL_BIN")
    if folder:
        return os.path.join(folder, name)
    here = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    for folder in (os.path.dirname(sys.executable), os.path.join(here, "bin")):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    return shutil.which(name) or name


@dataclass(frozen=True)
class Result:
    """How a command ended; a negative code is a signal."""

    argv: tuple[str, ...]
    code: int
    out: str
    err: str
    seconds: float

    def __str__(self) -> str:
        return (
            f"$ {' '.join(self.argv)}\ncode {self.code} after {self.seconds:.2f} s\n{self.out}\n-- stderr\n{self.err}"
        )

    def good(self) -> str:
        """stdout without the last newline; fails the test unless the code is 0."""
        assert self.code == 0, str(self)
        return self.out.removesuffix("\n")

    def failed(self, code: int, *patterns: str) -> str:
        """stderr; fails the test unless the code is this and every pattern is found in it (case ignored)."""
        assert self.code == code, f"expected code {code}\n{self}"
        for pattern in patterns:
            assert re.search(pattern, self.err, re.IGNORECASE), f"expected {pattern!r} on stderr\n{self}"
        assert "Traceback" not in self.err, str(self)
        return self.err


class Atoll:
    """`atoll` with its own data and run root; `user` and `join` make it an ordinary user's."""

    def __init__(
        self,
        folder: str,
        *,
        user: User | None = None,
        join: Callable[[], None] | None = None,
        env: Mapping[str, str] | None = None,
        data: str | None = None,
    ) -> None:
        self.folder, self.user, self.join = folder, user, join
        self.data, self.run_root = data or os.path.join(folder, "data"), os.path.join(folder, "run")
        self.config = os.path.join(folder, "atoll.toml")
        os.makedirs(folder, exist_ok=True)
        if user is not None:
            os.chown(folder, user.uid, user.gid)
        # Below the settings that tests write over: a bridge is for those whose subject it is, and makes links.
        usual = os.path.join(folder, "usual.toml")
        for path, content in ((usual, '[network]\ndefault = "none"\n'), (self.config, "")):
            with open(path, "w") as stream:
                stream.write(content)
            os.chmod(path, 0o644)
        self.env = {
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "HOME": user.home if user else "/root",
            "ATOLL_DATA_ROOT": self.data,
            "ATOLL_RUN_ROOT": self.run_root,
            "ATOLL_CONFIG": f"{usual}:{self.config}",
            **LANGUAGE,
            **({"XDG_RUNTIME_DIR": user.runtime_dir, "USER": user.name} if user else {}),
            **(env or {}),
        }

    def popen(
        self,
        *words: str,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
        program: str = "atoll",
        before: Callable[[], None] | None = None,
        **how: object,
    ) -> subprocess.Popen[str]:
        """Start `atoll WORDS…` in a session of its own, as this Atoll's user, in its cgroup."""

        def enter() -> None:
            os.setsid()
            if self.join is not None:
                self.join()
            if before is not None:
                before()
            if self.user is not None:
                os.setgroups([])
                os.setresgid(self.user.gid, self.user.gid, self.user.gid)
                os.setresuid(self.user.uid, self.user.uid, self.user.uid)
            os.chdir(cwd)

        settings: dict[str, object] = {
            "stdin": subprocess.DEVNULL,
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "text": True,
            "errors": "replace",
            **how,
        }
        child: subprocess.Popen[str] = subprocess.Popen(  # type: ignore[call-overload]
            [installed(program), *words], env={**self.env, **(env or {})}, preexec_fn=enter, **settings
        )
        processes.KEEP.add(child.pid)
        return child

    def __call__(self, *words: str, stdin: str | None = None, timeout: float = TIMEOUT, **how: object) -> Result:
        """Run to the end. A command that takes longer than `timeout` seconds fails the test."""
        began = time.monotonic()
        if stdin is not None:
            how["stdin"] = subprocess.PIPE
        child = self.popen(*words, **how)  # type: ignore[arg-type]
        try:
            out, err = child.communicate(stdin, timeout)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)
            out, err = child.communicate()
            result = Result(("atoll", *words), child.returncode, out, err, time.monotonic() - began)
            raise AssertionError(f"still running after {timeout} s\n{result}") from None
        finally:
            processes.KEEP.discard(child.pid)
        return Result(("atoll", *words), child.returncode, out or "", err or "", time.monotonic() - began)

    def good(self, *words: str, **how: object) -> str:
        """Run, expect code 0, give stdout without the last newline."""
        return self(*words, **how).good()  # type: ignore[arg-type]

    def inspect(self, name: str) -> dict[str, object]:
        """`atoll inspect NAME`, the first object."""
        found = json.loads(self.good("inspect", name))
        assert isinstance(found, list)
        return dict(found[0])

    def state(self, name: str) -> dict[str, object]:
        """`State` of `inspect`."""
        state = self.inspect(name)["State"]
        assert isinstance(state, dict)
        return state

    def all(self) -> list[str]:
        """Ids of every container."""
        return self.good("ps", "-a", "-q", "--no-trunc").split()

    def wait_for(self, name: str, status: str, seconds: float = 10.0) -> dict[str, object]:
        """Poll `inspect` until State.Status is this."""
        deadline = time.monotonic() + seconds * PATIENCE
        while True:
            state = self.state(name)
            if state["Status"] == status:
                return state
            assert time.monotonic() < deadline, f"{name} is not {status} after {seconds} s: {state}"
            time.sleep(0.05)

    def end_spawner(self, signum: int = signal.SIGTERM) -> int:
        """End this run root's spawner by pid; returns how many there were."""
        found = processes.spawners(self.run_root)
        for process in found:
            processes.end(process.pid, signum)
        processes.reap()
        return len(found)

    def clear(self) -> None:
        """Remove every pod and container, by the command itself, then end the spawner."""
        if os.path.exists(self.data):
            if os.path.isdir(os.path.join(self.data, "pods")):
                self("pod", "rm", "--all", "--force")
            listed = self("ps", "-a", "-q")
            if listed.code == 0 and listed.out.split():
                self("rm", "-f", *listed.out.split())
        self.end_spawner()


def words(text: str) -> Sequence[str]:
    """Split on white space; for readable tests."""
    return text.split()
