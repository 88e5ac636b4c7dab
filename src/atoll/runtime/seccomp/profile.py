"""The profile of a container that asks for none: what it may call, and what stays closed, with the reasons.

Holds: `default_profile` and its data: `OPEN` (by purpose), `WITH_CAPABILITY`, `FAMILIES`, `CLOSED` (for the tests and
`docs/seccomp.md`; what no list opens is closed), and what makes Docker's default differ. Does not hold: semantics of
rules (`rules.py`). Names unknown to a machine are skipped by every runtime, so one list serves all of them.

Docker's default is that of moby/profiles, seccomp/default.json, on a kernel of 4.8 or later; the names here are in
our own order. Ours differs by: entry points of other widths closed, few address families, `DOCKER_ONLY` and
`ATOLL_ONLY`.
"""

from __future__ import annotations

from atoll.runtime.seccomp import arches
from atoll.runtime.seccomp.flags import ENOSYS, EPERM
from atoll.spec.runtime import Seccomp, SeccompArg, SyscallRule

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Set

_EAFNOSUPPORT = 97

# What any program may do. (purpose, names)
OPEN: tuple[tuple[str, str], ...] = (
    (
        "files and descriptors",
        "open openat openat2 creat close close_range read write readv writev pread64 pwrite64 preadv pwritev preadv2 "
        "pwritev2 lseek _llseek dup dup2 dup3 fcntl fcntl64 flock ioctl truncate truncate64 ftruncate ftruncate64 "
        "fallocate fsync fdatasync sync syncfs sync_file_range sync_file_range2 arm_sync_file_range fadvise64 "
        "fadvise64_64 arm_fadvise64_64 readahead sendfile sendfile64 copy_file_range splice tee pipe pipe2 cachestat "
        "memfd_create memfd_secret",
    ),
    (
        "names, directories, metadata",
        "access faccessat faccessat2 stat stat64 lstat lstat64 fstat fstat64 newfstatat fstatat64 statx statfs "
        "statfs64 fstatfs fstatfs64 statmount listmount getcwd chdir fchdir getdents getdents64 mkdir mkdirat rmdir "
        "link linkat symlink symlinkat readlink readlinkat unlink unlinkat rename renameat renameat2 mknod mknodat "
        "chmod fchmod fchmodat fchmodat2 chown chown32 lchown lchown32 fchown fchown32 fchownat umask utime utimes "
        "futimesat utimensat utimensat_time64 name_to_handle_at file_getattr file_setattr",
    ),
    (
        "extended attributes",
        "getxattr lgetxattr fgetxattr getxattrat setxattr lsetxattr fsetxattr setxattrat listxattr llistxattr "
        "flistxattr listxattrat removexattr lremovexattr fremovexattr removexattrat",
    ),
    (
        "waiting for events",
        "poll ppoll ppoll_time64 select _newselect pselect6 pselect6_time64 epoll_create epoll_create1 epoll_ctl "
        "epoll_wait epoll_pwait epoll_pwait2 eventfd eventfd2 signalfd signalfd4 timerfd_create timerfd_settime "
        "timerfd_settime64 timerfd_gettime timerfd_gettime64 inotify_init inotify_init1 inotify_add_watch "
        "inotify_rm_watch fanotify_mark",
    ),
    (
        "memory",
        "brk mmap mmap2 munmap mremap mprotect madvise msync mincore mlock mlock2 munlock mlockall munlockall mseal "
        "remap_file_pages pkey_alloc pkey_free pkey_mprotect membarrier map_shadow_stack",
    ),
    (
        "processes and threads",
        "fork vfork execve execveat exit exit_group wait4 waitid waitpid getpid getppid gettid getpgid setpgid "
        "getpgrp getsid setsid prctl set_tid_address set_robust_list get_robust_list rseq futex futex_time64 "
        "futex_wait futex_wake futex_requeue futex_waitv pidfd_open pidfd_send_signal process_mrelease "
        "restart_syscall getcpu",
    ),
    (
        "the thread pointer and other matters of one architecture",
        "arch_prctl set_thread_area get_thread_area set_tls cacheflush breakpoint",
    ),
    # Not made by programs: a kernel that traces a container from outside makes the container call these.
    ("probes placed from outside", "uretprobe uprobe"),
    (
        "signals",
        "kill tkill tgkill pause alarm sigaltstack sigprocmask sigreturn rt_sigaction rt_sigpending rt_sigprocmask "
        "rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo",
    ),
    (
        # The setting ones only read the clock without CAP_SYS_TIME.
        "clocks and timers",
        "time times gettimeofday clock_gettime clock_gettime64 clock_getres clock_getres_time64 clock_nanosleep "
        "clock_nanosleep_time64 nanosleep adjtimex clock_adjtime clock_adjtime64 getitimer setitimer timer_create "
        "timer_delete timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64",
    ),
    (
        # Within what capabilities and the user namespace permit.
        "users, groups, capabilities",
        "getuid getuid32 geteuid geteuid32 getgid getgid32 getegid getegid32 getgroups getgroups32 getresuid "
        "getresuid32 getresgid getresgid32 setuid setuid32 setgid setgid32 setgroups setgroups32 setreuid setreuid32 "
        "setregid setregid32 setresuid setresuid32 setresgid setresgid32 setfsuid setfsuid32 setfsgid setfsgid32 "
        "capget capset",
    ),
    (
        "scheduling and limits",
        "sched_yield sched_getaffinity sched_setaffinity sched_getattr sched_setattr sched_getparam sched_setparam "
        "sched_getscheduler sched_setscheduler sched_get_priority_max sched_get_priority_min sched_rr_get_interval "
        "sched_rr_get_interval_time64 getpriority setpriority ioprio_get ioprio_set getrlimit ugetrlimit setrlimit "
        "prlimit64 getrusage",
    ),
    (
        "sockets, once made",
        "bind listen accept accept4 connect getsockname getpeername getsockopt setsockopt send sendto sendmsg "
        "sendmmsg recv recvfrom recvmsg recvmmsg recvmmsg_time64 shutdown",
    ),
    (
        "System V and POSIX IPC",
        "semget semop semctl semtimedop semtimedop_time64 shmget shmat shmdt shmctl msgget msgsnd msgrcv msgctl "
        "mq_open mq_unlink mq_getsetattr mq_notify mq_timedsend mq_timedsend_time64 mq_timedreceive "
        "mq_timedreceive_time64",
    ),
    (
        "asynchronous I/O of old (databases, web servers)",
        "io_setup io_destroy io_submit io_cancel io_getevents io_pgetevents io_pgetevents_time64",
    ),
    ("facts about the system", "uname sysinfo getrandom"),
    (
        "restricting oneself further",
        "seccomp landlock_create_ruleset landlock_add_rule landlock_restrict_self",
    ),
    # Since Linux 4.8 a tracer cannot change a call after the filter has seen it; before, ptrace undid seccomp.
    ("debuggers on one's own processes", "ptrace process_vm_readv process_vm_writev"),
)

