"""Numbers and layouts of `linux/` against the kernel's own headers, of x86-64 and of aarch64.

Debian's linux-libc-dev and linux-libc-dev-arm64-cross; the compiler only reads them, so one for x86-64 does for both
(both are little-endian with 64-bit longs). What newer kernels brought than those headers know is passed over.
"""

from __future__ import annotations

import ctypes
import importlib
import os
import pkgutil
import re
import subprocess
import tempfile

import pytest

import atoll.linux
from atoll.linux import capability, libc, mount, process, root, seccomp
from atoll.runtime.seccomp import tables

HEADERS = {
    "x86_64": ["-idirafter", "/usr/include/x86_64-linux-gnu", "-idirafter", "/usr/include"],
    "aarch64": ["-U__x86_64__", "-D__aarch64__", "-idirafter", "/usr/aarch64-linux-gnu/include"],
}
SOCKADDR = "struct sockaddr { unsigned short family; char data[14]; };\n"  # the C library's part of <linux/if.h>
INCLUDES = (
    "asm/unistd.h asm/ioctls.h asm/fcntl.h asm/signal.h linux/mount.h linux/fcntl.h linux/sched.h linux/sched/types.h"
    " linux/prctl.h linux/openat2.h linux/bpf.h linux/seccomp.h linux/filter.h linux/audit.h linux/capability.h"
    " linux/close_range.h linux/keyctl.h linux/sockios.h linux/if.h linux/nsfs.h linux/netlink.h linux/rtnetlink.h"
    " linux/if_addr.h linux/if_link.h linux/veth.h linux/neighbour.h linux/netfilter/nfnetlink.h"
    " linux/netfilter/nf_tables.h linux/mempolicy.h linux/ioprio.h linux/eventpoll.h linux/tty.h"
).split()
STRUCTURES = {
    "struct __user_cap_header_struct": capability._Header,
    "struct __user_cap_data_struct": capability._Data,
    "struct mount_attr": mount._MountAttr,
    "struct clone_args": process._CloneArgs,
    "struct open_how": root._OpenHow,
    "struct sock_fprog": seccomp._Program,
}


@pytest.fixture(scope="module", params=list(HEADERS))
def arch(request: pytest.FixtureRequest) -> str:
    """Each architecture in turn."""
    if not os.path.exists(f"{HEADERS[request.param][-1]}/linux/openat2.h"):
        pytest.skip(f"no kernel headers of {request.param}")
    return str(request.param)


def compiled(arch: str, lines: list[str]) -> tuple[set[str], set[str]]:
    """(names that the headers do not know, assertions that fail) of static assertions, one a line, `name` in each."""
    present = [name for name in INCLUDES if os.path.exists(f"{HEADERS[arch][-1]}/{name}") or name.startswith("asm/")]
    source = "#include <stddef.h>\n" + "".join(f"#include <{name}>\n" for name in present) + "\n".join(lines) + "\n"
    own = subprocess.run(
        ["gcc", "-print-file-name=include"], capture_output=True, text=True, check=True
    ).stdout.strip()
    with tempfile.TemporaryDirectory() as folder:
        os.mkdir(f"{folder}/sys")
        for name, text in (("socket.h", SOCKADDR), ("types.h", ""), ("time.h", "")):
            with open(f"{folder}/sys/{name}", "w") as stream:
                stream.write(text)
        command = ["gcc", "-fsyntax-only", "-fmax-errors=0", "-w", "-nostdinc", "-I", folder, "-isystem", own]
        done = subprocess.run(
            [*command, *HEADERS[arch], "-x", "c", "-"], input=source, capture_output=True, text=True, timeout=60
        )
    fatal = [line for line in done.stderr.splitlines() if "fatal error" in line]
    assert not fatal, fatal
    unknown = set(re.findall(r"[‘'](\w+)[’'] undeclared", done.stderr))
    return unknown, set(re.findall(r'static assertion failed: "([^"]+)"', done.stderr))


def constants() -> dict[str, set[int]]:
    """Every public number of `linux/` that is written as the kernel writes it."""
    found: dict[str, set[int]] = {}
    for info in pkgutil.iter_modules(atoll.linux.__path__, "atoll.linux."):
        for name, value in vars(importlib.import_module(info.name)).items():
            if (
                re.fullmatch(r"[A-Z][A-Z0-9]*_[A-Z0-9_]+", name)
                and type(value) is int
                and not name.startswith("SYS_")
            ):
                found.setdefault(name, set()).add(value)
    return found


def test_constants(arch: str):
    known = constants()
    # Names that C has too, with another meaning, or that are our own bounds.
    lines = [
        f'_Static_assert((unsigned long long)({name}) == (unsigned long long)({value}LL), "{name}");'
        for name, values in known.items()
        for value in values
        if not name.endswith(("_MAX", "_MOST"))
    ]
    unknown, wrong = compiled(arch, lines)
    # os.O_CLOEXEC and its like are this interpreter's: the same number on both, which is asserted here as well.
    assert not wrong
    assert len(known) - len(unknown) > 80, "the headers were not read"


def test_layouts(arch: str):
    lines = []
    for name, structure in STRUCTURES.items():
        # A later kernel's structure may be longer: what counts is that ours is a beginning of it.
        lines.append(f'_Static_assert(sizeof({name}) >= {ctypes.sizeof(structure)}, "{name}");')
        for entry in structure._fields_:
            field = getattr(structure, entry[0])
            lines.append(
                f"_Static_assert(offsetof({name}, {entry[0]}) == {field.offset} &&"
                f' sizeof((({name} *)0)->{entry[0]}) == {field.size}, "{name}.{entry[0]}");'
            )
    unknown, wrong = compiled(arch, lines)
    assert (unknown, wrong) == (set(), set())


def test_system_calls(arch: str):
    same = {name.removeprefix("SYS_"): value for name, value in vars(libc).items() if name.startswith("SYS_")}
    numbers = {name: value for name, value in same.items() if name not in libc._NUMBERS["x86_64"]}
    numbers |= libc._NUMBERS[arch]
    assert set(libc._NUMBERS["x86_64"]) == set(libc._NUMBERS["aarch64"])
    lines = [f'_Static_assert(__NR_{name} == {value}, "{name}");' for name, value in numbers.items()]
    assert compiled(arch, lines) == (set(), set())


def test_clone_has_the_same_arguments_where_they_are_used():
    """clone(2): the pidfd is the third argument on both; the fourth and fifth, which change places, are not given."""
    import inspect

    assert "SYS_clone, low, None, ctypes.byref(pidfd), None, None" in inspect.getsource(process.clone3)


def test_the_seccomp_tables_are_those_of_the_headers(arch: str):
    """The other widths are compared with libseccomp's own tables."""
    table = tables.numbers(arch)
    lines = [f'_Static_assert(__NR_{name} == {value}, "{name}");' for name, value in table.items()]
    unknown, wrong = compiled(arch, lines)
    assert not wrong
    assert len(table) - len(unknown) > 280
