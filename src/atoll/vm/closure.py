"""The closure of this interpreter and of a VMM: the files that a guest and a jail are made of, copied from the host.

Holds: `Closure`, `closure`, `planned` (made once, found by what it was made of). Does not hold: what runs in
them (`guest`).
Nothing is downloaded: what the guest executes is the host's own Python and this very Atoll, so that host and guest
never differ in version. A jail sees these copies and no file of the host.

    <data>/vm/closure/<key>/jail/    read-only root of VMMs: interpreter, Atoll, the VMM, its firmware, virtiofsd
                           /agent.img   the guest's root: interpreter and Atoll, as one erofs (mkfs.erofs(1))
"""

from __future__ import annotations

import os
import stat
import sys

from atoll.base import errors, files
from atoll.base.value import Value
from atoll.vm import uml

ROOMS = ("base", "linux", "spec", "snapshots", "runtime", "vm", "guest")
"""The rooms of Atoll that run in a guest or a jail."""
SEARCH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/lib/qemu", "/usr/libexec")
FIRMWARE = ("bios-microvm.bin", "qboot.rom", "pvh.bin", "linuxboot_dma.bin", "kvmvapic.bin")
MODULES = ("accel-tcg-x86_64.so", "accel-tcg-i386.so")
MODULE_PLACES = ("/usr/lib/x86_64-linux-gnu/qemu", "/usr/lib64/qemu", "/usr/lib/qemu", "/usr/local/lib/qemu")
"""Parts of QEMU that distributions keep apart, and which it looks for where it was built to."""
FIRMWARE_PLACES = ("/usr/share/qemu", "/usr/share/seabios", "/usr/local/share/qemu")
PLACES = ("proc", "sys", "dev", "run", "tmp", "vm", "volumes", "etc")
"""Empty directories to mount on: both roots are read-only."""
_NOT_NEEDED = frozenset(
    "test tests idlelib tkinter turtledemo ensurepip lib2to3 distutils pydoc_data venv unittest dist-packages "
    "site-packages sqlite3 xmlrpc wsgiref multiprocessing asyncio config-3.11-x86_64-linux-gnu curses dbm".split()
)
_LINKS = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Closure(Value):
    """What was made: the jail's root, the guest's, the interpreter's path in both, the VMM's and virtiofsd's in the
    jail ("" where the host has none)."""

    key: str
    jail: str
    agent: str
    python: str
    vmm: str
    virtiofsd: str


def find_program(name: str) -> str:
    """Where the host has a program, "" if nowhere."""
    for folder in SEARCH:
        path = f"{folder}/{name}"
        if os.path.isfile(path) and os.access(path, os.X_OK):
            return path
    return ""


def closure(root: str, vmm: str = "qemu-system-x86_64") -> Closure:
    """The closure below `root`, made if it is not there or what it was made of has changed. Two at once are fine.

    Raises Unsupported where a program for making it is missing, Exhausted, Denied.
    """
    made = planned(root, vmm)
    if os.path.exists(made.agent):
        return made
    try:
        _make(root, made, vmm)
    except OSError as error:
        raise errors.from_os_error(error, "pack the interpreter for virtual machines") from error
    return made


def planned(root: str, vmm: str) -> Closure:
    """What `closure` makes now, whether it is there or not."""
    found, virtiofsd = find_program(vmm), find_program("virtiofsd")
    python = os.path.realpath(sys.executable)
    key = _key((python, found, virtiofsd, "/etc/ld.so.cache", _stdlib() + "/os.py"))
    place = f"{root}/closure/{key}"
    return Closure(
        key=key,
        jail=f"{place}/jail",
        agent=f"{place}/agent.img",
        python=python,
        vmm=os.path.realpath(found) if found else "",
        virtiofsd=os.path.realpath(virtiofsd) if virtiofsd else "",
    )


def _key(paths: tuple[str, ...]) -> str:
    """A digest of what the closure is made of, by times and sizes: the libraries are in ld.so.cache's."""
    import _sha256  # type: ignore[import-not-found, unused-ignore]

    known = []
    for path in (*paths, *sorted(_sources())):
        try:
            found = os.stat(path)
            known.append(f"{path}:{found.st_mtime_ns}:{found.st_size}")
        except OSError:
            known.append(path)
    text = "\n".join(known).encode()
    return str(_sha256.sha256(text).hexdigest()[:24])


def _package() -> str:
    return os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def _stdlib() -> str:
    return os.path.dirname(os.path.realpath(os.__file__))


def _sources() -> list[str]:
    package = _package()
    found = [f"{package}/__init__.py"]
    for room in ROOMS:
        for folder, _, names in os.walk(f"{package}/{room}"):
            found += [f"{folder}/{name}" for name in names if name.endswith(".py")]
    return found


