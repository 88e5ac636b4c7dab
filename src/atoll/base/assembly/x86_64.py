"""The operations as x86-64 code: Intel's manual, volume 2; system calls as syscall(2) says.

Every operation takes one form of its instruction, the one with the most room (32-bit distances and numbers), so that
each line here is one encoding: REX prefix (W: 64 bits; R and B: the high bit of a register's number), opcode, ModRM.
"""

from __future__ import annotations

from struct import pack

from atoll.base.assembly.machine import EQUAL, GREATER_EQUAL, LESS, LESS_EQUAL, NOT_EQUAL, Machine

_CONDITIONS = {LESS: 0x8C, LESS_EQUAL: 0x8E, EQUAL: 0x84, NOT_EQUAL: 0x85, GREATER_EQUAL: 0x8D}
_RAX, _RCX, _RDX, _RBX, _RSP, _RBP, _RSI, _RDI, _R8, _R9, _R10, _R11 = range(12)


class X86(Machine):
    """A system call leaves all but rax, rcx and r11 alone."""

    NUMBER = 62
    CALLS = {
        "read": 0,
        "write": 1,
        "close": 3,
        "rt_sigaction": 13,
        "rt_sigprocmask": 14,
        "ioctl": 16,
        "getpid": 39,
        "socket": 41,
        "connect": 42,
        "sendmsg": 46,
        "recvmsg": 47,
        "shutdown": 48,
        "setsockopt": 54,
        "getsockopt": 55,
        "clone": 56,
        "execve": 59,
        "wait4": 61,
        "kill": 62,
        "fcntl": 72,
        "chdir": 80,
        "geteuid": 107,
        "setpgid": 109,
        "rt_sigtimedwait": 128,
        "chroot": 161,
        "mount": 165,
        "umount2": 166,
        "exit_group": 231,
        "openat": 257,
        "unlinkat": 263,
        "ppoll": 271,
        "signalfd4": 289,
        "pipe2": 293,
        "finit_module": 313,
        "statx": 332,
        "pidfd_send_signal": 424,
    }
    REGISTERS = {
        "result": _RAX,
        "sp": _RSP,
        "s0": _RBX,
        "s1": _RBP,
        "s2": 12,
        "s3": 13,
        "s4": 14,
        "s5": 15,
        "t0": _RCX,
        "t1": _R11,
        "t2": _R9,
        "t3": _RAX,
    }
    ARGUMENTS = (_RDI, _RSI, _RDX, _R10, _R8)

    def _direct(self, opcode: bytes, field: int, register: int, wide: int = 8) -> None:
        """An instruction on a register, with another one or part of the opcode in the other field of ModRM."""
        rex = 0x40 | wide | (field >> 3) << 2 | register >> 3
        self._put(bytes((rex,)) + opcode + bytes((0xC0 | (field & 7) << 3 | register & 7,)))

    def _memory(self, opcode: bytes, field: int, base: int, offset: int, wide: int = 8) -> None:
        """The same on memory at base + a 32-bit offset; rsp and r12 as a base need a SIB byte."""
        rex = 0x40 | wide | (field >> 3) << 2 | base >> 3
        sib = b"\x24" if base & 7 == 4 else b""
        self._put(bytes((rex,)) + opcode + bytes((0x80 | (field & 7) << 3 | base & 7,)) + sib + pack("<i", offset))

    def set(self, register: str | int, value: int) -> None:
        number = self.number(register)
        self._put(bytes((0x48 | number >> 3, 0xB8 | number & 7)) + pack("<Q", value & (1 << 64) - 1))  # mov r, imm64

    def move(self, register: str | int, other: str | int) -> None:
        self._direct(b"\x89", self.number(other), self.number(register))  # mov r/m, r

    def frame(self, register: str | int, offset: int) -> None:
        self._memory(b"\x8d", self.number(register), _RSP, offset)  # lea r, [rsp + offset]

    def address(self, register: str | int, name: str) -> None:
        number = self.number(register)
        self._put(bytes((0x48 | (number >> 3) << 2, 0x8D, 0x05 | (number & 7) << 3)))  # lea r, [rip + distance]
        self._later(name, 4, lambda distance: pack("<i", distance - 4))

    def load(self, register: str, base: str, offset: int, size: int = 8) -> None:
        # mov r64, m64; mov r32, m32 (which clears the upper half); movzx r64, m8
        opcode, wide = {8: (b"\x8b", 8), 4: (b"\x8b", 0), 1: (b"\x0f\xb6", 8)}[size]
        self._memory(opcode, self.number(register), self.number(base), offset, wide)

    def store(self, register: str, base: str, offset: int, size: int = 8) -> None:
        opcode, wide = {8: (b"\x89", 8), 1: (b"\x88", 0)}[size]  # mov m64, r64; mov m8, r8
        self._memory(opcode, self.number(register), self.number(base), offset, wide)

    def add(self, register: str, other: str | int) -> None:
        if isinstance(other, str):
            self._direct(b"\x01", self.number(other), self.number(register))  # add r/m, r
        else:
            self._direct(b"\x81", 0, self.number(register))  # add r/m, imm32
            self._put(pack("<i", other))

    def subtract(self, register: str, other: str) -> None:
        self._direct(b"\x29", self.number(other), self.number(register))  # sub r/m, r

    def keep_bits(self, register: str, bits: int) -> None:
        self._direct(b"\x81", 4, self.number(register))  # and r/m, imm32
        self._put(pack("<i", (1 << bits) - 1))

    def shift_right(self, register: str, bits: int) -> None:
        self._direct(b"\xc1", 5, self.number(register))  # shr r/m, imm8
        self._put(bytes((bits,)))

    def compare(self, register: str, other: str | int) -> None:
        if isinstance(other, str):
            self._direct(b"\x39", self.number(other), self.number(register))  # cmp r/m, r
        else:
            self._direct(b"\x81", 7, self.number(register))  # cmp r/m, imm32
            self._put(pack("<i", other))

    def jump(self, name: str) -> None:
        self._put(b"\xe9")  # jmp rel32
        self._later(name, 4, lambda distance: pack("<i", distance - 4))

    def jump_if(self, condition: str, name: str) -> None:
        self._put(bytes((0x0F, _CONDITIONS[condition])))  # jcc rel32
        self._later(name, 4, lambda distance: pack("<i", distance - 4))

    def trap(self, number: int) -> None:
        self.set(_RAX, number)
        self._put(b"\x0f\x05")  # syscall
