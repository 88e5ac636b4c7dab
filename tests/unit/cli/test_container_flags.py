"""What `run` and `create` make of their flags."""

import pytest

from atoll.base import errors
from atoll.cli import create, run
from atoll.cli.container_flags import read
from atoll.cli.options import UsageError, parse
from atoll.engine.requests import Health


def asked(*words, command=run.COMMAND):
    return read(parse(command, [*words, "img", "--not-a-flag"]))


def test_a_plain_command_line_loads_no_rare_flag():
    given = parse(run.COMMAND, ["--rm", "-it", "-v", "/a:/b", "img", "--health-cmd"])
    assert given.rare is False
    assert parse(run.COMMAND, ["--health-cmd", "true", "img"]).rare is True


def test_a_guess_knows_the_rare_flags_too():
    with pytest.raises(UsageError, match="--health-cmd"):
        parse(run.COMMAND, ["--helth-cmd", "true", "img"])


def test_create_knows_what_run_knows_but_for_the_attending():
    assert asked("--restart", "always", command=create.COMMAND).restart == "always"
    with pytest.raises(UsageError, match="unknown shorthand flag: -d"):
        parse(create.COMMAND, ["-d", "img"])


@pytest.mark.parametrize(
    ("words", "policy"),
    [
        ((), ("no", 0)),
        (("--restart", "no"), ("no", 0)),
        (("--restart=always",), ("always", 0)),
        (("--restart", "unless-stopped"), ("unless-stopped", 0)),
        (("--restart", "on-failure"), ("on-failure", 0)),
        (("--restart", "on-failure:5"), ("on-failure", 5)),
    ],
)
def test_restart(words, policy):
    request = asked(*words)
    assert (request.restart, request.restart_max) == policy


@pytest.mark.parametrize("text", ["sometimes", "on-failure:x", "on-failure:-1", "always:3", "on-failure:"])
def test_restart_refusals(text):
    with pytest.raises(errors.InvalidArgument, match="invalid restart policy"):
        asked("--restart", text)


def test_restart_and_rm_exclude_one_another():
    with pytest.raises(UsageError, match="cannot specify both --restart and --rm"):
        asked("--restart", "always", "--rm")
    assert asked("--restart", "no", "--rm").remove is True


def test_health():
    request = asked("--health-cmd", "curl -f x", "--health-interval", "2s", "--health-retries", "4")
    assert request.health == Health(test=("CMD-SHELL", "curl -f x"), interval=2 * 10**9, retries=4)
    assert asked("--no-healthcheck").health == Health(test=("NONE",))
    assert asked("--init").health is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--no-healthcheck", "--health-cmd", "x"), "conflicts with --health"),
        (("--health-retries", "-1"), "cannot be negative"),
        (("--health-interval", "-1s"), "--health-interval cannot be negative"),
        (("--health-timeout", "10us"), "--health-timeout cannot be less than 1ms"),
        (("--health-timeout", "ten"), "invalid argument for --health-timeout"),
    ],
)
def test_health_refusals(words, message):
    with pytest.raises(errors.InvalidArgument, match=message):
        asked(*words)


def test_podmans_words_for_a_platform_and_a_umask():
    assert asked("--arch", "arm64", "--variant", "v8").platform == "linux/arm64/v8"
    assert asked("--os", "linux", "--arch", "amd64").platform == "linux/amd64"
    assert asked("--umask", "077").umask == 0o77
    assert asked("--rm").umask is None
    with pytest.raises(UsageError, match="can not be specified with"):
        asked("--arch", "arm64", "--platform", "linux/amd64")
    for wrong in ("", "8", "01777", "-1", "0x7"):
        with pytest.raises(UsageError, match="invalid umask"):
            asked("--umask", wrong)


def test_all_variables_and_one_changed(monkeypatch):
    monkeypatch.setenv("HERE", "1")
    env = asked("--env-host", "-e", "HERE=2").env
    assert env.index("HERE=1") < env.index("HERE=2")


def test_to_replace_needs_a_name():
    assert asked("--replace", "--name", "web").replaces is True
    with pytest.raises(UsageError, match="without --name being set"):
        asked("--replace")


def test_the_command_line_says_the_same_again():
    """Without what belongs to one command alone; switches that were turned off stay so."""
    words = ("-dit", "--rm", "--name", "web", "-e", "A=1", "-e", "B=-x y", "-m", "64m", "--init=false", "--replace")
    first = asked(*words, "--pids-limit", "5", "--cap-drop", "ALL")
    again = asked_create(*first.command_line)
    kept = {"name": None, "remove": False, "detach": False, "replaces": False, "command_line": ()}
    assert again.replace(command_line=()) == first.replace(**kept)
    assert asked_create(*again.command_line).command_line == again.command_line


def asked_create(*words):
    return read(parse(create.COMMAND, list(words)))