# What a capability adds: calls that are of use only with it, and check for it themselves.
WITH_CAPABILITY: tuple[tuple[str, str], ...] = (
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr "
        "lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree open_tree_attr perf_event_open "
        "quotactl quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module init_module finit_module"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise"),
    ("CAP_SYS_RAWIO", "iopl ioperm"),
    ("CAP_SYS_TIME", "settimeofday stime clock_settime clock_settime64"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYSLOG", "syslog"),
    ("CAP_BPF", "bpf"),
    ("CAP_PERFMON", "perf_event_open"),
)

# Address families of socket(2), with the capability that opens them (None: always). All others read EAFNOSUPPORT.
FAMILIES: tuple[tuple[int, str, str | None], ...] = (
    (1, "AF_UNIX", None),
    (2, "AF_INET", None),
    (10, "AF_INET6", None),
    (15, "AF_KEY", "CAP_NET_ADMIN"),
    (16, "AF_NETLINK", None),
    (17, "AF_PACKET", "CAP_NET_RAW"),
    (29, "AF_CAN", "CAP_NET_RAW"),
    (44, "AF_XDP", "CAP_NET_RAW"),
)
# Docker opens all that Linux still implements but AF_ALG (38) and AF_VSOCK (40).
_DOCKER_FAMILIES = (13, 14, 15, 16, 17, 18, 21, 22, 24, *range(26, 34), 35, 36, 39, *range(41, 46))

# Namespaces, as clone(2) asks for them: NEWNS NEWCGROUP NEWUTS NEWIPC NEWUSER NEWPID NEWNET.
NAMESPACE_FLAGS = 0x7E020000
# personality(2): Linux and 32-bit Linux, each with and without the old release number; and the question.
_PERSONALITIES = (0x0, 0x8, 0x20000, 0x20008, 0xFFFFFFFF)

ATOLL_ONLY = frozenset({"file_getattr", "file_setattr", "uprobe", "open_tree_attr"})
DOCKER_ONLY = "modify_ldt vmsplice socketcall ipc epoll_ctl_old epoll_wait_old socketpair"

# Calls behind which i386 hides its sockets and IPC: opened together with the 32-bit entry points.
_MULTIPLEXERS = "socketcall ipc"

# What stays closed to a container without further capabilities, and why. (what, names, reason)
CLOSED: tuple[tuple[str, str, str], ...] = (
    (
        "namespaces",
        "unshare setns clone3",
        "a user namespace makes its maker root over much kernel code that was written for the real one "
        "(CVE-2022-0185, CVE-2022-0492, CVE-2023-0386); clone3 passes its flags in memory, where no filter looks, "
        "so it reads as absent (ENOSYS) and C libraries use clone, whose namespace flags are tested",
    ),
    (
        "mounts",
        "mount umount umount2 pivot_root fsopen fsconfig fsmount fspick open_tree open_tree_attr move_mount "
        "mount_setattr",
        "the file system's layout is the boundary itself (CVE-2022-0185 was a heap overflow in fsconfig)",
    ),
    (
        "io_uring",
        "io_uring_setup io_uring_enter io_uring_register",
        "carries out other calls out of the filter's sight; a long row of escapes (CVE-2021-41073, CVE-2022-29582, "
        "CVE-2023-2598)",
    ),
    (
        "userfaultfd",
        "userfaultfd",
        "stops the kernel in mid-copy and so makes races certain (how CVE-2016-6187 was used)",
    ),
    (
        "keys",
        "add_key request_key keyctl",
        "keyrings know users, not containers (CVE-2016-0728, CVE-2017-7472)",
    ),
    ("BPF and performance events", "bpf perf_event_open", "CVE-2017-16995, CVE-2021-3490; CVE-2013-2094"),
    (
        "foreign processes",
        "kcmp pidfd_getfd process_madvise move_pages migrate_pages",
        "reach into other processes' memory, descriptors and addresses",
    ),
    ("file handles", "open_by_handle_at", "opens by inode number past every mount (the 'shocker' escape of 2014)"),
    ("vmsplice", "vmsplice", "shares pages without a copy (CVE-2008-0600, CVE-2020-29374)"),
    ("local descriptor tables", "modify_ldt", "for 16-bit programs only (CVE-2015-5157, CVE-2017-17053)"),
    (
        "the kernel itself",
        "init_module finit_module delete_module kexec_load kexec_file_load reboot swapon swapoff iopl ioperm acct "
        "quotactl quotactl_fd syslog lookup_dcookie vhangup settimeofday clock_settime sethostname setdomainname",
        "belong to the host",
    ),
    ("memory policy", "mbind set_mempolicy get_mempolicy set_mempolicy_home_node", "decides over the host's nodes"),
    ("what nobody calls any more", "uselib ustat sysfs nfsservctl _sysctl", "code that no program exercises"),
)


def default_profile(
    capabilities: Set[str], *, docker: bool = False, allow_32bit: bool = False, arch: str | None = None
) -> Seccomp:
    """See the package's `default_profile`."""
    machine = arches.machine(arch)
    opened = [name for _, names in OPEN for name in names.split()]
    for capability, names in WITH_CAPABILITY:
        if capability in capabilities:
            opened += names.split()
    if docker:
        opened = [name for name in opened if name not in ATOLL_ONLY] + DOCKER_ONLY.split()
    elif allow_32bit:
        opened += _MULTIPLEXERS.split()
    rules = [_allow(*sorted(set(opened)))]
    rules += _docker_sockets() if docker else _sockets(capabilities)
    rules += [_allow("personality", arg=SeccompArg(index=0, op="SCMP_CMP_EQ", value=v)) for v in _PERSONALITIES]
    if "CAP_SYS_ADMIN" not in capabilities:
        no_namespaces = SeccompArg(index=0, op="SCMP_CMP_MASKED_EQ", value=NAMESPACE_FLAGS, value_two=0)
        rules.append(_allow("clone", arg=no_namespaces))
        rules.append(SyscallRule(names=("clone3",), action="SCMP_ACT_ERRNO", errno_ret=ENOSYS))
    return Seccomp(
        default_action="SCMP_ACT_ERRNO",
        default_errno_ret=EPERM,
        architectures=arches.names(machine, all_widths=docker or allow_32bit),
        syscalls=tuple(rules),
    )


def _allow(*names: str, arg: SeccompArg | None = None) -> SyscallRule:
    return SyscallRule(names=names, action="SCMP_ACT_ALLOW", args=(arg,) if arg else ())


def _sockets(capabilities: Set[str]) -> list[SyscallRule]:
    """socket(2) for the open families and EAFNOSUPPORT for the rest, as from a kernel that lacks them.

    Each rule compares once, and no two overlap, so that every runtime reads them alike. socketpair(2) makes sockets
    of any family too before it finds that only AF_UNIX has pairs.
    """
    families = [number for number, _, needs in FAMILIES if needs is None or needs in capabilities]
    return [*_only("socket", families), *_only("socketpair", [1])]


def _only(name: str, families: list[int]) -> list[SyscallRule]:
    unknown = [family for family in range(max(families)) if family not in families]
    others = [SeccompArg(index=0, op="SCMP_CMP_EQ", value=family) for family in unknown]
    others.append(SeccompArg(index=0, op="SCMP_CMP_GT", value=max(families)))
    refuse = SyscallRule(names=(name,), action="SCMP_ACT_ERRNO", errno_ret=_EAFNOSUPPORT)
    opened = [_allow(name, arg=SeccompArg(index=0, op="SCMP_CMP_EQ", value=family)) for family in families]
    return opened + [refuse.replace(args=(other,)) for other in others]


def _docker_sockets() -> list[SyscallRule]:
    first = _allow("socket", arg=SeccompArg(index=0, op="SCMP_CMP_LT", value=12))
    return [first] + [
        _allow("socket", arg=SeccompArg(index=0, op="SCMP_CMP_EQ", value=family)) for family in _DOCKER_FAMILIES
    ]
