"""Whether KVM works here: found by booting, remembered for this boot of the host.

Holds: `kvm`. Does not hold: what is done about it (`engine`).
`/dev/kvm` that opens proves nothing, nor does a virtual CPU that is created: inside some clouds' machines both work
and ordinary kernels still die or crawl. What counts is a guest of ours whose agent said HELLO in its time.

    <data>/vm/kvm-<driver>.json    {"boot", "kernel", "ok", "reason"}
"""

from __future__ import annotations

import os

from atoll.base import files, jsontext
from atoll.vm import booting, drivers
from atoll.vm import kernel as kernels
from atoll.vm.closure import closure
from atoll.vm.machine import KVM, Availability

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.vm.kernel import Kernel

SECONDS = 5.0
"""How long a guest may take by KVM; it takes a tenth of that where KVM is real."""
DEVICE = "/dev/kvm"
NOTE = "kvm-{driver}.json"
MEMORY = 192


def kvm(root: str, kernel: str = "default", driver: str = "qemu") -> Availability:
    """Try by a driver, or remember. Raises NotFound without a kernel, what making the closure raises."""
    if not os.access(DEVICE, os.R_OK | os.W_OK):
        there = "it may not be opened" if os.path.exists(DEVICE) else "there is none"
        return Availability(ok=False, reason=f"{DEVICE}: {there}")
    chosen, note = kernels.installed(root, kernel), f"{root}/{NOTE.format(driver=driver)}"
    about = {"boot": files.read_text("/proc/sys/kernel/random/boot_id").strip(), "kernel": chosen.digest}
    try:
        known = jsontext.loads(files.read_bytes(note))
        if {name: known.get(name) for name in about} == about:
            return Availability(ok=known["ok"] is True, reason=known.get("reason"))
    except (OSError, ValueError, KeyError, AttributeError):
        pass
    reason = boots(root, chosen, KVM, SECONDS, driver)
    files.write_atomic(note, jsontext.dumps({**about, "ok": reason is None, "reason": reason}))
    return Availability(ok=reason is None, reason=reason)


def boots(root: str, kernel: Kernel, accel: str, seconds: float, driver: str = "qemu") -> str | None:
    """Boot a guest with nothing in it; None if its agent spoke within `seconds`, else why not. Raises AtollError."""
    by = drivers.named(driver)
    agent = closure(root, by.program).agent
    with booting.boot(kernel, agent, memory=MEMORY, cpus=1, accel=accel, driver=driver) as machine:
        return machine.await_hello(seconds)