def _make(root: str, made: Closure, vmm: str) -> None:
    place = os.path.dirname(made.agent)
    tool = find_program("mkfs.erofs")
    if not tool:
        raise errors.Unsupported("mkfs.erofs is not here", hint="apt install erofs-utils")
    if not made.vmm:
        raise errors.Unsupported(f"{vmm} is not here", hint="'atoll isolation ls' says what brings it")
    os.makedirs(os.path.dirname(place), mode=0o711, exist_ok=True)
    lock = files.FileLock(f"{place}.lock")
    lock.acquire()
    try:
        if os.path.exists(made.agent):
            return
        temporary = f"{place}.tmp"
        files.remove_tree(temporary)
        os.makedirs(f"{temporary}/jail", mode=0o755)
        os.chmod(temporary, 0o711)
        _copy_interpreter(f"{temporary}/jail", made.python)
        _run([tool, "-T0", "-U00000000-0000-0000-0000-000000000000", f"{temporary}/agent.img", f"{temporary}/jail"])
        _copy_vmm(f"{temporary}/jail", made)
        os.chmod(f"{temporary}/agent.img", 0o644)
        files.remove_tree(place)
        os.rename(temporary, place)
    finally:
        lock.release()


def _copy_interpreter(target: str, python: str) -> None:
    for name in PLACES:
        os.makedirs(f"{target}/{name}", exist_ok=True)
    for name in _LINKS:  # a merged /usr, as the paths of the loader and of libraries want it
        if os.path.islink(f"/{name}"):
            os.symlink(os.readlink(f"/{name}"), f"{target}/{name}")
            os.makedirs(f"{target}/usr/{name}", exist_ok=True)
    stdlib = _stdlib()
    _copy_tree(stdlib, f"{target}{stdlib}", lambda name: name not in _NOT_NEEDED)
    package = _package()
    _copy(f"{package}/__init__.py", f"{target}/usr/lib/atoll/atoll/__init__.py")
    for room in ROOMS:
        _copy_tree(f"{package}/{room}", f"{target}/usr/lib/atoll/atoll/{room}", lambda name: name != "__pycache__")
    _copy_program(target, python)
    for folder, _, names in os.walk(f"{target}{stdlib}/lib-dynload"):
        for name in names:
            _copy_libraries(target, f"{folder}/{name}")
    _compile(target, python, (f"{target}{stdlib}", f"{target}/usr/lib/atoll"))
    boot = files.read_text(f"{package}/guest/boot.py")
    files.write_atomic(f"{target}/init", f"#!{python} -SI\n{boot}", mode=0o755)
    files.write_atomic(f"{target}/etc/passwd", "root:x:0:0:root:/:/bin/false\n", mode=0o644)


def _copy_vmm(target: str, made: Closure) -> None:
    for program in (made.vmm, made.virtiofsd):
        if program:
            _copy_program(target, program)
    if os.path.basename(made.vmm) == uml.PROGRAM:
        _copy_modules(target)
    if not os.path.basename(made.vmm).startswith("qemu"):
        return
    for name in MODULES:
        for folder in MODULE_PLACES:
            if os.path.exists(f"{folder}/{name}"):
                _copy_program(target, f"{folder}/{name}")
    for name in FIRMWARE:
        for folder in FIRMWARE_PLACES:
            if os.path.exists(f"{folder}/{name}"):
                _copy(os.path.realpath(f"{folder}/{name}"), f"{target}/usr/share/qemu/{name}")
                break


def _copy_modules(target: str) -> None:
    """What user-mode Linux keeps apart of its kernel: its guest's root is the jail's."""
    for release in os.listdir(uml.MODULES):
        for part in uml.PARTS:
            path = f"{uml.MODULES}/{release}/{part}"
            if os.path.exists(path):
                _copy(path, target + path)


def _copy_program(target: str, path: str) -> None:
    _copy(path, target + path)
    _copy_libraries(target, path)


def _copy_libraries(target: str, path: str) -> None:
    """Everything that ldd(1) says a program of the host's is linked with."""
    for line in _run(["/usr/bin/ldd", path], may_fail=True).splitlines():
        words = line.split()
        library = words[2] if "=>" in words and len(words) > 2 else words[0] if words else ""
        if library.startswith("/") and os.path.exists(library):
            _copy(os.path.realpath(library), target + library)


def _compile(target: str, python: str, places: tuple[str, ...]) -> None:
    """Bytecode beside every module, valid whatever its time: a guest has nowhere to put its own."""
    code = (
        "import compileall, py_compile, sys\n"
        "for place in sys.argv[2:]:\n"
        "    compileall.compile_dir(place, quiet=2, stripdir=sys.argv[1], workers=1,\n"
        "        invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH)\n"
    )
    _run([python, "-SI", "-c", code, target, *places])


def _copy_tree(source: str, target: str, wanted: object) -> None:
    for folder, below, names in os.walk(source):
        below[:] = [name for name in below if wanted(name) and name != "__pycache__"]  # type: ignore[operator]
        for name in names:
            if name.endswith((".py", ".so")):
                _copy(f"{folder}/{name}", target + folder[len(source) :] + "/" + name)


def _copy(source: str, target: str) -> None:
    import shutil

    if not os.path.exists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        shutil.copyfile(source, target)
        os.chmod(target, 0o755 if os.stat(source).st_mode & stat.S_IXUSR else 0o644)


def _run(argv: list[str], *, may_fail: bool = False) -> str:
    import subprocess

    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace")
    if done.returncode and not may_fail:
        raise errors.Unavailable(f"{os.path.basename(argv[0])} failed: {done.stderr[-500:].strip()}")
    return done.stdout
