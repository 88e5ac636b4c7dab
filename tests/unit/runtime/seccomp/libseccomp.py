"""libseccomp by ctypes, as runc uses it: the outside judge of the compiler."""

from __future__ import annotations

import ctypes
import tempfile

from atoll.runtime.seccomp.flags import action_value

OPERATORS = ("", "NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ")
ARCHES = {"x86_64": 0xC000003E, "x32": 0x4000003E, "i386": 0x40000003, "aarch64": 0xC00000B7, "arm": 0x40000028}
_BAD_ARCH, _OPTIMIZE = 2, 8

try:
    lib = ctypes.CDLL("libseccomp.so.2")
except OSError:  # not installed: the tests that need it skip
    lib = None
else:
    lib.seccomp_init.restype = ctypes.c_void_p
    lib.seccomp_init.argtypes = [ctypes.c_uint32]
    for name in ("seccomp_arch_add", "seccomp_arch_remove"):
        getattr(lib, name).argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    lib.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    lib.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.c_void_p,
    ]
    lib.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    lib.seccomp_release.argtypes = [ctypes.c_void_p]
    lib.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]


class _Comparison(ctypes.Structure):
    _fields_ = [("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64)]


class Contradiction(Exception):
    """libseccomp refuses two rules together (EEXIST)."""


def number(table: str, name: str) -> int:
    """libseccomp's number of a call, negative where the architecture has none."""
    return lib.seccomp_syscall_resolve_name_arch(ARCHES[table], name.encode())


def compile_filter(profile, tables: list[str], *, optimize: int = 1) -> bytes:
    """A profile as runc gives it to libseccomp, for the entry points `tables` (the first is the machine's own)."""
    default = action_value(profile.default_action, profile.default_errno_ret, "default")
    context = lib.seccomp_init(default)
    try:
        for table in tables:
            lib.seccomp_arch_add(context, ARCHES[table])
        if "x86_64" not in tables:
            lib.seccomp_arch_remove(context, ARCHES["x86_64"])
        assert lib.seccomp_attr_set(context, _BAD_ARCH, 0x80000000) == 0
        if optimize != 1:
            assert lib.seccomp_attr_set(context, _OPTIMIZE, optimize) == 0
        for rule in profile.syscalls:
            value = action_value(rule.action, rule.errno_ret, "rule")
            if value != default:
                for name in rule.names:
                    _add(context, name, value, rule)
        with tempfile.TemporaryFile() as file:
            assert lib.seccomp_export_bpf(context, file.fileno()) == 0
            file.seek(0)
            return file.read()
    finally:
        lib.seccomp_release(context)


def _add(context, name: str, value: int, rule) -> None:
    call = number("x86_64", name)
    if call == -1:  # __NR_SCMP_ERROR: no architecture knows it
        return
    repeated = len({arg.index for arg in rule.args}) < len(rule.args)
    for args in [(arg,) for arg in rule.args] if repeated else [rule.args]:
        comparisons = (_Comparison * max(1, len(args)))()
        for slot, arg in zip(comparisons, args, strict=False):
            slot.arg, slot.op = arg.index, OPERATORS.index(arg.op.removeprefix("SCMP_CMP_"))
            slot.a, slot.b = arg.value, arg.value_two
        result = lib.seccomp_rule_add_array(context, value, call, len(args), ctypes.byref(comparisons))
        if result == -17:
            raise Contradiction(name)
        assert result == 0, (name, result)
