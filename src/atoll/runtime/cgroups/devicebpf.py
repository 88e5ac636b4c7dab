"""Device rules compiled to an eBPF program for cgroup v2 (BPF_PROG_TYPE_CGROUP_DEVICE). Pure.

Holds: `compile`. Does not hold: loading and attaching (`linux/bpf.py`), the rules (`devices.py`).
Sources: linux/bpf.h (struct bpf_insn, struct bpf_cgroup_dev_ctx), the kernel's bpf/standardization/instruction-set.

The kernel calls the program with {u32 access_type = access << 16 | kind; u32 major; u32 minor} and grants the
access if it returns 1. The rules are walked from the last, whose word counts most:

    r2 = kind, r3 = access still undecided, r4 = major, r5 = minor
    per rule:  skip unless kind, major, minor match
               deny:   if r3 & access: return 0
               allow:  r3 &= ~access; if r3 == 0: return 1
    return 0
"""

from __future__ import annotations

import struct

from atoll.base import errors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.runtime.cgroups.devices import Rule

# BPF_DEVCG_DEV_* of linux/bpf.h
_KINDS = {"b": 1, "c": 2}
MAX_INSTRUCTIONS = 4096  # BPF_MAXINSNS: what a loader without CAP_BPF may have; ample for rules

# class | size or source | operation
LDX_W = 0x61  # dst = *(u32 *)(src + off)
ALU_AND_K, ALU_RSH_K, ALU_MOV_K = 0x54, 0x74, 0xB4  # 32 bit
MOV_X = 0xBC  # 32 bit
JNE_K, JSET_K = 0x56, 0x46  # 32 bit compares
JA = 0x05
EXIT = 0x95
R0, R1, R2, R3, R4, R5 = range(6)
_INSTRUCTION = struct.Struct("<BBhi")


def _op(code: int, dst: int = 0, src: int = 0, offset: int = 0, *, value: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, src << 4 | dst, offset, value)


_REFUSE = (_op(ALU_MOV_K, R0, value=0), _op(EXIT))
_GRANT = (_op(ALU_MOV_K, R0, value=1), _op(EXIT))


def compile(rules: tuple[Rule, ...]) -> bytes:
    """The program for the rules, an array of struct bpf_insn. Raises Unsupported if it grows beyond the kernel's
    limit."""
    out = [
        _op(LDX_W, R2, R1, 0),
        _op(MOV_X, R3, R2),
        _op(ALU_AND_K, R2, value=0xFFFF),
        _op(ALU_RSH_K, R3, value=16),
        _op(LDX_W, R4, R1, 4),
        _op(LDX_W, R5, R1, 8),
    ]
    for rule in reversed(rules):
        body = _verdict(rule)
        tests = [(R2, _KINDS[rule.kind]), (R4, rule.major), (R5, rule.minor)]
        wanted = [(register, number) for register, number in tests if number is not None]
        for index, (register, number) in enumerate(wanted):
            # Jump over the remaining tests and the verdict.
            out.append(_op(JNE_K, register, offset=len(wanted) - index - 1 + len(body), value=number))
        out.extend(body)
    out.extend(_REFUSE)
    if len(out) > MAX_INSTRUCTIONS:
        raise errors.Unsupported(f"linux.resources.devices: {len(rules)} rules are more than the kernel takes")
    return b"".join(out)


def _verdict(rule: Rule) -> list[bytes]:
    if rule.allow:
        return [
            _op(ALU_AND_K, R3, value=~rule.access),
            _op(JNE_K, R3, offset=len(_GRANT), value=0),
            *_GRANT,
        ]
    return [_op(JSET_K, R3, offset=1, value=rule.access), _op(JA, offset=len(_REFUSE)), *_REFUSE]
