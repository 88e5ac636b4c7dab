"""CNI plug-ins: which networks the host's files describe, and the verbs on one container's place (cni/SPEC.md).

Holds: `every`, `find` (the files), `Attachment` (what ADD, CHECK and DEL are told alike), `add`, `check`, `delete`,
`gc`, `run` (one program, bounded). Does not hold: the documents (`spec/cni.py`), who remembers results
(`engine/networks/cni.py`).

    ADD    plug-in by plug-in, each with the result of the one before; one fails → DEL of all, and the error
    CHECK  in the same order, DEL in reverse, each with the result of the whole ADD

A plug-in is the administrator's program and has root's rights, but what it prints is believed only as far as it can
be read: one that floods, says nonsense or never ends is an error of that plug-in's.
"""

from __future__ import annotations

import os
import select
import time

from atoll.base import errors, jsontext
from atoll.base.value import Value
from atoll.linux import process
from atoll.spec import cni
from atoll.spec.cni import ConfList, Plugin, Result

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

CONFIG_FOLDERS = ("/etc/cni/net.d",)
PLUGIN_FOLDERS = ("/opt/cni/bin", "/usr/lib/cni", "/usr/libexec/cni")
MOST_OUTPUT = 1 << 20
_MOST_WORDS = 1 << 16
_MOST_FILE = 1 << 20
_SUFFIXES = (".conflist", ".conf", ".json")
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Programs(Value):
    """Where plug-ins are looked for, and how many seconds one may take (one that waits for a DHCP server does)."""

    folders: tuple[str, ...] = PLUGIN_FOLDERS
    patience: float = 120.0


class Attachment(Value):
    """A container's place on a network: what every verb is told of it. `ns` is a path, "" once it is gone; `wishes`
    an object by capability, `args` what any plug-in may read, both as JSON."""

    container: str
    ns: str
    interface: str
    wishes: str = "{}"
    args: str = "{}"
    words: str = "IgnoreUnknown=1"


# --- the files ------------------------------------------------------------------------------------------------------


def every(folders: Sequence[str] = CONFIG_FOLDERS) -> tuple[list[tuple[str, ConfList]], list[str]]:
    """(path and list of each network, what is wrong with other files), in the order of the files' names. Of two of
    one name the first counts."""
    found: dict[str, tuple[str, ConfList]] = {}
    problems = []
    for folder in folders:
        try:
            names = sorted(os.listdir(folder))
        except OSError:
            continue
        for name in names:
            if not name.endswith(_SUFFIXES):
                continue
            path = f"{folder}/{name}"
            try:
                conf = cni.parse_list(_read(path), path)
            except (errors.AtollError, OSError) as error:
                problems.append(str(error))
                continue
            found.setdefault(conf.name, (path, conf))
    return list(found.values()), problems


def _read(path: str) -> bytes:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(fd, _MOST_FILE + 1)
    finally:
        os.close(fd)
    if len(data) > _MOST_FILE:
        raise errors.InvalidArgument(f"{path}: longer than {_MOST_FILE} bytes")
    return data


def find(name: str, folders: Sequence[str] = CONFIG_FOLDERS) -> tuple[str, ConfList]:
    """(path, list) of a network. Raises NotFound, with what is wrong with files that might have been it."""
    found, problems = every(folders)
    for path, conf in found:
        if conf.name == name:
            return path, conf
    hint = "; ".join(problems) or f"known here: {', '.join(sorted(conf.name for _, conf in found)) or 'none'}"
    raise errors.NotFound(f"no CNI network {name} in {', '.join(folders)}", hint=hint)


# --- verbs ----------------------------------------------------------------------------------------------------------


def add(conf: ConfList, attachment: Attachment, programs: Programs) -> Result:
    """Put a container on a network. Raises AtollError; then everything that was done for it is undone."""
    previous = ""
    try:
        for plugin in conf.plugins:
            body = cni.request(conf, plugin, previous=previous, wishes=attachment.wishes, args=attachment.args)
            answer = run(plugin, cni.ADD, body, attachment, programs)
            result = cni.parse_result(answer, f"plug-in {plugin.kind}")
            previous = result.document
    except BaseException as error:
        _undo(conf, attachment, previous, programs, error)
        if isinstance(error, errors.InvalidArgument):
            raise errors.Unavailable(f"CNI network {conf.name}: {error}") from None
        raise
    return result


def _undo(conf: ConfList, attachment: Attachment, previous: str, programs: Programs, first: BaseException) -> None:
    """DEL of all plug-ins, those that were never asked too (SPEC, 'Deleting: lifecycle'); what fails is a note."""
    try:
        delete(conf, attachment, previous, programs, patient=False)
    except errors.AtollError as failed:
        first.add_note(f"while undoing: {failed}")


def check(conf: ConfList, attachment: Attachment, result: str, programs: Programs) -> None:
    """Ask whether all is as ADD left it. Raises AtollError with what is not."""
    if not conf.check or not conf.at_least("0.4.0"):
        return
    for plugin in conf.plugins:
        body = cni.request(conf, plugin, previous=result, wishes=attachment.wishes, args=attachment.args)
        run(plugin, cni.CHECK, body, attachment, programs)


