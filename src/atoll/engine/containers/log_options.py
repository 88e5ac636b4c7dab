"""`--log-driver` and `--log-opt`: what may be asked for, and what it comes to in the plan.

Holds: `DRIVERS`, `read`, `attributes`, `settled`. Does not hold: writing logs (`monitor/logs.py`), reading them
(`logs.py`).
"""

from __future__ import annotations

import os

from atoll.base import errors, units
from atoll.monitor.log_journal import SOCKET

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.config import Config
    from atoll.engine.containers.record import Record
    from atoll.isolation.protocol import LogPlan

    Options = tuple[tuple[str, str], ...]

DRIVERS = {
    "json-file": "json-file",
    "local": "json-file",
    "k8s-file": "k8s-file",
    "journald": "journald",
    "none": "none",
}
"""Docker's and podman's names, and what is behind them here. Nobody but Docker's daemon reads the files of its
`local`: what users choose it for are its bounds, which we keep, in the format that other programs can read."""
LOCAL = (20 << 20, 5)
"""Docker's bounds of `local`: most bytes of a file, most files; the older ones are compressed."""
_ELSEWHERE = frozenset(
    "syslog gelf fluentd awslogs splunk etwlogs gcplogs logentries passthrough passthrough-tty".split()
)
_BOUNDS = ("max-size", "max-file", "compress")
_FILTERS = ("labels", "labels-regex", "env", "env-regex", "tag")
_ANY = ("mode", "max-buffer-size")
KNOWN = {
    "json-file": (*_BOUNDS, *_FILTERS, *_ANY),
    "k8s-file": (*_BOUNDS, *_ANY),
    "journald": (*_FILTERS, *_ANY),
    "none": (),
}
_TAG = r"\{\{\s*\.(\w+)\s*\}\}"


def read(driver: str, options: Sequence[str], config: Config, socket: str = SOCKET) -> tuple[str, int, int, Options]:
    """Driver, most bytes of a file, most files, the options as given. Raises InvalidArgument in Docker's words,
    Unsupported for a driver that sends logs elsewhere, and for a journal that is not there."""
    if driver in _ELSEWHERE:
        raise errors.Unsupported(
            f"logging driver {driver!r} is not there",
            hint=f"there are {', '.join(DRIVERS)}; forward the file instead",
        )
    if driver not in DRIVERS:
        raise errors.InvalidArgument(f"logger: no log driver named '{driver}' is registered")
    kind = DRIVERS[driver]
    if kind == "journald" and not os.path.exists(socket):
        raise errors.Unsupported(
            f"logging driver 'journald' needs systemd-journald, and nothing is at {socket}",
            hint="use json-file, or start systemd-journald",
        )
    given: dict[str, str] = {}
    for entry in options:
        key, equals, value = entry.partition("=")
        if not equals:
            raise errors.InvalidArgument(f"invalid logging opts format: {entry}", hint="write KEY=VALUE")
        if kind == "none":
            raise errors.InvalidArgument(f"invalid logging opts for driver {driver}: [{key}]")
        if key not in KNOWN[kind]:
            raise errors.InvalidArgument(
                f"unknown log opt '{key}' for {driver} log driver", hint=f"there are {', '.join(KNOWN[kind])}"
            )
        _check(key, value)
        given[key] = value
    size, count = _bounds(given, LOCAL if driver == "local" else (config.log_max_size, config.log_max_files))
    if driver == "local" and "compress" not in given and count > 1 and size > 0:
        given["compress"] = "true"
    return kind, size, count, tuple(given.items())


def _check(key: str, value: str) -> None:
    """One value by itself."""
    if key == "compress" and value not in ("true", "false"):
        raise errors.InvalidArgument(f"invalid value for compress: '{value}'", hint="true or false")
    if key == "mode" and value not in ("blocking", "non-blocking"):  # ours never waits for a reader
        raise errors.InvalidArgument(f"logger: logging mode not supported: {value}", hint="blocking or non-blocking")
    if key == "max-buffer-size":
        units.parse_size(value, "value for max-buffer-size")
    if key.endswith("-regex"):
        import re

        try:
            re.compile(value)
        except re.error as error:
            raise errors.InvalidArgument(f"invalid value for {key}: '{value}': {error}") from None
    if key == "tag":
        tag(value, "", "", "", "")


