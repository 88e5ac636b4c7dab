#!/usr/bin/python3
"""Writes `docs/run-flags.md`: every flag of `run` that Docker and Podman share, and ours, each with its state.

    tools/run_flags.py            write the table
    tools/run_flags.py --check    only say what is wrong with it; exit code 1 then

What the two others know is listed below, as `docker run --help` (28.2) and `podman run --help` (4.3) name it;
tests/gates/test_run_flags.py compares the lists with the programs where they are installed. A flag of ours is found
in the command's own table. One that is shared and not ours needs a reason here: no row is empty.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs/run-flags.md"
sys.path.insert(0, str(ROOT / "src"))

DOCKER = """
add-host annotation attach blkio-weight blkio-weight-device cap-add cap-drop cgroup-parent cgroupns cidfile
cpu-count cpu-percent cpu-period cpu-quota cpu-rt-period cpu-rt-runtime cpu-shares cpus cpuset-cpus
cpuset-mems detach detach-keys device device-cgroup-rule device-read-bps device-read-iops device-write-bps
device-write-iops disable-content-trust dns dns-option dns-search domainname entrypoint env env-file expose
gpus group-add health-cmd health-interval health-retries health-start-interval health-start-period
health-timeout help hostname init interactive io-maxbandwidth io-maxiops ip ip6 ipc isolation kernel-memory
label label-file link link-local-ip log-driver log-opt mac-address memory memory-reservation memory-swap
memory-swappiness mount name network network-alias no-healthcheck oom-kill-disable oom-score-adj pid
pids-limit platform privileged publish publish-all pull quiet read-only restart rm runtime security-opt
shm-size sig-proxy stop-signal stop-timeout storage-opt sysctl tmpfs tty ulimit use-api-socket user userns uts
volume volume-driver volumes-from workdir
""".split()

PODMAN = """
add-host annotation arch attach authfile blkio-weight blkio-weight-device cap-add cap-drop cgroup-conf
cgroup-parent cgroupns cgroups chrootdirs cidfile conmon-pidfile cpu-period cpu-quota cpu-rt-period
cpu-rt-runtime cpu-shares cpus cpuset-cpus cpuset-mems detach detach-keys device device-cgroup-rule
device-read-bps device-read-iops device-write-bps device-write-iops disable-content-trust dns dns-option
dns-search entrypoint env env-file env-host env-merge expose gidmap group-add health-cmd health-interval
health-on-failure health-retries health-start-period health-timeout help hostname hostuser http-proxy
image-volume init init-path interactive ip ip6 ipc label label-file log-driver log-opt mac-address memory
memory-reservation memory-swap memory-swappiness mount name network network-alias no-healthcheck no-hosts
oom-kill-disable oom-score-adj os passwd passwd-entry personality pid pidfile pids-limit platform pod
pod-id-file preserve-fds privileged publish publish-all pull quiet read-only read-only-tmpfs replace requires
restart rm rmi rootfs sdnotify seccomp-policy secret security-opt shm-size sig-proxy stop-signal stop-timeout
subgidname subuidname sysctl systemd timeout tls-verify tmpfs tty tz uidmap ulimit umask unsetenv unsetenv-all
user userns uts variant volume volumes-from workdir
""".split()

# What a flag of ours does otherwise than Docker's, or does not do in some places; also for those that are not ours.
NOTES = {
    "annotation": "names that begin with `org.atoll.` are refused",
    "attach": "of the three streams; what is not attached is in the log all the same",
    "blkio-weight": "needs the BFQ scheduler or, on cgroup v2, io.cost; a refusal says so",
    "cgroup-parent": "an ordinary user names a cgroup that is delegated",
    "cpu-rt-period": "cgroup v1 with CONFIG_RT_GROUP_SCHED; refused by name elsewhere",
    "cpu-rt-runtime": "cgroup v1 with CONFIG_RT_GROUP_SCHED; refused by name elsewhere",
    "cpu-count": "not here: Windows only",
    "cpu-percent": "not here: Windows only",
    "device": "paths, directories, CDI names (`/etc/cdi`, `/var/run/cdi`); in a user namespace a node is bound",
    "device-cgroup-rule": "root; in a user namespace the kernel allows no rules, and no nodes can be made either",
    "disable-content-trust": "accepted, without effect, as in Docker 28",
    "gpus": "by CDI: the names of `nvidia.com/gpu`",
    "help": "of every command",
    "io-maxbandwidth": "not here: Windows only",
    "io-maxiops": "not here: Windows only",
    "isolation": "the dial: how strong the wall is; Docker's flag of this name is for Windows",
    "kernel-memory": "accepted, without effect: withdrawn by the kernel",
    "link": "not here: withdrawn by Docker; containers of one network find one another by name",
    "link-local-ip": "not here: Docker's networks alone use it",
    "log-driver": "json-file, local (Docker's bounds, 20 MB five times, compressed; the files are json-file's, for "
    "only Docker reads its own), k8s-file, journald (where it is), none; those that send logs elsewhere are refused "
    "by name",
    "log-opt": "max-size, max-file, compress, labels, labels-regex, env, env-regex, tag, mode, max-buffer-size",
    "memory-swappiness": "cgroup v1; cgroup v2 has none, and it is left out there, as Docker does",
    "mount": "bind, volume, tmpfs, image, devpts; not `U`: the owners of the host's files are not changed",
    "oom-kill-disable": "cgroup v1; cgroup v2 has no such switch, and it is left out there, as Docker does",
    "oom-score-adj": "an ordinary user may only raise it",
    "platform": "a foreign one by qemu-user where it is registered with flag F, else what is missing is said",
    "pod": "Podman's; a name, or `new:NAME` (docs/pods.md)",
    "privileged": "all devices; in a user namespace those that the caller may open",
    "runtime": "an external runtime is a level of `--isolation`",
    "secret": "Podman's; mounted from a tmpfs or a variable, never in `inspect`",
    "security-opt": "Docker's and Podman's words, and `profile=docker`, `allow_32bit`",
    "storage-opt": "`size=` is refused: quotas of the file system are not used",
    "sysctl": "those of the container's own namespaces",
    "systemd": "Podman's; `true`, the default, where the program is an init",
    "ulimit": "a hard limit that cannot be raised here is what there is, with a warning",
    "use-api-socket": "not here: there is no daemon's socket to give",
    "userns": "host, auto (root), keep-id and explicit maps; not `nomap`, whose files would be nobody's",
    "uidmap": "with `--gidmap`; an ordinary user's in the terms of the user's own ids, of which 0 is one",
    "volume": "not `U`: the owners of the host's files are not changed",
    "volume-driver": "local",
    "health-on-failure": "Podman's; `restart` counts on with `--restart`",
    "arch": "Podman's, as are `--os` and `--variant`: together `--platform`",
    "env-host": "Podman's",
    "replace": "Podman's; what has the name goes once everything else about the new one is known to be right",
    "umask": "Podman's",
}
HEAD = """# The flags of `run` and `create`

