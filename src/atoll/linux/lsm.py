"""Security modules' labels: proc_pid_attr(5), AppArmor and SELinux.

Holds: whether they are there, and what the next execve(2) is to run as. Does not hold: any profile.
"""

from __future__ import annotations

import os


def apparmor_enabled() -> bool:
    """Whether AppArmor runs on this kernel."""
    return _reads("/sys/module/apparmor/parameters/enabled", "Y")


def selinux_enabled() -> bool:
    """Whether SELinux runs on this kernel."""
    return os.path.exists("/sys/fs/selinux/enforce")


def _reads(path: str, wanted: str) -> bool:
    try:
        with open(path) as file:
            return file.read().startswith(wanted)
    except OSError:
        return False


def set_exec_label(proc_fd: int, text: str, *, apparmor: bool) -> None:
    """What execve(2) of this thread will run as, written below `proc_fd`, a procfs that nothing inside can have
    exchanged (CVE-2019-19921). Raises OSError."""
    names = ("thread-self/attr/apparmor/exec", "thread-self/attr/exec") if apparmor else ("thread-self/attr/exec",)
    for name in names:
        try:
            fd = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=proc_fd)
        except FileNotFoundError:
            if name is names[-1]:
                raise
            continue
        try:
            os.write(fd, (f"exec {text}" if apparmor else text).encode())
        finally:
            os.close(fd)
        return
