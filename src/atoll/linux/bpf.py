"""bpf(2) for programs attached to a cgroup.

Holds: load, attach, detach, query. Does not hold: making a program.
Source: bpf(2), linux/bpf.h (union bpf_attr).
"""

from __future__ import annotations

import ctypes
import os
import struct

from atoll.linux.libc import SYS_bpf, syscall

BPF_PROG_LOAD = 5
BPF_PROG_ATTACH = 8
BPF_PROG_DETACH = 9
BPF_PROG_GET_FD_BY_ID = 13
BPF_PROG_QUERY = 16

BPF_PROG_TYPE_CGROUP_DEVICE = 15
BPF_CGROUP_DEVICE = 6
BPF_F_ALLOW_MULTI = 2

_INSTRUCTION_SIZE = 8
_MOST_PROGRAMS = 64  # BPF_CGROUP_MAX_PROGS


def _bpf(command: int, attr: bytes, subject: str) -> tuple[int, bytes]:
    """One call; also what the kernel wrote back into `attr`."""
    buffer = ctypes.create_string_buffer(attr, len(attr))
    result = syscall(SYS_bpf, command, ctypes.byref(buffer), len(attr), subject=subject)
    return result, buffer.raw


def prog_load(program: bytes, prog_type: int = BPF_PROG_TYPE_CGROUP_DEVICE, *, name: str = "atoll") -> int:
    """BPF_PROG_LOAD: a descriptor (close-on-exec by itself) of the checked program.

    Raises OSError: EPERM without CAP_BPF or CAP_SYS_ADMIN, EINVAL or EACCES if the verifier refuses it.
    """
    code = ctypes.create_string_buffer(program, len(program))
    licence = ctypes.create_string_buffer(b"Apache-2.0")
    attr = struct.pack(
        "=IIQQIIQII16s",
        prog_type,
        len(program) // _INSTRUCTION_SIZE,
        ctypes.addressof(code),
        ctypes.addressof(licence),
        0,  # log_level, log_size, log_buf
        0,
        0,
        0,  # kern_version, prog_flags
        0,
        name.encode()[:15],
    )
    return _bpf(BPF_PROG_LOAD, attr, "BPF_PROG_LOAD")[0]


def prog_attach(program_fd: int, cgroup_fd: int, attach_type: int = BPF_CGROUP_DEVICE) -> None:
    """BPF_PROG_ATTACH with BPF_F_ALLOW_MULTI: beside what is attached; all must agree. Raises OSError."""
    _bpf(BPF_PROG_ATTACH, struct.pack("=IIIII", cgroup_fd, program_fd, attach_type, BPF_F_ALLOW_MULTI, 0), "cgroup")


def prog_detach(program_fd: int, cgroup_fd: int, attach_type: int = BPF_CGROUP_DEVICE) -> None:
    """BPF_PROG_DETACH. Raises OSError (ENOENT: it is not attached there)."""
    _bpf(BPF_PROG_DETACH, struct.pack("=IIII", cgroup_fd, program_fd, attach_type, 0), "cgroup")


def prog_query(cgroup_fd: int, attach_type: int = BPF_CGROUP_DEVICE) -> list[int]:
    """BPF_PROG_QUERY: the ids of the programs attached to this very cgroup. Raises OSError."""
    ids = (ctypes.c_uint32 * _MOST_PROGRAMS)()
    attr = struct.pack("=IIIIQII", cgroup_fd, attach_type, 0, 0, ctypes.addressof(ids), _MOST_PROGRAMS, 0)
    answer = _bpf(BPF_PROG_QUERY, attr, "cgroup")[1]
    count = struct.unpack_from("=I", answer, 24)[0]
    return list(ids[:count])


def prog_get_fd_by_id(program_id: int) -> int:
    """BPF_PROG_GET_FD_BY_ID, close-on-exec by itself. Raises OSError (ENOENT: it is gone)."""
    return _bpf(BPF_PROG_GET_FD_BY_ID, struct.pack("=III", program_id, 0, 0), f"program {program_id}")[0]


def replace_on_cgroup(loaded: int, cgroup_fd: int) -> None:
    """Attach a device program (its descriptor) and take away those that were there before: in between both must
    agree, so the change is never looser than either. Raises OSError."""
    before = prog_query(cgroup_fd)
    prog_attach(loaded, cgroup_fd)
    for program_id in before:
        old = prog_get_fd_by_id(program_id)
        try:
            prog_detach(old, cgroup_fd)
        finally:
            os.close(old)