Written by `tools/run_flags.py`; do not edit. All that Docker ({docker} flags) and Podman ({podman}) share is here,
{shared} of them, and whatever else `atoll run` knows. What the kernel refuses to an ordinary user is refused by name,
with what helps. Podman's flags that neither Docker nor Atoll has are not listed.

| flag | Docker 28.2 | Podman 4.3 | Atoll | what to know |
| --- | --- | --- | --- | --- |
"""


def ours() -> dict[str, str]:
    """The flags of `atoll run`: name and help."""
    from atoll.cli.options import all_flags
    from atoll.cli.run import COMMAND

    return {flag.name: flag.help for flag in all_flags(COMMAND)} | {"help": "Show the flags"}


def rows() -> list[tuple[str, bool, bool, bool, str]]:
    """Flag, whether Docker, Podman and we have it, and what to know."""
    known = ours()
    names = sorted({*known, *DOCKER, *(set(PODMAN) & set(NOTES))})
    found = []
    for name in names:
        note = NOTES.get(name, known.get(name, ""))
        found.append((name, name in DOCKER, name in PODMAN, name in known, note))
    return found


def problems() -> list[str]:
    """Rows that say nothing, and notes that belong to none."""
    found = [
        f"--{name} is not ours, and no reason is given" for name, *_, has, note in rows() if not has and not note
    ]
    listed = {name for name, *_ in rows()}
    return found + [f"the note on --{name} belongs to no flag" for name in NOTES if name not in listed]


def table() -> str:
    """The document."""
    lines = [HEAD.format(docker=len(DOCKER), podman=len(PODMAN), shared=len(set(DOCKER) & set(PODMAN)))]
    for name, docker, podman, has, note in rows():
        marks = " | ".join("yes" if one else "–" for one in (docker, podman, has))
        lines.append(f"| `--{name}` | {marks} | {note.replace('|', chr(92) + '|')} |\n")
    return "".join(lines)


def main(words: list[str]) -> int:
    wrong = problems()
    if "--check" in words and table() != DOCUMENT.read_text(encoding="utf-8"):
        wrong.append(f"{DOCUMENT.name} is not up to date: run tools/run_flags.py")
    for one in wrong:
        print(one, file=sys.stderr)
    if wrong:
        return 1
    if "--check" not in words:
        DOCUMENT.write_text(table(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