def delete(
    conf: ConfList,
    attachment: Attachment,
    result: str,
    programs: Programs,
    *,
    patient: bool = True,
) -> None:
    """Take a container off a network, twice is fine. Raises the first AtollError; with `patient` the rest of the list
    waits for another try, without it the others are asked all the same."""
    failed: errors.AtollError | None = None
    for plugin in reversed(conf.plugins):
        previous = result if conf.at_least("0.4.0") else ""
        body = cni.request(conf, plugin, previous=previous, wishes=attachment.wishes, args=attachment.args)
        try:
            run(plugin, cni.DEL, body, attachment, programs)
        except errors.AtollError as error:
            if patient:
                raise
            failed = failed or error
    if failed is not None:
        raise failed


def gc(conf: ConfList, valid: Sequence[tuple[str, str]], programs: Programs) -> None:
    """Tell the plug-ins of a list of 1.1 who is (container, interface) still on the network; they give back what all
    others have. Raises the first AtollError, after all were asked."""
    if not conf.gc or not conf.at_least("1.1.0"):
        return
    listed = jsontext.dumps([{"containerID": container, "ifname": interface} for container, interface in valid])
    failed: errors.AtollError | None = None
    for plugin in conf.plugins:
        try:
            run(plugin, cni.GC, cni.request(conf, plugin, valid=listed), None, programs)
        except errors.AtollError as error:
            failed = failed or error
    if failed is not None:
        raise failed


# --- a program ------------------------------------------------------------------------------------------------------


def run(plugin: Plugin, verb: str, body: str, attachment: Attachment | None, programs: Programs) -> bytes:
    """What a plug-in prints. Raises NotFound (no such program), Unavailable in its own words, Timeout, Exhausted."""
    path = next((found for one in programs.folders if os.access(found := f"{one}/{plugin.kind}", os.X_OK)), None)
    if path is None:
        raise errors.NotFound(
            f"no CNI plug-in {plugin.kind} in {', '.join(programs.folders)}",
            hint="Debian: apt install containernetworking-plugins",
        )
    environ = {"CNI_COMMAND": verb, "CNI_PATH": ":".join(programs.folders), "PATH": os.environ.get("PATH") or _PATH}
    if attachment is not None:
        environ["CNI_CONTAINERID"] = attachment.container
        environ["CNI_NETNS"] = attachment.ns
        environ["CNI_IFNAME"] = attachment.interface
        environ["CNI_ARGS"] = attachment.words
    try:
        code, output, words = _execute(path, environ, body.encode(), programs.patience)
    except OSError as error:
        raise errors.from_os_error(error, f"run the CNI plug-in {path}") from error
    if code == 0:
        return output
    failure = cni.parse_failure(output)
    said = words.decode(errors="replace").strip()[-512:] or f"exit code {code}"
    if failure is not None:
        said = failure.message + (f"; {failure.details}" if failure.details else "")
    hint = "it says that this may pass: try again" if failure is not None and failure.code == 11 else None
    raise errors.Unavailable(f"CNI plug-in {plugin.kind}, {verb}: {_printable(said)}", hint=hint)


def _printable(text: str) -> str:
    return "".join([c if c.isprintable() else " " for c in text])


def _execute(path: str, environ: dict[str, str], body: bytes, patience: float) -> tuple[int, bytes, bytes]:
    """(exit code, standard output, end of standard error). Its whole process group goes when it is over."""
    config = os.memfd_create("cni", os.MFD_CLOEXEC)
    pipes: list[int] = []
    try:
        os.write(config, body)
        os.lseek(config, 0, os.SEEK_SET)
        for _ in range(2):
            pipes += os.pipe2(os.O_CLOEXEC)
        actions = [
            (os.POSIX_SPAWN_DUP2, config, 0),
            (os.POSIX_SPAWN_DUP2, pipes[1], 1),
            (os.POSIX_SPAWN_DUP2, pipes[3], 2),
        ]
        pid = os.posix_spawn(path, [path], environ, file_actions=actions, setpgroup=0)
        pidfd = process.pidfd_open(pid)
        os.close(pipes.pop(3))
        os.close(pipes.pop(1))
        try:
            output, words = _collect(path, pipes[0], pipes[1], pidfd, patience)
        except BaseException:
            os.killpg(pid, 9)
            os.waitpid(pid, 0)
            raise
        finally:
            os.close(pidfd)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), output, words
    finally:
        for fd in (config, *pipes):
            os.close(fd)


def _collect(path: str, out: int, aside: int, pidfd: int, patience: float) -> tuple[bytes, bytes]:
    """Both streams until the program has ended: what it started and left may have them open for ever. Raises Timeout,
    Exhausted."""
    until = time.monotonic() + patience
    streams = {out: bytearray(), aside: bytearray()}
    poll = select.poll()
    for fd in (*streams, pidfd):
        os.set_blocking(fd, False) if fd in streams else None
        poll.register(fd, select.POLLIN)
    while True:
        ready = [fd for fd, _ in poll.poll(max(0.0, until - time.monotonic()) * 1000)]
        if not ready:
            raise errors.Timeout(f"the CNI plug-in {path} did not end within {patience:.0f} seconds")
        for fd in [one for one in ready if one in streams]:
            try:
                data = os.read(fd, 1 << 16)
            except BlockingIOError:
                continue
            if not data:
                poll.unregister(fd)
            streams[fd] += data
        if len(streams[out]) > MOST_OUTPUT:
            raise errors.Exhausted(f"the CNI plug-in {path} printed more than {MOST_OUTPUT} bytes")
        del streams[aside][:-_MOST_WORDS]
        if ready == [pidfd]:  # and nothing more to read
            return bytes(streams[out]), bytes(streams[aside])
