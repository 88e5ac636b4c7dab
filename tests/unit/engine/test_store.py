"""Names and relations: rules of the schema, versions, many at once."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from atoll.base import errors
from atoll.engine import sqlite
from atoll.engine.store import SCHEMA, ContainerRow, Store
from unit.engine import fakes


def row(number, name=None, image=None):
    return ContainerRow(
        id=f"{number:064x}",
        name=name or f"c{number}",
        image=image,
        created_at=number & 0xFFFF,
        record='{"image":"x"}',
    )


@pytest.fixture
def store(tmp_path):
    return Store(str(tmp_path / "atoll.db"))


def test_a_name_is_taken_once_in_dockers_words(store):
    store.add_container(row(1, "web"))
    with pytest.raises(errors.Conflict, match=r'The container name "/web" is already in use by container "0*1"'):
        store.add_container(row(2, "web"))
    store.remove_container(row(1).id)
    store.add_container(row(2, "web"))


def test_a_container_is_found_by_id_name_and_beginning(store):
    store.add_container(row(0xA1 << 248, "web"))
    store.add_container(row(0xA2 << 248, "db"))
    assert store.container("web").name == "web"
    assert store.container("/web").name == "web"
    assert store.container("a2").name == "db"
    assert store.container(f"{0xA2 << 248:064x}").name == "db"
    with pytest.raises(errors.InvalidArgument, match="Multiple IDs found with provided prefix: a"):
        store.container("a")
    for unknown in ("", "b", "nope", "a1%", "A1"):
        with pytest.raises(errors.NotFound, match="No such container"):
            store.container(unknown)


def test_a_name_of_hex_digits_wins_over_a_beginning(store):
    store.add_container(row(0xAB << 248, "web"))
    store.add_container(row(1, "ab"))
    assert store.container("ab").name == "ab"


def test_an_image_in_use_stays(engine):
    engine.store.add_container(row(1, image=fakes.IMAGE))
    with pytest.raises(errors.Conflict, match="is using it"):
        engine.store.remove_image(fakes.IMAGE)
    engine.store.remove_container(row(1).id)
    engine.store.remove_image(fakes.IMAGE)
    assert engine.store.kept() == (set(), set())
    assert engine.store.tags() == []


def test_a_container_of_a_removed_image_is_refused(engine):
    engine.store.remove_image(fakes.IMAGE)
    with pytest.raises(errors.NotFound, match="removed meanwhile"):
        engine.store.add_container(row(1, image=fakes.IMAGE))


def test_a_tag_moves_to_the_newer_image(engine):
    other = "sha256:" + "2" * 64
    fakes.add_image(engine, image=other)
    assert engine.store.image_by_reference(fakes.REFERENCE).id == other
    assert {image.id for image in engine.store.images()} == {fakes.IMAGE, other}
    assert engine.store.tags(fakes.IMAGE) == []


def test_recording_an_image_again_changes_nothing(engine):
    before = engine.store.kept(), engine.store.layers(fakes.IMAGE), engine.store.tags()
    fakes.add_image(engine)
    assert (engine.store.kept(), engine.store.layers(fakes.IMAGE), engine.store.tags()) == before


def test_a_newer_schema_is_refused(store):
    store.containers()
    store._connection.execute(f"PRAGMA user_version = {SCHEMA + 1}")
    store.close()
    with pytest.raises(errors.Unsupported, match=f"schema {SCHEMA + 1}"):
        Store(store.path).containers()


def test_what_is_no_database_is_told(tmp_path):
    path = tmp_path / "atoll.db"
    path.write_bytes(b"hello" * 1000)
    with pytest.raises(errors.Corrupt, match="damaged"):
        Store(str(path)).containers()


def test_the_file_is_private(store):
    store.containers()
    assert os.stat(store.path).st_mode & 0o077 == 0


def test_a_failed_transaction_leaves_nothing(store):
    store.add_container(row(1, "web"))
    with pytest.raises(errors.Conflict):
        store.add_container(row(2, "web"))
    assert not store._connection.in_transaction
    assert [r.id for r in store.containers()] == [row(1).id]


def test_many_at_once_lose_nothing(tmp_path):
    path = str(tmp_path / "atoll.db")
    failures = []

    def work(first):
        try:
            store = Store(path)
            for number in range(first, first + 25):
                store.add_container(row(number))
                store.remove_container(row(number).id) if number % 5 == 0 else None
            store.close()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(start * 100 + 1,)) for start in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(Store(path).containers()) == 8 * 20


def test_the_lean_import_works_without_and_beside_functools():
    for first in ("", "import functools;"):
        code = first + (
            "import sys; sys.path.insert(0, 'src'); from atoll.engine import sqlite; "
            "c = sqlite.connect(':memory:', 1)\n"
            "[c.execute('select ?', (n % 3,)).fetchall() for n in range(300)]\n"
            "assert c.execute('select 1 + ?', (1,)).fetchone() == (2,)\n"
            "import functools, collections; functools.lru_cache(lambda: 1)()\n"
            "import sqlite3; assert sqlite3.connect(':memory:').execute('select 1').fetchone() == (1,)"
        )
        subprocess.run([sys.executable, "-SI", "-c", code], check=True, timeout=30)


def test_errors_are_translated(tmp_path):
    with pytest.raises(errors.Denied, match="cannot open"):
        sqlite.connect(str(tmp_path / "no" / "such" / "place.db"), 1)


def test_a_kill_between_commits_keeps_what_was_committed(tmp_path):
    path = str(tmp_path / "atoll.db")
    code = (
        "import os, sys; sys.path.insert(0, 'src'); from atoll.engine.store import Store, ContainerRow\n"
        "s = Store(sys.argv[1])\n"
        "for n in range(20):\n"
        "    s.add_container(ContainerRow(id=str(n), name='n%d' % n, image=None, created_at=n, record=''))\n"
        "s._connection.execute('BEGIN IMMEDIATE'); s._connection.execute('DELETE FROM containers')\n"
        "os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, path], check=False, timeout=30)
    store = Store(path)
    assert len(store.containers()) == 20
    assert store.integrity() == []
