"""The operations as aarch64 code: Arm's Architecture Reference Manual, chapter C6; system calls as syscall(2) says.

Every instruction is a word of 32 bits: the number that names it, and its fields shifted into their places (Rd at
bit 0, Rn at 5, Rm at 16, a number of 12 bits at 10).
"""

from __future__ import annotations

from struct import pack

from atoll.base.assembly.machine import EQUAL, GREATER_EQUAL, LESS, LESS_EQUAL, NOT_EQUAL, Machine

_CONDITIONS = {EQUAL: 0, NOT_EQUAL: 1, GREATER_EQUAL: 10, LESS: 11, LESS_EQUAL: 13}
_SP = 31


class Arm(Machine):
    """A system call leaves all but x0 alone."""

    NUMBER = 183
    CALLS = {
        "fcntl": 25,
        "ioctl": 29,
        "unlinkat": 35,
        "umount2": 39,
        "mount": 40,
        "chdir": 49,
        "chroot": 51,
        "openat": 56,
        "close": 57,
        "pipe2": 59,
        "read": 63,
        "write": 64,
        "ppoll": 73,
        "signalfd4": 74,
        "exit_group": 94,
        "kill": 129,
        "rt_sigaction": 134,
        "rt_sigprocmask": 135,
        "rt_sigtimedwait": 137,
        "setpgid": 154,
        "getpid": 172,
        "geteuid": 175,
        "socket": 198,
        "connect": 203,
        "setsockopt": 208,
        "getsockopt": 209,
        "shutdown": 210,
        "sendmsg": 211,
        "recvmsg": 212,
        "clone": 220,
        "execve": 221,
        "wait4": 260,
        "finit_module": 273,
        "statx": 291,
        "pidfd_send_signal": 424,
    }
    REGISTERS = {
        "result": 0,
        "sp": _SP,
        "s0": 19,
        "s1": 20,
        "s2": 21,
        "s3": 22,
        "s4": 23,
        "s5": 24,
        "t0": 9,
        "t1": 10,
        "t2": 11,
        "t3": 12,
    }
    ARGUMENTS = (0, 1, 2, 3, 4)

    def set(self, register: str | int, value: int) -> None:
        number = self.number(register)
        self._word(0xD2800000 | (value & 0xFFFF) << 5 | number)  # movz x, #16 bits
        for place in (1, 2, 3):
            self._word(0xF2800000 | place << 21 | (value >> 16 * place & 0xFFFF) << 5 | number)  # movk x, #16 bits

    def move(self, register: str | int, other: str | int) -> None:
        to, source = self.number(register), self.number(other)
        if _SP in (to, source):
            self._word(0x91000000 | source << 5 | to)  # add x, sp, #0
        else:
            self._word(0xAA0003E0 | source << 16 | to)  # orr x, xzr, x

    def frame(self, register: str | int, offset: int) -> None:
        self._word(0x91000000 | offset << 10 | _SP << 5 | self.number(register))  # add x, sp, #offset

    def address(self, register: str | int, name: str) -> None:
        number = self.number(register)

        def adr(distance: int) -> bytes:
            return pack("<I", 0x10000000 | (distance & 3) << 29 | (distance >> 2 & 0x7FFFF) << 5 | number)

        self._later(name, 4, adr)

    def load(self, register: str, base: str, offset: int, size: int = 8) -> None:
        word = {8: 0xF9400000, 4: 0xB9400000, 1: 0x39400000}[size]  # ldr x, ldr w, ldrb w
        self._word(word | offset // size << 10 | self.number(base) << 5 | self.number(register))

    def store(self, register: str, base: str, offset: int, size: int = 8) -> None:
        word = {8: 0xF9000000, 1: 0x39000000}[size]  # str x, strb w
        self._word(word | offset // size << 10 | self.number(base) << 5 | self.number(register))

    def add(self, register: str, other: str | int) -> None:
        number = self.number(register)
        if isinstance(other, str):
            self._word(0x8B000000 | self.number(other) << 16 | number << 5 | number)  # add x, x, x
            return
        word = 0x91000000 if other >= 0 else 0xD1000000  # add x, x, #; sub x, x, #
        value = abs(other)
        if value >= 4096:
            word, value = word | 1 << 22, value >> 12  # … lsl #12
        self._word(word | value << 10 | number << 5 | number)

    def subtract(self, register: str, other: str) -> None:
        number = self.number(register)
        self._word(0xCB000000 | self.number(other) << 16 | number << 5 | number)  # sub x, x, x

    def keep_bits(self, register: str, bits: int) -> None:
        number = self.number(register)
        self._word(0x92400000 | (bits - 1) << 10 | number << 5 | number)  # and x, x, #ones

    def shift_right(self, register: str, bits: int) -> None:
        number = self.number(register)
        self._word(0xD340FC00 | bits << 16 | number << 5 | number)  # lsr x, x, #

    def compare(self, register: str, other: str | int) -> None:
        number = self.number(register)
        if isinstance(other, str):
            self._word(0xEB00001F | self.number(other) << 16 | number << 5)  # cmp x, x
        elif other >= 0:
            self._word(0xF100001F | other << 10 | number << 5)  # cmp x, #
        else:
            self._word(0xB100001F | -other << 10 | number << 5)  # cmn x, #

    def jump(self, name: str) -> None:
        self._later(name, 4, lambda distance: pack("<I", 0x14000000 | distance >> 2 & 0x3FFFFFF))  # b

    def jump_if(self, condition: str, name: str) -> None:
        word = 0x54000000 | _CONDITIONS[condition]  # b.cond
        self._later(name, 4, lambda distance: pack("<I", word | (distance >> 2 & 0x7FFFF) << 5))

    def trap(self, number: int) -> None:
        self.set(8, number)
        self._word(0xD4000001)  # svc #0
