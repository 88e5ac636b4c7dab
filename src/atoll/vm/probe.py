"""Whether KVM works here: found by booting, remembered for this boot of the host.

Holds: `kvm`. Does not hold: what is done about it (`engine`).
`/dev/kvm` that opens proves nothing, nor does a virtual CPU that is created: inside some clouds' machines both work
and ordinary kernels still die or crawl. What counts is a guest of ours whose agent said HELLO in its time.

    <data>/vm/kvm.json    {"boot", "kernel", "ok", "reason"}
"""

from __future__ import annotations

import os
import time

from atoll.base import errors, files, jsontext
from atoll.vm import kernel as kernels
from atoll.vm.closure import closure
from atoll.vm.machine import KVM, Availability, Machine
from atoll.vm.qemu import Qemu

SECONDS = 5.0
"""How long a guest may take by KVM; it takes a tenth of that where KVM is real."""
DEVICE = "/dev/kvm"
NOTE = "kvm.json"
_HELLO = b"\x01\0\0\0"


def kvm(root: str, kernel: str = "default") -> Availability:
    """Try, or remember. Raises NotFound without a kernel, what making the closure raises."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        there = "it may not be opened" if os.path.exists(DEVICE) else "there is none"
        return Availability(ok=False, reason=f"{DEVICE}: {there}")
    chosen = kernels.installed(root, kernel)
    about = {"boot": files.read_text("/proc/sys/kernel/random/boot_id").strip(), "kernel": chosen.digest}
    try:
        known = jsontext.loads(files.read_bytes(f"{root}/{NOTE}"))
        if {name: known.get(name) for name in about} == about:
            return Availability(ok=known["ok"] is True, reason=known.get("reason"))
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    reason = boots(root, chosen.path, KVM, SECONDS)
    files.write_atomic(f"{root}/{NOTE}", jsontext.dumps({**about, "ok": reason is None, "reason": reason}))
    return Availability(ok=reason is None, reason=reason)


def boots(root: str, kernel: str, accel: str, seconds: float) -> str | None:
    """Boot a guest with nothing in it; None if its agent spoke within `seconds`, else why not. Raises AtollError."""
    import subprocess
    from _socket import socketpair
    from select import POLLIN, poll

    made, driver = closure(root), Qemu()
    port, theirs = socketpair()
    control, qmp = socketpair()
    console, sink = socketpair()
    memory = os.memfd_create("probe", os.MFD_CLOEXEC)
    agent = os.open(made.agent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.ftruncate(memory, 192 << 20)
        machine = Machine(
            kernel=kernel,
            memory=192,
            cpus=1,
            accel=accel,
            agent=agent,
            image=None,
            disk=None,
            port=theirs.fileno(),
            control=qmp.fileno(),
            console=sink.fileno(),
            memory_fd=memory,
        )
        program = driver.probe().program
        if not program:
            raise errors.Unsupported("QEMU is not here", hint="apt install qemu-system-x86")
        child = subprocess.Popen(
            driver.command(machine, program),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=driver.descriptors(machine),
        )
        for one in (theirs, qmp, sink):
            one.close()
        try:
            poller = poll()
            poller.register(port, POLLIN)
            began = time.monotonic()
            if not poller.poll(seconds * 1000):
                return f"a guest did not come up within {seconds:.0f} s"
            word = port.recv(64)
            took = time.monotonic() - began
            return None if word[:4] == _HELLO else f"the virtual machine monitor ended after {took:.1f} s"
        finally:
            child.kill()
            child.wait()
    finally:
        for one in (port, theirs, control, qmp, console, sink):
            one.close()
        os.close(memory)
        os.close(agent)
