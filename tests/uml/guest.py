"""The first process inside: mounts, one command, its result, power off. Runs on Debian's bare python3.

Its one argument is the host's exchange directory, which it mounts writable at /mnt; everything else of the host is
seen read-only. There lie `job.json` (argv, environment, cwd, tmpfs) and, afterwards, `output` and `status`.
"""

import ctypes
import json
import os
import sys
import traceback

MS_NOSUID, MS_NODEV, MS_NOEXEC = 2, 4, 8
RB_POWER_OFF = 0x4321FEDC
libc = ctypes.CDLL(None, use_errno=True)


def mount(kind: str, target: str, flags: int = 0, options: str = "") -> None:
    if libc.mount(kind.encode(), target.encode(), kind.encode(), ctypes.c_ulong(flags), options.encode()) < 0:
        raise OSError(ctypes.get_errno(), f"mount {kind}", target)


def prepare(exchange: str) -> dict:
    """The file systems every program expects. Returns the job."""
    mount("hostfs", "/mnt", options=exchange)
    with open("/mnt/job.json") as stream:
        job = json.load(stream)
    mount("proc", "/proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("sysfs", "/sys", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    if os.path.isdir("/sys/kernel/security"):
        mount("securityfs", "/sys/kernel/security", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    mount("cgroup2", "/sys/fs/cgroup", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    for place in job["tmpfs"]:
        if not os.path.isdir(place) and place.startswith("/dev/"):
            os.mkdir(place)
        mount("tmpfs", place, MS_NOSUID, "mode=1777" if place != "/run" else "mode=755")
    if not os.path.isdir("/dev/pts"):
        os.mkdir("/dev/pts")
    mount("devpts", "/dev/pts", MS_NOSUID, "newinstance,ptmxmode=0666,mode=0620,gid=5")
    for link, target in (("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        if not os.path.lexists(f"/dev/{link}"):
            os.symlink(target, f"/dev/{link}")
    return job


def work(job: dict) -> int:
    """Run the command in a session of its own, reaping whatever it abandons; its exit code."""
    output = os.open("/mnt/output", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    pid = os.fork()
    if pid == 0:
        try:
            os.setsid()
            os.dup2(os.open("/dev/null", os.O_RDONLY), 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.chdir(job["cwd"])
            os.execvpe(job["argv"][0], job["argv"], job["environment"])
        finally:
            traceback.print_exc()
            os._exit(127)
    while True:
        ended, status = os.wait()
        if ended == pid:
            return os.waitstatus_to_exitcode(status)


def main() -> None:
    try:
        job = prepare(sys.argv[1])
        code = work(job)
        with open("/mnt/status", "w") as stream:
            stream.write(str(code))
    except BaseException:
        traceback.print_exc()
    finally:
        os.sync()
        libc.reboot(ctypes.c_int(RB_POWER_OFF))


if __name__ == "__main__":
    main()
