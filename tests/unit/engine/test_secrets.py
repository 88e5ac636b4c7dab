"""The vault: what is on disk, what opens it, what a rotation leaves at every moment."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.base import errors, files
from atoll.engine.secrets import deliver, manage, vault
from atoll.engine.secrets.vault import Vault

CONTENT = b"correct horse battery staple"


def everything(engine):
    found = []
    for folder, _, names in os.walk(engine.paths.data):
        for name in names:
            with open(os.path.join(folder, name), "rb") as file:
                found.append(file.read())
    return b"\n".join(found)


def test_a_secret_is_kept_and_not_to_be_read_on_disk(engine):
    made = manage.create(engine, "db", CONTENT, labels=(("a", "b"),))
    assert CONTENT not in everything(engine)
    assert CONTENT.hex().encode() not in everything(engine)
    with Vault(engine) as opened:
        secret, content = opened.read("db")
        assert opened.read(made[:6])[0] == secret
    assert content == CONTENT
    assert manage.inspect(engine, "db")["Spec"] == {"Name": "db", "Labels": {"a": "b"}, "Driver": {"Name": "file"}}
    assert [one.name for one in manage.list_secrets(engine, ("label=a=b",))] == ["db"]
    assert manage.list_secrets(engine, ("name=other",)) == []
    assert oct(os.stat(engine.paths.data + "/secrets.key").st_mode & 0o777) == "0o600"


def test_names_and_conflicts(engine):
    first = manage.create(engine, "db", b"1")
    with pytest.raises(errors.Conflict, match="already exists"):
        manage.create(engine, "db", b"2")
    assert manage.create(engine, "db", b"2", replace=True) == first
    assert manage.inspect(engine, "db")["Version"] == {"Index": 2}
    for wrong in ("", "a/b", ".a", "a" * 65, "a b", "../x"):
        with pytest.raises(errors.InvalidArgument, match="invalid secret name"):
            manage.create(engine, wrong, b"1")
    for size in (0, vault.MOST_BYTES + 1):
        with pytest.raises(errors.InvalidArgument, match="larger than 0"):
            manage.create(engine, "big", b"x" * size)
    manage.remove(engine, "db")
    for gone in ("db", "../db", "vault", ""):
        with pytest.raises(errors.NotFound):
            manage.inspect(engine, gone)


def test_files_cannot_be_exchanged_or_changed(engine):
    manage.create(engine, "one", b"1")
    manage.create(engine, "two", b"2")
    place = engine.paths.data + "/secrets/0/"
    mine = files.read_text(place + "one.json")
    files.write_atomic(place + "two.json", mine)
    with pytest.raises(errors.Corrupt, match="of another name"):
        manage.inspect(engine, "two")
    files.write_atomic(place + "two.json", mine.replace('"one"', '"two"'))
    with Vault(engine) as opened, pytest.raises(errors.Corrupt, match="seal does not fit"):
        opened.read("two")


def test_the_wrong_key_opens_nothing(engine):
    manage.create(engine, "db", CONTENT)
    files.write_atomic(engine.paths.data + "/secrets.key", "another key, and a long one\n", mode=0o600)
    with Vault(engine) as opened, pytest.raises(errors.Denied, match="do not open with the key"):
        opened.read("db")
    os.chmod(engine.paths.data + "/secrets.key", 0o644)
    with Vault(engine) as opened, pytest.raises(errors.Denied, match="open to others"):
        opened.read("db")


def test_a_passphrase(engine):
    with pytest.raises(errors.Denied, match="nobody is there to ask"):
        manage.rotate(engine, "prompt")
    engine.ask = lambda question: "a long passphrase"
    manage.create(engine, "db", CONTENT)
    assert manage.rotate(engine, "prompt") == 1
    with Vault(engine) as opened:
        assert opened.read("db")[1] == CONTENT
    engine.ask = lambda question: "another passphrase"
    with Vault(engine) as opened, pytest.raises(errors.Denied):
        opened.read("db")
    with pytest.raises(errors.InvalidArgument, match="invalid key source"):
        manage.rotate(engine, "nothing")


class Killed(BaseException):
    pass


def test_a_rotation_that_is_killed_at_any_write_leaves_every_secret(engine, monkeypatch):
    for number in range(3):
        manage.create(engine, f"s{number}", b"%d" % number)
    write = files.write_atomic
    for last in range(7):
        left = [last]

        def failing(path, data, left=left, **how):
            if left[0] == 0:
                raise Killed
            left[0] -= 1
            write(path, data, **how)

        monkeypatch.setattr(files, "write_atomic", failing)
        try:
            manage.rotate(engine, None)
        except Killed:
            pass
        monkeypatch.setattr(files, "write_atomic", write)
        with Vault(engine) as opened:
            assert [opened.read(f"s{number}")[1] for number in range(3)] == [b"0", b"1", b"2"]
    assert manage.rotate(engine, None) == 3


def test_what_is_asked_for():
    one = deliver.parse("db")
    assert (one.name, one.type, one.target, one.mode) == ("db", "mount", "/run/secrets/db", 0o444)
    assert deliver.parse("db,target=x").target == "/run/secrets/x"
    assert deliver.parse("source=db,type=env").target == "db"
    assert deliver.parse("db,mode=0400,uid=3,target=/etc/pw").mode == 0o400
    for wrong in ("", "db,type=file", "db,what=1", "db,mode=9", "db,uid=-1", "db,type=env,target=A=B",
                  "db,target=/proc/x",
                  "db,type=env,mode=0400", "a/b"):  # fmt: skip
        with pytest.raises(errors.InvalidArgument):
            deliver.parse(wrong)


@given(st.text(max_size=40))
def test_no_text_breaks_the_grammar(text):
    try:
        found = deliver.parse(text)
    except errors.AtollError:
        return
    assert found.type == "env" or found.target.startswith("/")


def test_what_a_killed_command_had_half_written_goes_with_the_next_change(engine):
    manage.create(engine, "db", CONTENT)
    place = f"{engine.paths.data}/secrets/0"
    for pid in (1 << 22, os.getpid()):
        with open(f"{place}/other.json.{pid}.tmp", "w") as stream:
            stream.write("half")
    manage.create(engine, "second", CONTENT)
    assert sorted(os.listdir(place)) == ["db.json", f"other.json.{os.getpid()}.tmp", "second.json", "vault.json"]