def _bounds(given: dict[str, str], usual: tuple[int, int]) -> tuple[int, int]:
    size, count = usual
    if "max-size" in given:
        value = given["max-size"]
        size = 0 if value == "-1" else units.parse_size(value, "value for max-size")
    if "max-file" in given:
        value = given["max-file"]
        if not value.isascii() or not value.isdecimal() or not 1 <= int(value[:9]) <= 10_000:
            raise errors.InvalidArgument(f"invalid value for max-file: '{value}'", hint="1 or more")
        count = int(value)
    if given.get("compress") == "true" and (count < 2 or size <= 0):
        raise errors.InvalidArgument("compress cannot be true when max-file is less than 2 or max-size is not set")
    return size, count


def tag(template: str, container_id: str, name: str, image_id: str, image: str) -> str:
    """What `--log-opt tag=` says, with Docker's fields. Raises InvalidArgument for one that Docker has not either."""
    import re

    image_id = image_id.removeprefix("sha256:")
    known = {
        "ID": container_id[:12],
        "FullID": container_id,
        "Name": name,
        "ImageID": image_id[:12],
        "ImageFullID": image_id,
        "ImageName": image,
        "DaemonName": "atoll",
    }
    for field in re.findall(_TAG, template):
        if field not in known:
            raise errors.InvalidArgument(
                f"invalid value for tag: '{template}': no field {field}", hint=f"there are {', '.join(known)}"
            )
    said = re.sub(_TAG, lambda found: known[found[1]], template)
    if "{{" in said or "\n" in said:
        raise errors.InvalidArgument(f"invalid value for tag: '{template}'", hint="e.g. {{.Name}}/{{.ID}}")
    return said


def attributes(options: dict[str, str], labels: dict[str, str], env: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Those labels and variables that the options name, sorted."""
    variables = {key: value for key, equals, value in [one.partition("=") for one in env] if equals}
    found: dict[str, str] = {}
    for option, known in (("labels", labels), ("env", variables)):
        wanted = [key.strip() for key in options.get(option, "").split(",")]
        found.update({key: known[key] for key in wanted if key in known})
        if pattern := options.get(f"{option}-regex"):
            import re

            found.update({key: value for key, value in known.items() if re.search(pattern, key)})
    return tuple(sorted(found.items()))


def settled(plan: LogPlan, record: Record, container_id: str, name: str, image_id: str) -> LogPlan:
    """The plan with what is known once the container has its name: attributes, and for journald its fields."""
    options = dict(record.log_opts)
    chosen = attributes(options, dict(record.labels), record.env)
    template = options.get("tag", "")
    if plan.driver == "json-file":
        if template:
            chosen = (*chosen, ("tag", tag(template, container_id, name, image_id, record.image)))
        return plan.replace(compress=options.get("compress") == "true", attributes=chosen)
    if plan.driver != "journald":
        return plan.replace(compress=options.get("compress") == "true")
    said = tag(template or "{{.ID}}", container_id, name, image_id, record.image)
    fields = {
        "CONTAINER_ID": container_id[:12],
        "CONTAINER_ID_FULL": container_id,
        "CONTAINER_NAME": name,
        "CONTAINER_TAG": said,
        "IMAGE_NAME": record.image,
        "SYSLOG_IDENTIFIER": said,
    }
    more = {field_name(key): value for key, value in chosen}
    return plan.replace(path=SOCKET, attributes=tuple({**more, **fields}.items()))


def field_name(key: str) -> str:
    """A label's name as one of the journal's fields: capitals, digits and underscores, not one at the beginning,
    which would be a field that only journald itself may set."""
    import re

    return re.sub(r"[^A-Z0-9_]", "_", key.upper()).lstrip("_0123456789")[:64] or "LABEL"
