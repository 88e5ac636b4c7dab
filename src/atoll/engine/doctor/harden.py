"""doctor --harden: kernel parameters and mounts that make a host harder to take, as a plan; applied, and undone.

Holds: the table, `plan`, `apply`, `undo`. Does not hold: what cannot be undone without a reboot (it is in the plan,
and left to the user), and mount options of what others have mounted.
Sources: Documentation/admin-guide/sysctl, Documentation/security/landlock.rst, the CIS Debian benchmark's section 3.

`apply` writes the parameters that differ, then a file of /etc/sysctl.d for the next boot; before each write the
value that was there is noted in the data root, so that `undo` puts back just what was changed, also after a crash.
"""

from __future__ import annotations

import os

from atoll.base import errors, files, jsontext
from atoll.base.value import Value
from atoll.engine.doctor.findings import Host

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.engine.engine import Engine

KEPT, DIFFERS, CHANGED, RESTORED, FAILED, YOURS = "as wanted", "differs", "changed", "put back", "failed", "by hand"
DROP_IN = "/etc/sysctl.d/60-atoll-hardening.conf"
NOTE = "hardening.json"

# (parameter, least value wanted, why). A higher value is stricter for each of them, and is left alone.
_PARAMETERS: tuple[tuple[str, int, str], ...] = (
    ("kernel.kptr_restrict", 2, "addresses of the kernel help an escape"),
    ("kernel.dmesg_restrict", 1, "the kernel's log names addresses and devices"),
    ("kernel.unprivileged_bpf_disabled", 2, "programs in the kernel are for root"),
    ("net.core.bpf_jit_harden", 2, "constants in compiled programs can be made gadgets"),
    ("kernel.perf_event_paranoid", 3, "counters leak across containers"),
    ("kernel.yama.ptrace_scope", 1, "a process may trace only its own children"),
    ("fs.protected_hardlinks", 1, "links to others' files in shared directories"),
    ("fs.protected_symlinks", 1, "links to others' files in shared directories"),
    ("fs.protected_fifos", 2, "pipes planted in shared directories"),
    ("fs.protected_regular", 2, "files planted in shared directories"),
    ("kernel.randomize_va_space", 2, "where programs lie in memory is not to be guessed"),
    ("net.ipv4.tcp_syncookies", 1, "floods of half-open connections"),
)
# The same, where a lower value is stricter.
_AT_MOST: tuple[tuple[str, int, str], ...] = (
    ("fs.suid_dumpable", 0, "memory of privileged programs in core files"),
    ("vm.unprivileged_userfaultfd", 0, "page faults that wait make races in the kernel winnable"),
    ("dev.tty.ldisc_autoload", 0, "old line disciplines are loaded by nobody's need"),
    ("dev.tty.legacy_tiocsti", 0, "typing into another's terminal"),
    ("kernel.sysrq", 0, "the console's keys reboot a host"),
    ("net.ipv4.conf.all.accept_redirects", 0, "a neighbour changes routes"),
    ("net.ipv6.conf.all.accept_redirects", 0, "a neighbour changes routes"),
    ("net.ipv4.conf.all.accept_source_route", 0, "a packet chooses its way"),
    ("net.ipv4.conf.all.send_redirects", 0, "this host is no router for its neighbours"),
)
# What takes effect for good until the next boot, or concerns the boot itself: told, never done.
_BY_HAND: tuple[tuple[str, str, str, str], ...] = (
    (
        "kernel.kexec_load_disabled",
        "/proc/sys/kernel/kexec_load_disabled",
        "1",
        "another kernel is not started from this one",
    ),
    ("lockdown", "/sys/kernel/security/lockdown", "[integrity]", "root does not change the running kernel"),
)
_MOUNTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("/tmp", ("nosuid", "nodev")),
    ("/dev/shm", ("nosuid", "nodev", "noexec")),
)


class Step(Value):
    """One setting: how it is, how it is wanted, what became of it, and what it is good for."""

    setting: str
    now: str
    wanted: str
    state: str
    why: str


def plan(host: Host | None = None) -> list[Step]:
    """Every setting that this kernel has. Changes nothing."""
    host = host or Host(os.geteuid())
    return [*_parameters(host), *_mounts(host), *_hands(host)]


def _parameters(host: Host) -> list[Step]:
    found = []
    for table, strict_enough in ((_PARAMETERS, int.__ge__), (_AT_MOST, int.__le__)):
        for name, value, why in table:
            now = host.sysctl(name)
            if now is not None:
                state = KEPT if strict_enough(now, value) else DIFFERS
                found.append(Step(setting=name, now=str(now), wanted=str(value), state=state, why=why))
    return found


