"""The help texts of `atoll-runtime`. Holds `text`; imported for `--help` alone."""

from __future__ import annotations

TYPE_CHECKING = False

_OPTIONS = {
    "root": "DIR: where containers are recorded (default: /run/atoll-runtime)",
    "log": "FILE: where messages go (default: standard error)",
    "log-format": "text or json",
    "rootless": "true, false or auto: do without cgroups that may not be made",
    "systemd-cgroup": "cgroup paths are of the form slice:prefix:name, made by systemd",
    "debug": "say more in the log",
    "criu": "FILE: which criu to run",
    "help": "show this",
    "version": "print the version",
    "bundle": "DIR: the bundle (default: the current directory)",
    "console-socket": "SOCKET: gets the terminal's master",
    "pidfd-socket": "SOCKET: gets a pidfd of the process",
    "pid-file": "FILE: gets the pid",
    "no-pivot": "move the root's mount instead of pivot_root(2)",
    "no-new-keyring": "stay in the caller's session keyring",
    "preserve-fds": "N: the program gets N descriptors from 3 on",
    "detach": "do not wait for the end",
    "keep": "do not remove the container at its end",
    "no-subreaper": "do not adopt orphans of the container",
    "all": "to every process of the container",
    "force": "kill it first if it runs; one that is not there is fine",
    "format": "table or json",
    "quiet": "ids only",
    "cwd": "DIR: the working directory",
    "env": "NAME=VALUE: one more variable",
    "tty": "with a terminal",
    "user": "UID[:GID]: run as",
    "additional-gids": "GID: one more group",
    "process": "FILE: the process as in config.json",
    "process-label": "LABEL: SELinux label",
    "apparmor": "PROFILE: AppArmor profile",
    "no-new-privs": "set no_new_privs",
    "cap": "CAP_NAME: one more capability",
    "cgroup": "[CONTROLLER:]PATH: a cgroup inside the container's",
    "ignore-paused": "also in a paused container",
    "image-path": "DIR: where the images are (default: checkpoint)",
    "work-path": "DIR: where criu writes its log (default: with the images)",
    "parent-path": "DIR: the images of an earlier --pre-dump, relative to --image-path",
    "leave-running": "let the container go on",
    "pre-dump": "save the memory alone, and let the container go on",
    "tcp-established": "with its open TCP connections",
    "tcp-close": "its TCP connections are closed",
    "tcp-skip-in-flight": "without TCP connections that are being made",
    "ext-unix-sk": "with unix sockets that lead outside",
    "shell-job": "with the terminal that it was started from",
    "lazy-pages": "memory follows when it is used",
    "status-fd": "N: criu writes a byte there when it is ready for lazy pages",
    "page-server": "ADDRESS:PORT: memory goes there",
    "file-locks": "with file locks",
    "link-remap": "with files that were removed but are open",
    "manage-cgroups-mode": "soft, full, strict, ignore, none or props",
    "empty-ns": "network: without what is in that namespace",
    "auto-dedup": "drop pages from earlier images that later ones have",
    "lsm-mount-context": "LABEL: in place of the bundle's linux.mountLabel",
    "lsm-profile": "TYPE:NAME: in place of the bundle's label",
}


def text(verb: str) -> str:
    """The help of a verb, or of the command as a whole."""
    from atoll.runtime.main import GLOBAL, VERBS

    if verb not in VERBS:
        lines = ["usage: atoll-runtime [OPTION...] VERB [OPTION...] CONTAINER-ID", "", "verbs:"]
        lines += [f"  {name:12} {about}" for name, (_, _, _, about) in VERBS.items()]
        return "\n".join([*lines, "", "options:", *_listed(dict(GLOBAL))]) + "\n"
    _, _, words, about = VERBS[verb]
    kinds = _kinds(verb)
    lines = [f"usage: atoll-runtime {verb} [OPTION...] {words}".rstrip(), "", about]
    return "\n".join(lines + (["", "options:", *_listed(kinds)] if kinds else [])) + "\n"


def _listed(kinds: dict[str, str]) -> list[str]:
    return [f"  --{name:18} {_OPTIONS.get(name, '')}".rstrip() for name in kinds]


def _kinds(verb: str) -> dict[str, str]:
    import importlib

    from atoll.runtime.main import VERBS

    module = importlib.import_module(f"atoll.runtime.command.{VERBS[verb][0]}")
    found: dict[str, str] = getattr(module, verb.upper(), {})
    return found
