"""`atoll system boot-unit`: the systemd unit that starts, after a reboot, what restart policies want up, and stops
containers before one."""

from __future__ import annotations

import os
import sys

from atoll.cli.options import Command, Flag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from atoll.cli.options import Given

COMMAND = Command(
    name="system boot-unit",
    usage="system boot-unit [OPTIONS]",
    help="Write a systemd unit that starts containers by their restart policies when the host starts.\n"
    "It is printed, or with --install written to where systemd looks for this user's units.",
    flags=(Flag(name="install", help="Write it, and say how to enable it"),),
)
NAME = "atoll-boot.service"


def main(given: Given) -> int:
    """Run the command."""
    from atoll.base import errors, files

    rootless = os.geteuid() != 0
    text = unit(rootless=rootless, environ=dict(os.environ))
    if not given.on("install"):
        sys.stdout.write(text)
        return 0
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", ""), ".config")
    folder = f"{home}/systemd/user" if rootless else os.environ.get("ATOLL_UNIT_DIR", "/etc/systemd/system")
    try:
        os.makedirs(folder, exist_ok=True)
        files.write_atomic(f"{folder}/{NAME}", text, mode=0o644)
    except OSError as error:
        raise errors.from_os_error(error, "write the unit") from error
    user = " --user" if rootless else ""
    sys.stdout.write(f"{folder}/{NAME}\n")
    sys.stderr.write(f"now run: systemctl{user} daemon-reload && systemctl{user} enable --now {NAME}\n")
    if rootless:
        sys.stderr.write("and, lest your services wait for your login: loginctl enable-linger\n")
    return 0


def unit(*, rootless: bool, environ: dict[str, str]) -> str:
    """The unit's text. Its containers are no processes of the unit: nothing of Atoll's is stopped with it."""
    from atoll.base import launch

    boot, halt = [" ".join([_quoted(word) for word in launch.argv("internal", verb)]) for verb in ("boot", "halt")]
    places = [
        f"Environment={_quoted(f'{name}={environ[name]}')}"
        for name in ("ATOLL_CONFIG", "ATOLL_DATA_ROOT", "ATOLL_RUN_ROOT")
        if environ.get(name)
    ]
    lines = (
        "[Unit]",
        "Description=Atoll: start containers by their restart policies",
        *(() if rootless else ("Wants=network-online.target", "After=network-online.target")),
        "",
        "[Service]",
        "Type=oneshot",
        "RemainAfterExit=yes",
        "# The containers' monitors live on in this unit's cgroup; a stop of the unit is none of theirs.",
        "KillMode=none",
        "Delegate=yes",
        *places,
        f"ExecStart={boot}",
        "# Only where the whole host goes down are they stopped, each by its own signal.",
        f"ExecStop={halt}",
        "TimeoutStopSec=120",
        "",
        "[Install]",
        f"WantedBy={'default.target' if rootless else 'multi-user.target'}",
        "",
    )
    return "\n".join(lines)


def _quoted(word: str) -> str:
    """As systemd.service(5) and systemd.syntax(7) read it: %, $ and quotes are special."""
    for special, written in (("\\", "\\\\"), ('"', '\\"'), ("%", "%%"), ("$", "$$"), ("\n", "\\n")):
        word = word.replace(special, written)
    return f'"{word}"'