def _mounts(host: Host) -> list[Step]:
    options = {}
    for line in host.read("/proc/self/mounts").splitlines():
        words = line.split(" ")
        if len(words) > 3:
            options[words[1]] = words[3].split(",")
    found = []
    for place, wanted in _MOUNTS:
        if place in options:
            lacking = [one for one in wanted if one not in options[place]]
            found.append(
                Step(
                    setting=f"mount {place}",
                    now=",".join(one for one in wanted if one not in lacking) or "none of them",
                    wanted=",".join(wanted),
                    state=YOURS if lacking else KEPT,
                    why=f"add {','.join(lacking)} to its line in /etc/fstab"
                    if lacking
                    else "nothing there is special",
                )
            )
    return found


def _hands(host: Host) -> list[Step]:
    found = []
    for name, path, wanted, why in _BY_HAND:
        now = host.read(path)
        if now:
            state = KEPT if wanted in now.split() or "[confidentiality]" in now else YOURS
            found.append(Step(setting=name, now=now, wanted=wanted, state=state, why=why))
    return found


def apply(engine: Engine, host: Host | None = None) -> list[Step]:
    """Write every parameter that differs, now and for the next boot. Raises Denied for an ordinary user, Corrupt when
    the note of an earlier time cannot be read; a parameter that the kernel refuses is a step that failed."""
    host = host or Host(os.geteuid())
    _only_root(host)
    note = _note(engine)
    before = _load(note)
    done = []
    for step in plan(host):
        if step.state == DIFFERS:
            before.setdefault(step.setting, step.now)
            files.write_atomic(note, jsontext.dumps(before), sync=True)
            step = _write(host, step, step.wanted, CHANGED)
        done.append(step)
    lines = [f"{name} = {_wanted()[name]}\n" for name in sorted(before)]
    if lines:
        place = host.root + DROP_IN
        os.makedirs(os.path.dirname(place), exist_ok=True)
        text = "# Written by 'atoll doctor --harden --apply'; '--undo' removes it.\n" + "".join(lines)
        files.write_atomic(place, text, mode=0o644, sync=True)
    return done


def undo(engine: Engine, host: Host | None = None) -> list[Step]:
    """Put back what `apply` changed. Raises Denied, FailedPrecondition when there is nothing to undo."""
    host = host or Host(os.geteuid())
    _only_root(host)
    note = _note(engine)
    before = _load(note)
    if not before:
        raise errors.FailedPrecondition("nothing to undo: no plan was applied with this data root")
    done = []
    left = dict(before)
    wanted = _wanted()
    for name, value in before.items():
        now = host.sysctl(name)
        step = Step(setting=name, now=str(now), wanted=value, state=DIFFERS, why="as it was before")
        if name not in wanted or str(now) != str(wanted[name]):
            step = step.replace(state=KEPT, why="changed by somebody else since: left alone")
        else:
            step = _write(host, step, value, RESTORED)
        if step.state != FAILED:
            del left[name]
        done.append(step)
    if left:
        files.write_atomic(note, jsontext.dumps(left), sync=True)
    else:
        files.unlink_if_present(host.root + DROP_IN)
        files.unlink_if_present(note)
    return done


def _wanted() -> dict[str, int]:
    return {name: value for name, value, _ in (*_PARAMETERS, *_AT_MOST)}


def _write(host: Host, step: Step, value: str, state: str) -> Step:
    path = host.root + "/proc/sys/" + step.setting.replace(".", "/")
    try:
        files.write_file(path, value + "\n", flags=os.O_WRONLY | os.O_TRUNC)
    except OSError as error:
        return step.replace(state=FAILED, why=f"the kernel refuses: {error.strerror}")
    return step.replace(now=value, state=state)


def _only_root(host: Host) -> None:
    if host.uid != 0:
        raise errors.Denied("a host's parameters are root's to change", hint="run it as root, e.g. with sudo")


def _note(engine: Engine) -> str:
    return f"{engine.paths.data}/{NOTE}"


def _load(path: str) -> dict[str, str]:
    try:
        found = jsontext.loads(files.read_text(path))
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise errors.Corrupt(f"{path} cannot be read: {error}") from error
    known = _wanted()
    if not isinstance(found, dict) or not all(
        name in known and str(value).lstrip("-").isdecimal() for name, value in found.items()
    ):
        raise errors.Corrupt(f"{path} is not what 'doctor --harden --apply' writes")
    return {str(name): str(value) for name, value in found.items()}
