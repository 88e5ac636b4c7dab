import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cli.commands import COMMANDS, module_of
from atoll.cli.options import LIST, NUMBER, SWITCH, TEXT, Command, Flag, UsageError, all_flags, help_text, parse

COMMAND = Command(
    name="try",
    usage="try [OPTIONS] A [B...]",
    help="Try.",
    flags=(
        Flag(name="interactive", short="i", help="i"),
        Flag(name="tty", short="t", help="t"),
        Flag(name="rm", help="r"),
        Flag(name="env", short="e", kind=LIST, help="e"),
        Flag(name="name", kind=TEXT, help="n"),
        Flag(name="count", short="c", kind=NUMBER, help="c"),
    ),
    least=1,
    most=None,
    stops=True,
)


def test_docker_spellings():
    given = parse(
        COMMAND,
        ["-it", "--rm", "-e", "A=1", "-eB=2", "-e=C=3", "--env", "D", "--name=x", "-c5", "img", "-i", "--foo"],
    )
    assert given.on("interactive")
    assert given.on("tty")
    assert given.on("rm")
    assert given.texts("env") == ("A=1", "B=2", "C=3", "D")
    assert given.text("name") == "x"
    assert given.number("count") == 5
    assert given.args == ["img", "-i", "--foo"]


def test_bundles_end_with_a_value():
    assert parse(COMMAND, ["-iteX=1", "img"]).texts("env") == ("X=1",)
    assert parse(COMMAND, ["-ite", "X=1", "img"]).texts("env") == ("X=1",)


def test_switches_take_an_explicit_value():
    assert not parse(COMMAND, ["--rm=false", "img"]).on("rm")
    assert parse(COMMAND, ["--rm=true", "img"]).on("rm")
    assert parse(COMMAND, ["--rm=false", "img"]).has("rm")


def test_the_last_one_wins_and_double_dash_ends():
    given = parse(COMMAND, ["--name", "a", "--name", "b", "--", "--rm", "x"])
    assert given.text("name") == "b"
    assert given.args == ["--rm", "x"]
    assert not given.on("rm")


def test_flags_after_arguments_where_the_command_does_not_stop():
    given = parse(COMMAND.replace(stops=False), ["a", "--rm", "b", "-"])
    assert given.args == ["a", "b", "-"]
    assert given.on("rm")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--nmae", "x", "img"], "unknown flag: --nmae (did you mean --name?)"),
        (["--int", "img"], "did you mean --interactive?"),
        (["-ix", "img"], "unknown shorthand flag: -x in -ix"),
        (["--name"], "flag needs an argument: --name"),
        (["-e"], "flag needs an argument: --env"),
        (["--rm=maybe", "img"], "invalid value 'maybe' for --rm"),
        (["-c", "many", "img"], "invalid argument 'many' for --count"),
        ([], "takes at least 1 argument, 0 given"),
    ],
)
def test_wrong_command_lines_say_what_is_wrong(words, message):
    with pytest.raises(UsageError) as caught:
        parse(COMMAND, words)
    assert message in str(caught.value)
    assert caught.value.command == "try"


def test_help_wins_over_everything_before_arguments():
    assert parse(COMMAND, ["--help", "--nonsense"]).help
    assert not parse(COMMAND, ["img", "--help"]).help


@given(st.lists(st.text(max_size=6), max_size=6))
def test_no_words_crash_the_parser(words):
    try:
        parse(COMMAND, words)
    except UsageError:
        pass


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_help_and_sound_flags(name):
    module = __import__(f"atoll.cli.{module_of(name)}", fromlist=["COMMAND"])
    command = module.COMMAND
    assert command.name == name
    page = help_text(command)
    assert command.usage in page
    flags = all_flags(command)
    long = [flag.name for flag in flags]
    short = [flag.short for flag in flags if flag.short]
    assert len(long) == len(set(long))
    assert len(short) == len(set(short))
    assert all(flag.kind in (SWITCH, TEXT, LIST, NUMBER) and flag.help for flag in flags)
    assert callable(module.main)
