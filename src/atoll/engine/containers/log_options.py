"""`--log-driver` and `--log-opt`. Pure.

Holds: `DRIVERS`, `read`. Does not hold: writing logs (`monitor/logs.py`).
"""

from __future__ import annotations

from atoll.base import errors, units

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from atoll.engine.config import Config

DRIVERS = {"json-file": "json-file", "local": "json-file", "none": "none"}
"""Docker's names, and what is behind them here: `local` is another format of the same, which only Docker reads."""
_ELSEWHERE = frozenset("syslog gelf fluentd awslogs splunk etwlogs gcplogs logentries".split())


def read(driver: str, options: Sequence[str], config: Config) -> tuple[str, int, int]:
    """Driver, most bytes of a file, most files. Raises InvalidArgument in Docker's words, Unsupported for a driver
    that sends logs elsewhere."""
    if driver in _ELSEWHERE:
        raise errors.Unsupported(
            f"logging driver {driver!r} is not there",
            hint=f"there are {', '.join(DRIVERS)}; forward the file instead",
        )
    if driver not in DRIVERS:
        raise errors.InvalidArgument(f"logger: no log driver named '{driver}' is registered")
    size, count = config.log_max_size, config.log_max_files
    for entry in options:
        key, equals, value = entry.partition("=")
        if not equals:
            raise errors.InvalidArgument(f"invalid logging opts format: {entry}", hint="write KEY=VALUE")
        if DRIVERS[driver] == "none":
            raise errors.InvalidArgument(f"invalid logging opts for driver {driver}: [{key}]")
        if key == "max-size":
            size = 0 if value == "-1" else units.parse_size(value, "value for max-size")
        elif key == "max-file":
            if not value.isascii() or not value.isdecimal() or not 1 <= int(value[:9]) <= 10_000:
                raise errors.InvalidArgument(f"invalid value for max-file: '{value}'", hint="1 or more")
            count = int(value)
        elif key == "compress":
            if value not in ("true", "false"):
                raise errors.InvalidArgument(f"invalid value for compress: '{value}'", hint="true or false")
            if value == "true":
                raise errors.Unsupported("compressed logs are not there", hint="leave out compress=true")
        elif key == "mode" and value in ("blocking", "non-blocking"):
            continue  # ours never keeps a container waiting for a reader
        else:
            raise errors.InvalidArgument(
                f"unknown log opt '{key}' for {driver} log driver", hint="there are max-size, max-file and mode"
            )
    return DRIVERS[driver], size, count
