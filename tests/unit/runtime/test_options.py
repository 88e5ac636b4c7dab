"""runc's command line: options in any form and place, and what is refused."""

from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.runtime import main, quick
from atoll.runtime.command.options import FLAG, MANY, NUMBER, TEXT, parse

KINDS = {"bundle": TEXT, "force": FLAG, "env": MANY, "preserve-fds": NUMBER}
SHORT = {"b": "bundle", "f": "force", "e": "env"}


@pytest.mark.parametrize(
    "argv",
    [
        ["--bundle", "x", "id"],
        ["-bundle", "x", "id"],
        ["--bundle=x", "id"],
        ["-b", "x", "id"],
        ["id", "--bundle", "x"],
    ],
)
def test_forms(argv):
    given = parse("create", argv, KINDS, SHORT)
    assert given.text("bundle") == "x"
    assert given.one_word() == "id"


def test_flags_and_lists():
    given = parse("x", ["-f", "-e", "A=1", "--env", "B=2", "--preserve-fds=3", "--", "--bundle"], KINDS, SHORT)
    assert given.flag("force")
    assert given.many("env") == ["A=1", "B=2"]
    assert given.number("preserve-fds") == 3
    assert given.words == ["--bundle"]
    assert not parse("x", ["--force=false"], KINDS, SHORT).flag("force")


def test_what_follows_the_first_word_is_anothers():
    given = parse("exec", ["-e", "A=1", "id", "ls", "--force", "-b"], KINDS, SHORT, leading=True)
    assert given.words == ["id", "ls", "--force", "-b"]


def test_a_negative_number_is_a_word():
    assert parse("kill", ["id", "-9"], {}, {}).words == ["id", "-9"]


@pytest.mark.parametrize(
    ("argv", "pattern"),
    [
        (["--nope"], "not defined: -nope"),
        (["--bundel", "x"], "did you mean --bundle"),
        (["--bundle"], "needs an argument"),
        (["--force=maybe"], "invalid boolean"),
    ],
)
def test_refused(argv, pattern):
    with pytest.raises(errors.InvalidArgument) as raised:
        parse("create", argv, KINDS, SHORT)
    assert pattern in str(raised.value)


def test_counts():
    with pytest.raises(errors.InvalidArgument, match="requires exactly 1"):
        parse("state", [], {}, {}).one_word()
    with pytest.raises(errors.InvalidArgument, match="not a number"):
        parse("x", ["--preserve-fds", "many"], KINDS, SHORT).number("preserve-fds")


@pytest.mark.parametrize(
    ("argv", "verb"),
    [
        (["create", "x"], "create"),
        (["--root", "run", "--debug", "state", "x"], "state"),
        (["--log=exec", "kill"], "kill"),
        (["--systemd-cgroup", "--log-format", "json", "exec", "run"], "exec"),
        ([], ""),
        (["--version"], ""),
    ],
)
def test_the_verb_is_found_before_anything_is_parsed(argv, verb):
    assert quick.verb_of(argv) == verb


def test_the_early_look_knows_the_same_options():
    assert {name for name, kind in main.GLOBAL.items() if kind == "text"} == quick._WITH_VALUE
    assert set(main.VERBS) >= quick.FORKING


def test_every_verb_has_its_function_and_its_help():
    from atoll.runtime.command.help import text

    for verb in main.VERBS:
        assert callable(main._function(verb))
        assert f"atoll-runtime {verb}" in text(verb)
