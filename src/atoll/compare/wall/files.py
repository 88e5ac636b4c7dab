"""What `/proc` and `/sys` inside show of the host.

Holds: `FILES`, `shown`. A file shows the host where what is read inside is what the host has at that moment: the same
text, or for counters that run the same number within what a second adds.
"""

from __future__ import annotations

from atoll.base.value import Value

SAME, NEAR = "same", "near"


class File(Value):
    """One file, how it is compared, and what it tells; what is `common` reads alike in many kernels, so that it says
    nothing where another kernel answers."""

    path: str
    how: str
    tells: str
    common: bool = False


FILES: tuple[File, ...] = (
    File(path="/proc/version", how=SAME, tells="the kernel's version"),
    File(path="/proc/cmdline", how=SAME, tells="the kernel's command line"),
    File(path="/proc/sys/kernel/random/boot_id", how=SAME, tells="which boot of which machine"),
    File(path="/proc/cpuinfo", how=SAME, tells="processors"),
    File(path="/proc/meminfo", how=NEAR, tells="memory"),
    File(path="/proc/uptime", how=NEAR, tells="how long the machine is up"),
    File(path="/proc/stat", how=NEAR, tells="processors' times, when it booted"),
    File(path="/proc/partitions", how=SAME, tells="disks"),
    File(path="/proc/diskstats", how=NEAR, tells="what disks do"),
    File(path="/proc/mounts", how=SAME, tells="mounts"),
    File(path="/proc/modules", how=SAME, tells="modules"),
    File(path="/proc/interrupts", how=NEAR, tells="devices"),
    File(path="/proc/iomem", how=SAME, tells="where memory lies"),
    File(path="/proc/kallsyms", how=SAME, tells="the kernel's symbols"),
    File(path="/proc/keys", how=SAME, tells="keys"),
    File(path="/proc/timer_list", how=NEAR, tells="timers of all processes"),
    File(path="/proc/sys/kernel/hostname", how=SAME, tells="the host's name"),
    File(path="/proc/sys/kernel/core_pattern", how=SAME, tells="what is done with crashes", common=True),
    File(path="/proc/net/dev", how=NEAR, tells="network devices"),
    File(path="/sys/class/dmi/id/product_name", how=SAME, tells="the machine's make"),
    File(
        path="/sys/devices/system/cpu/vulnerabilities/meltdown",
        how=SAME,
        tells="how the processor is mitigated",
        common=True,
    ),
    File(path="/sys/devices/system/cpu/online", how=SAME, tells="processors", common=True),
    File(path="/sys/kernel/mm/transparent_hugepage/enabled", how=SAME, tells="settings of the memory", common=True),
    File(path="/sys/kernel/uevent_seqnum", how=NEAR, tells="devices that came and went"),
)
_CLOSE = 0.02
_LEAST = 30.0


def shows(one: File, inside: bytes, host: bytes) -> bool:
    """Whether what was read inside is the host's."""
    if not inside or not host:
        return False
    size = min(len(inside), len(host), 1 << 16)
    if one.how == SAME:
        return inside[:size] == host[:size]
    found, known = _numbers(inside), _numbers(host)
    if not known or len(found) < min(3, len(known)):
        return False
    pairs = list(zip(found, known, strict=False))[:3]
    return all(abs(a - b) <= max(_LEAST, _CLOSE * b) for a, b in pairs) and any(b for _, b in pairs)


def _numbers(text: bytes) -> list[float]:
    """The numbers of the first lines."""
    found = []
    for word in text[:2000].replace(b":", b" ").split():
        try:
            found.append(float(word))
        except ValueError:
            continue
    return found


def host_text(path: str) -> bytes:
    """The host's; nothing where this user may not read it."""
    try:
        with open(path, "rb") as file:
            return file.read(1 << 16)
    except OSError:
        return b""
