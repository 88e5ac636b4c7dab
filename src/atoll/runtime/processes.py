"""Processes as `ps -ef` shows them, where no ps is. Holds: `look`. Does not hold: which (`runtime/cgroups`)."""

from __future__ import annotations

import os
import time

from atoll.base import files


def look(pids: list[int]) -> list[tuple[str, ...]]:
    """UID (a number), PID, PPID, C, STIME, TTY, TIME and CMD of each, from proc_pid_stat(5), but of those that have
    ended."""
    tick, booted = os.sysconf("SC_CLK_TCK"), time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
    rows: list[tuple[str, ...]] = []
    for pid in sorted(pids):
        try:
            stat = files.read_text(f"/proc/{pid}/stat")
            command = files.read_bytes(f"/proc/{pid}/cmdline").replace(b"\0", b" ").decode("utf-8", "replace").strip()
            owner = os.stat(f"/proc/{pid}").st_uid
        except OSError:  # ended meanwhile
            continue
        name, fields = stat[stat.index("(") + 1 : stat.rindex(")")], stat[stat.rindex(")") + 2 :].split()
        used, began = (int(fields[11]) + int(fields[12])) // tick, booted + int(fields[19]) / tick
        lived = max(1.0, time.time() - began)
        clock = f"{used // 3600:02d}:{used // 60 % 60:02d}:{used % 60:02d}"
        begin = time.strftime("%H:%M" if lived < 86400 else "%b%d", time.localtime(began))
        terminal = "?" if fields[4] == "0" else f"pts/{int(fields[4]) & 0xFF}"
        share = str(min(99, int(100 * used / lived)))
        rows.append((str(owner), str(pid), fields[1], share, begin, terminal, clock, command or f"[{name}]"))
    return rows
