"""The test host under QEMU: boot it, run commands in it, start it again, cut its power.

Holds: `Host`. Does not hold: what it is made of (`image.py`), what carries out the commands inside (`guest.py`).
Emulated (TCG) unless ATOLL_TEST_ACCEL says kvm: /dev/kvm that opens proves nothing (docs/vm.md). Its disk is a layer
of its own above the cached one, and outlives reboots and power cuts until the folder is removed.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import TracebackType

from tests.host.image import TREE, Image, pack_tree

from kit import processes

PROGRAM = "qemu-system-x86_64"
MEMORY_MIB = 2048
BOOT_SECONDS = 900
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None)


@dataclass(frozen=True)
class Said:
    """How a command ended inside: its exit code (negative: a signal), None where it took too long."""

    status: int | None
    output: str

    def good(self) -> str:
        """The output, without white space at its ends; fails the test unless the code is 0."""
        assert self.status == 0, f"status {self.status}\n{self.output}"
        return self.output.strip()


class Host:
    """One machine; leaving the block ends it. `folder` takes its disk, and what its kernel said: `console`."""

    def __init__(self, image: Image, folder: str, *, hear: Callable[[str], object] | None = None) -> None:
        self.image, self.folder, self.hear = image, folder, hear
        self.console = f"{folder}/console"
        self.boot_id = ""
        self._child: subprocess.Popen[bytes] | None = None
        self._port: socket.socket | None = None
        self._waiting = b""

    def __enter__(self) -> Host:
        os.makedirs(self.folder, exist_ok=True)
        pack_tree(f"{self.folder}/tree")
        layer = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", self.image.disk, f"{self.folder}/disk"]
        subprocess.run(layer, check=True, capture_output=True)
        try:
            self.power_on()
        except BaseException:
            self.cut()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    @property
    def pid(self) -> int:
        """Of QEMU."""
        assert self._child is not None
        return self._child.pid

    def power_on(self) -> None:
        """Start QEMU and wait until the host carries out commands. Raises TimeoutError."""
        self._port, theirs = socket.socketpair()
        with open(self.console, "ab") as console:
            self._child = subprocess.Popen(
                self._command(theirs.fileno()),
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                pass_fds=[theirs.fileno()],
                preexec_fn=lambda: _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
            )
        processes.KEEP.add(self._child.pid)  # another one after a power cut
        theirs.close()
        self._waiting = b""
        self._await_up(BOOT_SECONDS)

    def run(
        self,
        *argv: str,
        seconds: float = 120,
        env: Mapping[str, str] | None = None,
        cwd: str = "/",
    ) -> Said:
        """Carry out one command inside, as root."""
        variables = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8", **(env or {})}
        self._ask({"argv": argv, "env": variables, "cwd": cwd, "seconds": seconds})
        output = ""
        deadline = time.monotonic() + seconds + 60
        while True:
            what = self._answer(deadline)
            if "out" in what:
                output += what["out"]
                if self.hear is not None:
                    self.hear(what["out"])
            elif "status" in what:
                return Said(status=what["status"], output=output)
            else:
                raise AssertionError(
                    f"the host has booted anew under {' '.join(argv)}\n{output}\n{self.last_words()}"
                )

    def sh(self, script: str, *, seconds: float = 120, env: Mapping[str, str] | None = None) -> Said:
        """A script of sh(1), stopped at its first error."""
        return self.run("sh", "-euc", script, seconds=seconds, env=env)

    def reboot(self) -> None:
        """As an administrator does; back when it carries out commands again."""
        before = self.boot_id
        self._ask({"argv": ["systemctl", "reboot"], "env": {"PATH": PATH}, "cwd": "/", "seconds": 60})
        self._await_up(BOOT_SECONDS)
        assert self.boot_id != before

    def cut(self) -> None:
        """Its power is gone: SIGKILL to QEMU, whatever it was doing."""
        if self._child is not None:
            self._child.kill()
            self._child.wait()
            processes.KEEP.discard(self._child.pid)
            self._child = None
        if self._port is not None:
            self._port.close()
            self._port = None

    def last_words(self) -> str:
        """The end of what its kernel and systemd wrote to the console."""
        with open(self.console, errors="replace") as stream:
            return stream.read()[-4000:]

    def _command(self, port: int) -> list[str]:
        accel = os.environ.get("ATOLL_TEST_ACCEL", "tcg")
        wanted = ["console=ttyS0", "quiet", "rw", f"atoll.tree={TREE}", "apparmor=1", "security=apparmor"]
        # A clock that is calibrated on a busy machine is found unstable later, and a lock-up is mostly ours.
        wanted += ["systemd.unified_cgroup_hierarchy=1", "systemd.journald.max_level_console=emerg", "nowatchdog"]
        wanted += ["panic=-1", "mitigations=off", "random.trust_cpu=on", "clocksource=hpet"]
        words = [PROGRAM, "-M", "q35", "-smp", "2", "-m", f"{MEMORY_MIB}M", "-accel", accel]
        words += ["-cpu", "host" if accel == "kvm" else "max"]
        words += [
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-serial",
            "stdio",
            "-name",
            "atoll-test-host",
        ]
        words += ["-kernel", self.image.kernel, "-initrd", self.image.initrd, "-append", " ".join(wanted)]
        words += ["-drive", f"file={self.folder}/disk,format=qcow2,if=none,id=a", "-device", "virtio-blk-pci,drive=a"]
        words += ["-drive", f"file={self.folder}/tree,format=raw,if=none,id=b,read-only=on"]
        words += ["-device", "virtio-blk-pci,drive=b", "-device", "virtio-rng-pci", "-device", "virtio-serial-pci"]
        words += ["-chardev", f"socket,id=port,fd={port}"]
        return [*words, "-device", "virtserialport,chardev=port,name=org.atoll.host"]

    def _ask(self, job: dict[str, object]) -> None:
        assert self._port is not None
        self._port.sendall(json.dumps(job).encode() + b"\n")

    def _await_up(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while True:
            what = self._answer(deadline)
            if "up" in what:
                self.boot_id = what["up"]
                return

    def _answer(self, deadline: float) -> dict[str, str]:
        """The next line. Raises TimeoutError, and EOFError where the machine ended."""
        assert self._port is not None
        while b"\n" not in self._waiting:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._port], [], [], left)[0]:
                raise TimeoutError(f"the test host does not answer\n{self.last_words()}")
            data = self._port.recv(1 << 16)
            if not data:
                raise EOFError(f"the test host has ended\n{self.last_words()}")
            self._waiting += data
        line, self._waiting = self._waiting.split(b"\n", 1)
        found: dict[str, str] = json.loads(line)
        return found
