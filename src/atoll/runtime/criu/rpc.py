"""The conversation with CRIU.

Holds: `Criu` (one `criu swrk` and its socket), the numbers of the fields used. Does not hold: what is asked.
Source: CRIU's images/rpc.proto and its page "RPC". One SOCK_SEQPACKET pair, one message a packet:

    we                                                criu swrk 3
    ---------------------------------------------     ---------------------------------------------
    {type: DUMP | RESTORE | …, opts}             ──►
       do what the script says                   ◄──  {type: NOTIFY, notify: {script, pid}} (+ a descriptor)
    {type: NOTIFY, notify_success}               ──►  goes on, or gives up
                                                 ◄──  {type, success, restore: {pid}, cr_errmsg}
"""

from __future__ import annotations

import errno
import os
import struct
from _socket import (
    AF_UNIX,
    MSG_CMSG_CLOEXEC,
    SCM_RIGHTS,
    SOCK_CLOEXEC,
    SOCK_SEQPACKET,
    SOL_SOCKET,
    socketpair,
)

from atoll.base import errors
from atoll.runtime.criu.protobuf import decode, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Notified = Callable[[str, int, int], None]

DUMP, RESTORE, CHECK, PRE_DUMP, NOTIFY, VERSION = 1, 2, 3, 4, 6, 10
_TYPE, _OPTS, _NOTIFY_SUCCESS = 1, 2, 3
_SUCCESS, _RESTORED, _NOTIFIED, _ERRNO, _ERRMSG, _VERSION = 2, 4, 5, 7, 9, 10
_LARGEST = 1 << 20
MODES = {"ignore": 0, "none": 1, "cgroup-none": 1, "props": 2, "soft": 3, "full": 4, "strict": 5}
"""`--manage-cgroups-mode`, as criu_cg_mode."""
_FIELDS = (
    "images_dir_fd=1 pid=2 leave_running=3 ext_unix_sk=4 tcp_established=5 evasive_devices=6 shell_job=7 "
    "file_locks=8 log_level=9 log_file=10 ps=11 notify_scripts=12 root=13 parent_img=14 track_mem=15 "
    "auto_dedup=16 work_dir_fd=17 link_remap=18 ext_mnt=23 manage_cgroups=24 cg_root=25 rst_sibling=26 "
    "inherit_fd=27 manage_cgroups_mode=34 external=37 empty_ns=38 join_ns=39 freeze_cgroup=44 lazy_pages=48 "
    "status_fd=49 orphan_pts_master=50 tcp_close=52 lsm_profile=53 tcp_skip_in_flight=46 "
    "lsm_mount_context=63"
)
FIELDS = {name: int(number) for name, _, number in [pair.partition("=") for pair in _FIELDS.split()]}
"""The fields of criu_opts by name."""


