"""What a kernel whose drivers are modules runs first: it loads them, and goes on as the agent's init.

Holds: `program`. Does not hold: which modules, and the archive around them (`initrd.py`). Written in the operations
of `base/assembly/machine.py`, since there is nothing else to execute yet: no interpreter, no library, no shell.

    devtmpfs on /dev ─ each module: openat, finit_module, close, unlinkat ─ mount /dev/vda (until it is there)
    ─ umount /dev ─ move the mount to / ─ chroot ─ execve /init with the words and the environment that it was given

A module that does not load is not the end: what it was for is missed later, by whoever needs it, and says so. Without
the agent's root the program ends, which is the kernel's panic, and so the machine's end.
"""

from __future__ import annotations

from atoll.base.assembly import assemble
from atoll.base.assembly.machine import EQUAL, LESS, At, Frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.base.assembly.machine import Machine

DEVICE, PLACE, INIT = b"/dev/vda", b"/root", b"/init"
"""The agent's root (`machine.py`), where it is mounted before it is moved, what is executed in it."""
SAID = b"initrd: the agent's root does not appear\n"
ROUNDS, PAUSE = 1000, 20_000_000
"""How often the root is looked for, and the nanoseconds in between: under emulation a disk takes a while."""
_AT_FDCWD, _O_CLOEXEC = -100, 0x80000
_MS_RDONLY, _MS_MOVE, _MNT_DETACH = 1, 0x2000, 2
_TIME = Frame(0)
_FRAME = 64


def program(machine: str, modules: tuple[str, ...]) -> bytes | None:
    """The ELF file for a machine as uname(2) calls it, which loads the modules of these paths in their order; None
    for a machine that we have no code for."""
    return assemble(machine, lambda m: _write(m, modules))


def _write(m: Machine, modules: tuple[str, ...]) -> None:
    # The kernel leaves on the stack: the number of words, the words, 0, the environment, 0 (execve(2)).
    m.load("s2", "sp", 0)
    m.move("s0", "sp")
    m.add("s0", 8)
    m.move("s1", "s2")
    for _ in range(3):
        m.add("s1", "s1")
    m.add("s1", "s0")
    m.add("s1", 8)
    m.add("sp", -_FRAME)
    m.call("mount", At("dev"), At("/dev"), At("devtmpfs"), 0, 0)
    for number in range(len(modules)):
        m.call("openat", _AT_FDCWD, At(f"module {number}"), _O_CLOEXEC, 0)
        m.move("s2", "result")
        m.compare("s2", 0)
        m.jump_if(LESS, f"after {number}")
        m.call("finit_module", "s2", At("nothing"), 0)
        m.call("close", "s2")
        m.call("unlinkat", _AT_FDCWD, At(f"module {number}"), 0)  # its memory is the guest's again
        m.label(f"after {number}")
    m.set("s3", ROUNDS)
    m.label("look")
    m.call("mount", At("vda"), At("root"), At("erofs"), _MS_RDONLY, 0)
    m.compare("result", 0)
    m.jump_if(EQUAL, "there")
    m.add("s3", -1)
    m.compare("s3", 0)
    m.jump_if(EQUAL, "fail")
    m.set("t0", 0)
    m.store("t0", "sp", _TIME)
    m.set("t0", PAUSE)
    m.store("t0", "sp", _TIME + 8)
    m.call("ppoll", 0, 0, _TIME, 0, 0)
    m.jump("look")
    m.label("there")
    m.call("umount2", At("/dev"), _MNT_DETACH)
    m.call("chdir", At("root"))
    m.call("mount", At("here"), At("/"), 0, _MS_MOVE, 0)
    m.call("chroot", At("here"))
    m.call("chdir", At("/"))
    m.call("execve", At("init"), "s0", "s1")
    m.label("fail")
    m.call("write", 2, At("said"), len(SAID))
    m.call("exit_group", 1)
    for name, content in (
        ("dev", b"dev"), ("/dev", b"/dev"), ("devtmpfs", b"devtmpfs"), ("nothing", b""), ("vda", DEVICE),
        ("root", PLACE), ("erofs", b"erofs"), ("here", b"."), ("/", b"/"), ("init", INIT), ("said", SAID),
    ):  # fmt: skip
        m.text(name, content)
    for number, path in enumerate(modules):
        m.text(f"module {number}", path.encode())
