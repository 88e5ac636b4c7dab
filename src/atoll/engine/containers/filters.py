"""`--filter` of the lists of containers, by Docker's rules.

Holds: `read` and `Filters`. Does not hold: what all nouns' filters have in common (`engine/filters.py`), which
containers are looked at (`list.py`).
Source: Docker's CLI reference, "docker ps", and the Engine API's ContainerList.
"""

from __future__ import annotations

from atoll.base import errors, ids
from atoll.base.value import Value
from atoll.engine.filters import by_kind, has_labels, truth

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from atoll.engine.containers.record import Record
    from atoll.engine.engine import Engine
    from atoll.engine.requests import ContainerView
    from atoll.engine.store import ContainerRow

    Test = Callable[[ContainerRow, Record, ContainerView], bool]

KINDS = (
    "ancestor", "before", "exited", "expose", "health", "id", "is-task", "label", "name", "network", "pod", "publish",
    "since", "status", "volume",
)  # fmt: skip
STATES = ("created", "restarting", "running", "removing", "paused", "exited", "dead")
HEALTH = ("starting", "healthy", "unhealthy", "none")


class Filters(Value):
    """What was asked, ready to be held against a container."""

    tests: tuple[Test, ...]
    asks_for_ended: bool = False

    def hold(self, row: ContainerRow, record: Record, view: ContainerView) -> bool:
        """Whether all of them hold."""
        return all(test(row, record, view) for test in self.tests)


def read(engine: Engine, filters: tuple[str, ...]) -> Filters:
    """Parse. Raises InvalidArgument for a kind or value that is none, NotFound for a container that is not there."""
    given = by_kind(filters, KINDS)
    tests = [_test(engine, kind, values) for kind, values in given.items()]
    return Filters(tests=tuple(tests), asks_for_ended="status" in given or "exited" in given)


def _test(engine: Engine, kind: str, values: list[str]) -> Test:
    makers: dict[str, Callable[[str], Test]] = {
        "id": lambda value: lambda row, record, view: row.id.startswith(value),
        "name": _name,
        "status": _status,
        "exited": _exited,
        "health": _health,
        "is-task": _is_task,
        "volume": lambda value: (
            lambda row, record, view: any(
                value in (mount.name, mount.source, mount.destination.rstrip("/")) for mount in record.mounts
            )
        ),
        "network": lambda value: lambda row, record, view: view.network == value,
        "pod": lambda value: _pod(engine, value),
        "publish": lambda value: _port(value, published=True),
        "expose": lambda value: _port(value, published=False),
        "ancestor": lambda value: _ancestor(engine, value),
    }
    if kind == "label":
        return lambda row, record, view: has_labels(record.labels, {kind: values})
    if kind in ("before", "since"):
        return _moment(engine, kind, values)
    alternatives = [makers[kind](value) for value in values]
    return lambda row, record, view: any(test(row, record, view) for test in alternatives)


def _name(value: str) -> Test:
    """A regular expression, as in Docker, looked for in the name with and without its slash."""
    import re

    try:
        pattern = re.compile(value)
    except re.error as error:
        raise errors.InvalidArgument(f"invalid filter 'name={value}': {error}") from None
    return lambda row, record, view: bool(pattern.search(row.name) or pattern.search("/" + row.name))


def _one_of(kind: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise errors.InvalidArgument(f"invalid filter '{kind}={value}'", hint="known are " + ", ".join(known))


def _status(value: str) -> Test:
    _one_of("status", value, STATES)
    return lambda row, record, view: view.state == value


def _exited(value: str) -> Test:
    try:
        code = int(value)
    except ValueError:
        raise errors.InvalidArgument(f"invalid filter 'exited={value}'", hint="an exit code, e.g. exited=0") from None
    return lambda row, record, view: view.state == "exited" and view.exit_code == code


def _health(value: str) -> Test:
    _one_of("health", value, HEALTH)
    return lambda row, record, view: (view.health or "none") == value


def _is_task(value: str) -> Test:
    is_one = truth("is-task", value)
    return lambda row, record, view: not is_one  # there are no Swarm tasks here


def _moment(engine: Engine, kind: str, values: list[str]) -> Test:
    moments = [engine.store.container(value).created_at for value in values]
    if kind == "before":
        return lambda row, record, view: row.created_at < min(moments)
    return lambda row, record, view: row.created_at > max(moments)


def _pod(engine: Engine, value: str) -> Test:
    """By the pod's name, id or the beginning of it; one that is not there has no containers."""
    from atoll.engine.pods import rows

    try:
        wanted = rows.find(engine, value).id
    except errors.NotFound:
        return lambda row, record, view: False
    return lambda row, record, view: row.pod == wanted


def _port(value: str, *, published: bool) -> Test:
    """`80`, `80/tcp`, `8000-8080/udp`: against the words of the PORTS column, in which a published port stands on the
    left of its arrow and an exposed one alone or on the right."""
    text, _, protocol = value.partition("/")
    low, _, high = text.partition("-")
    if not low.isdecimal() or (high and not high.isdecimal()) or protocol not in ("", "tcp", "udp", "sctp"):
        raise errors.InvalidArgument(f"invalid filter port '{value}'", hint="write e.g. 80, 80/tcp or 8000-8080/tcp")
    first, last = int(low), int(high or low)

    def holds(row: ContainerRow, record: Record, view: ContainerView) -> bool:
        for start, end, kind in _ports(view.ports, published=published):
            if kind == (protocol or "tcp") and start <= last and first <= end:
                return True
        return False

    return holds


def _ports(words: str, *, published: bool) -> list[tuple[int, int, str]]:
    found = []
    for word in [one.strip() for one in words.split(",") if one.strip()]:
        left, arrow, right = word.partition("->")
        target, _, protocol = (right if arrow else left).partition("/")
        if published and not arrow:
            continue
        shown = left.rpartition(":")[2] if published else target
        start, _, end = shown.partition("-")
        if start.isdecimal():
            found.append((int(start), int(end or start), protocol or "tcp"))
    return found


def _ancestor(engine: Engine, value: str) -> Test:
    """The image's own containers, and those of images built on its layers; by the words of `run`, too, for an image
    that is here no more."""
    from atoll.engine.images.resolve import find

    try:
        image = find(engine, value)
    except errors.AtollError:
        image = None
    chains = engine.store.chain_ids(image.id) if image is not None else []
    known: dict[str, bool] = {}

    def descends(candidate: str) -> bool:
        if candidate not in known:
            known[candidate] = bool(chains) and engine.store.chain_ids(candidate)[: len(chains)] == chains
        return known[candidate]

    def holds(row: ContainerRow, record: Record, view: ContainerView) -> bool:
        if image is not None and row.image is not None and (row.image == image.id or descends(row.image)):
            return True
        words = (record.image, record.image.partition(":")[0], row.image or "", ids.short_id(row.image or ""))
        return bool(value) and value in words

    return holds
