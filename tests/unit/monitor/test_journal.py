"""The journal: whole lines from many writers, bounded, readable whatever was torn."""

import json
import os
import threading

from atoll.base import files
from atoll.monitor import journal
from atoll.monitor.requests import EventPlan


def lines(path):
    found = []
    for number in range(journal.FILES, -1, -1):
        try:
            found += files.read_bytes(f"{path}.{number}" if number else path).splitlines()
        except FileNotFoundError:
            continue
    return found


def test_a_message_is_dockers():
    found = journal.message(
        "container", "start", "abc", {"image": "busybox", "name": "web"}, 1_700_000_000_000_000_005
    )
    assert found == {
        "status": "start",
        "id": "abc",
        "from": "busybox",
        "Type": "container",
        "Action": "start",
        "Actor": {"ID": "abc", "Attributes": {"image": "busybox", "name": "web"}},
        "scope": "local",
        "time": 1_700_000_000,
        "timeNano": 1_700_000_000_000_000_005,
    }
    assert "status" not in journal.message("volume", "create", "v", {})


def test_many_writers_and_rotation(tmp_path, monkeypatch):
    monkeypatch.setattr(journal, "FILE_MAX", 4000)
    path = f"{tmp_path}/events/journal"

    def write(writer):
        for number in range(60):
            journal.append(path, journal.message("volume", "create", f"{writer}-{number}", {}))

    threads = [threading.Thread(target=write, args=(writer,)) for writer in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = [json.loads(line)["Actor"]["ID"] for line in lines(path)]
    assert len(found) == len(set(found)) > 50
    # Whoever rotates may be kept from the processor while others write on: the bounds hold for one writer.
    for number in range(160):
        journal.append(path, journal.message("volume", "create", f"alone-{number}", {}))
    while not os.path.exists(path):  # right after a rotation there is no newest file yet
        journal.append(path, journal.message("volume", "create", "last", {}))
    assert sorted(os.listdir(f"{tmp_path}/events")) == ["journal", "journal.1", "journal.2", "journal.3"]
    size = sum(os.path.getsize(f"{tmp_path}/events/{name}") for name in os.listdir(f"{tmp_path}/events"))
    assert size < journal.FILES * 4000 * 1.5


def test_a_monitor_says_the_name_that_the_container_has_by_now(tmp_path):
    bundle = f"{tmp_path}/bundle"
    os.mkdir(bundle)
    plan = EventPlan(path=f"{tmp_path}/journal", id="abc", bundle=bundle, attributes=(("name", "old"), ("k", "v")))
    journal.note(plan, "start")
    files.write_atomic(f"{bundle}/{journal.NAME_FILE}", "new")
    journal.note(plan, "die", exitCode="3")
    journal.note(None, "die")
    assert [json.loads(line)["Actor"]["Attributes"] for line in lines(plan.path)] == [
        {"name": "old", "k": "v"},
        {"name": "new", "k": "v", "exitCode": "3"},
    ]


def test_what_cannot_be_written_costs_nothing(tmp_path):
    os.mkdir(f"{tmp_path}/journal")
    journal.note(EventPlan(path=f"{tmp_path}/journal", id="abc", bundle="/"), "start")
