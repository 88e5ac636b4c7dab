"""Reading the journal: points in time, filters, torn lines, rotation while it is followed."""

import threading
import time

import pytest

from atoll.base import errors
from atoll.engine.events import note
from atoll.engine.events.read import Query, read
from atoll.engine.requests import RunRequest
from atoll.monitor import journal


@pytest.fixture
def path(engine):
    return engine.paths.events


def found(engine, **how):
    how.setdefault("since", 0)
    how.setdefault("until", time.time_ns())
    return [(e["Type"], e["Action"], e["Actor"]["ID"]) for e in read(engine, Query(**how))]


def test_since_until_and_torn_lines(engine, path):
    for number in range(5):
        journal.append(path, journal.message("volume", "create", f"v{number}", {}, (number + 1) * 10**9))
    with open(path, "ab") as file:
        file.write(b'{"Type":"volume","Act\n[]\n{"Type":1}\n')
    journal.append(path, journal.message("volume", "create", "v5", {}, 6 * 10**9))
    ids = [one[2] for one in found(engine, since=2 * 10**9, until=6 * 10**9)]
    assert ids == ["v1", "v2", "v3", "v4", "v5"]
    assert found(engine, since=3 * 10**9, until=3 * 10**9) == [("volume", "create", "v2")]


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ((("container", "web"),), 2),
        ((("container", "abc1"),), 2),
        ((("event", "die"),), 1),
        ((("event", "die"), ("event", "start")), 2),
        ((("event", "exec_create"),), 1),
        ((("event", "health_status: healthy"),), 1),
        ((("type", "volume"),), 1),
        ((("volume", "v1"),), 1),
        ((("image", "busybox"),), 5),
        ((("image", "busybox:1"),), 5),
        ((("label", "a=b"), ("label", "c")), 2),
        ((("label", "a=b"), ("label", "c=x")), 0),
        ((("type", "container"), ("event", "create")), 0),
        ((("scope", "local"),), 6),
    ],
)
def test_filters(engine, path, filters, count):
    web = {"image": "busybox:1", "name": "web", "a": "b", "c": "d"}
    other = {"image": "busybox:1", "name": "other"}
    journal.append(path, journal.message("container", "start", "abc123", web))
    journal.append(path, journal.message("container", "die", "abc123", web))
    journal.append(path, journal.message("container", "exec_create: sh -c x", "def", other))
    journal.append(path, journal.message("container", "health_status: healthy", "def", other))
    journal.append(path, journal.message("volume", "create", "v1", {"driver": "local"}))
    journal.append(path, journal.message("image", "pull", "busybox:1", {"name": "busybox"}))
    assert len(found(engine, filters=filters)) == count


def test_an_unknown_filter_is_refused_at_once(engine):
    with pytest.raises(errors.InvalidArgument, match="invalid filter 'colour'"):
        read(engine, Query(filters=(("colour", "red"),)))


def test_followed_across_rotation(engine, path, monkeypatch):
    monkeypatch.setattr(journal, "FILE_MAX", 1500)
    seen, events = [], read(engine, Query(since=0, until=time.time_ns() + 60 * 10**9))

    def follow():
        for event in events:
            seen.append(event["Actor"]["ID"])
            if len(seen) == 60:
                return

    reader = threading.Thread(target=follow, daemon=True)
    reader.start()
    for number in range(60):
        note.note(engine, "volume", "create", f"v{number}")
        time.sleep(0.003)
    reader.join(20)
    assert sorted(seen, key=lambda name: int(name[1:])) == [f"v{number}" for number in range(60)]


def test_what_commands_note_of_a_container(engine):
    container_id = engine.create(RunRequest(image="busybox", name="web", labels=("k=v",)))
    engine.launch(container_id, start=True)
    engine.driver.end(engine.paths.container_run(container_id))
    engine.remove("web")
    events = list(read(engine, Query(since=0, until=time.time_ns())))
    assert [event["Action"] for event in events] == ["create", "attach", "destroy"]
    for event in events:
        assert event["Actor"]["ID"] == container_id
        assert event["Actor"]["Attributes"].items() >= {"image": "busybox", "name": "web", "k": "v"}.items()