class Criu:
    """One `criu swrk`, for one request. Raises Unsupported if there is none."""

    def __init__(self, program: str | None) -> None:
        self.ours, theirs = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC)
        actions = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 3)]
        try:
            if theirs.fileno() == 3:  # dup2 onto itself would leave it close-on-exec
                os.set_inheritable(3, True)
                actions = []
            name = program or "criu"
            self.pid = os.posix_spawnp(name, [name, "swrk", "3"], os.environ, file_actions=actions, setsigmask=())
        except OSError as error:
            self.ours.close()
            raise errors.Unsupported(
                f"cannot run {program or 'criu'}: {error.strerror}", hint="install criu, or name one with --criu"
            ) from error
        finally:
            theirs.close()

    def request(
        self, kind: int, options: dict[str, Any] | None = None, notified: Notified | None = None
    ) -> dict[int, Any]:
        """Ask, and serve what CRIU says meanwhile: `notified(script, pid, descriptor or -1)`, whose error ends the
        request. Returns the answer. Raises FailedPrecondition with CRIU's words, the error of `notified`."""
        wire = {FIELDS[name]: value for name, value in (options or {}).items()}
        self._send({_TYPE: kind, **({_OPTS: wire} if options is not None else {})})
        failed: errors.AtollError | None = None
        while True:
            answer, fd = self._receive()
            if answer.get(_TYPE) != NOTIFY:
                break
            try:
                told = decode(answer.get(_NOTIFIED, b""))
                if notified is not None:
                    notified(told.get(1, b"").decode(), told.get(2, 0), fd)
            except errors.AtollError as error:
                failed = error
            except OSError as error:
                failed = errors.from_os_error(error, "serve criu")
            finally:
                if fd >= 0:
                    os.close(fd)
            self._send({_TYPE: NOTIFY, _NOTIFY_SUCCESS: failed is None})
        if failed is not None:
            raise failed
        if not answer.get(_SUCCESS):
            words = answer.get(_ERRMSG, b"").decode(errors="replace").strip()
            number = answer.get(_ERRNO, 0)
            reason = words or (os.strerror(number) if number else "see its log")
            raise errors.FailedPrecondition(f"criu failed: type {_NAMES.get(kind, kind)} errno {number}: {reason}")
        return answer

    def close(self) -> None:
        """Let it end, and take it in."""
        self.ours.close()
        try:
            os.waitpid(self.pid, 0)
        except ChildProcessError:
            pass

    def _send(self, message: dict[int, Any]) -> None:
        try:
            self.ours.send(encode(message))
        except OSError as error:
            raise errors.Unavailable(f"criu has ended: {error.strerror}") from error

    def _receive(self) -> tuple[dict[int, Any], int]:
        data, ancillary, _, _ = self.ours.recvmsg(_LARGEST, 64, MSG_CMSG_CLOEXEC)
        fd = -1
        for level, kind, content in ancillary:
            if level == SOL_SOCKET and kind == SCM_RIGHTS and len(content) >= 4:
                fd = struct.unpack("i", content[:4])[0]
        if not data:
            raise errors.Unavailable(
                "criu ended without an answer", hint="'criu check' tells what this kernel lacks for it"
            )
        try:
            return decode(data), fd
        except ValueError as error:
            raise errors.Unavailable(f"criu's answer cannot be read: {error}") from None


_NAMES = {DUMP: "DUMP", RESTORE: "RESTORE", CHECK: "CHECK", PRE_DUMP: "PRE_DUMP", VERSION: "VERSION"}


def version(program: str | None) -> int:
    """CRIU's version as one number: 3.17.1 is 31701. Raises Unsupported, Unavailable."""
    found = decode(_asked(program, VERSION).get(_VERSION, b""))
    return int(found.get(1, 0)) * 10000 + int(found.get(2, 0)) * 100 + int(found.get(4, 0))


def restored_pid(answer: dict[int, Any]) -> int:
    """The pid in a RESTORE's answer. Raises ValueError."""
    return int(decode(answer.get(_RESTORED, b"")).get(1, 0))


def _asked(program: str | None, kind: int) -> dict[int, Any]:
    criu = Criu(program)
    try:
        return criu.request(kind)
    finally:
        criu.close()


OLDEST = 30000


def preflight(program: str | None) -> None:
    """What blocks, said before anything is done. Raises Unsupported with CRIU's own words (`criu check`)."""
    found = 0
    try:
        found = version(program)
        _asked(program, CHECK)
    except (errors.Unavailable, errors.FailedPrecondition) as error:
        raise errors.Unsupported(f"criu cannot work on this host: {_said(program) or error}") from error
    if found < OLDEST:
        raise errors.Unsupported(f"criu {found} is older than {OLDEST}", hint="install a newer one")


def _said(program: str | None) -> str:
    """The error lines of `criu check`."""
    name = program or "criu"
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, write_end, 1), (os.POSIX_SPAWN_DUP2, write_end, 2)]
    try:
        child = os.posix_spawnp(name, [name, "check"], os.environ, file_actions=actions)
    except OSError as error:
        os.close(read_end)
        return os.strerror(error.errno or errno.ENOENT)
    finally:
        os.close(write_end)
    with open(read_end, encoding="utf-8", errors="replace") as stream:
        lines = [line.strip() for line in stream.read(65536).splitlines()]
    os.waitpid(child, 0)
    return "; ".join([line for line in lines if line.startswith("Error")][:3])
