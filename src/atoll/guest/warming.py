"""What an agent does once before its machine is saved as a template, so that no restored one does it anew.

Holds: `warm_up`. Does not hold: the saving (`vm/template.py`). Under emulation what a restored machine executes for
the first time is translated first, and that takes ten times as long as executing it: so modules are imported here,
devices looked for, the default rules on devices checked by the kernel, a whole container made and ended.
Nothing of a container's is known here, and nothing that two machines must not share may be drawn here.
"""

from __future__ import annotations

import binascii
import gc
import os
import sys
import time

from atoll.base import errors, files
from atoll.guest import lent, setup
from atoll.runtime import create as runtime_create
from atoll.runtime import state
from atoll.runtime.cgroups import devices, making
from atoll.runtime.cgroups.detect import detect
from atoll.runtime.command import template
from atoll.runtime.delete import delete
from atoll.spec import runtime as oci
from atoll.spec.rootfs import Overlay, RootPlan
from atoll.vm.machine import EMULATED

_PLACE = f"{setup.RUN}/warm"
_JIT = "/proc/sys/net/core/bpf_jit_enable"
_LEFT = 4 << 20
"""Bytes of free memory that stay as they are: the kernel wants some."""


def warm_up() -> None:
    """Make a container to no effect, and keep what the next one can use. Raises OSError."""
    entropy = binascii.b2a_base64(os.urandom(64), newline=False).decode()
    setup.renew({"entropy": entropy, "time": time.time_ns(), "hostname": "warm", "links": [], "sysctl": {}})
    setup.find_interfaces()
    try:
        if detect().unified is not None:
            making.keep_devices_v2(devices.rules_for(()))
        # The kernel draws the boot's id when it is first asked for: not here, each machine is to have one of its own.
        drawn, state.BOOT_ID = state.BOOT_ID, "/proc/sys/kernel/ostype"
        try:
            _rehearse()
        finally:
            state.BOOT_ID = drawn
        lent.prepare()
        if os.environ.get(EMULATED):
            _interpret_filters()
    except (OSError, errors.AtollError) as error:  # a kernel without something: who needs it will be told
        sys.stderr.write(f"agent: made ready in part only: {error}\n")
    gc.collect()
    gc.freeze()  # what is there now stays: a collection later would write to each of its pages
    _let_go_of_memory()


def _interpret_filters() -> None:
    """A container's filter is asked about few calls (the kernel knows the answer to most by their number), and to
    make machine code of it would be to have that translated, too. A processor of its own has the machine code. Raises
    OSError."""
    if os.path.exists(_JIT):
        files.write_file(_JIT, "0")


def _rehearse() -> None:
    for name in ("", "/upper", "/work", "/run"):
        os.mkdir(f"{_PLACE}{name}", 0o700)
    run = f"{_PLACE}/run"
    root = Overlay(lower=("/",), upper=f"{_PLACE}/upper", work=f"{_PLACE}/work", target="/")
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    created = runtime_create.create(
        container_id="warm",
        spec=oci.Spec.from_json(_spec().to_json()),
        root=RootPlan(steps=(root,)),
        bundle=_PLACE,
        run=run,
        stdio=(null, null, null),
        cache=setup.FILTERS,
        start=True,
    )
    os.waitpid(created.pid, 0)
    for fd in (created.pidfd, created.sync, null):
        os.close(fd)
    setup.oom_kills(run)
    state.read(run)
    delete(run, force=True)
    for name in os.listdir(setup.FILTERS):
        os.unlink(f"{setup.FILTERS}/{name}")


def _let_go_of_memory() -> None:
    """Files that were read and are mapped by nobody leave the memory, and what is free becomes zeros, as the kernel
    clears what it gives: neither is then part of the template. Raises OSError."""
    import mmap

    files.write_file("/proc/sys/vm/drop_caches", "3")
    fields = dict(line.split(":", 1) for line in files.read_text("/proc/meminfo").splitlines())
    size = (int(fields["MemFree"].split()[0]) << 10) - _LEFT
    if size > 0:
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        with mmap.mmap(-1, size, flags=flags) as free:
            for position in range(0, size, mmap.PAGESIZE):
                free[position] = 0


def _spec() -> oci.Spec:
    """An ordinary container with something of everything."""
    spec = template.root()
    assert spec.process is not None
    assert spec.linux is not None
    # A program that is there: the guest's root has no other.
    process = spec.process.replace(terminal=False, args=(sys.executable, "-V"))
    shown = oci.Mount(destination="/tmp", type="bind", source="/tmp", options=("bind",))
    rule = oci.SyscallRule(names=("reboot",), action="SCMP_ACT_ERRNO")
    linux = spec.linux.replace(
        cgroups_path="/warm",
        resources=oci.Resources(pids=oci.Pids(limit=64)),
        seccomp=oci.Seccomp(default_action="SCMP_ACT_ALLOW", syscalls=(rule,)),
        rootfs_propagation="private",
    )
    return spec.replace(process=process, mounts=(*spec.mounts, shown), linux=linux)
