from __future__ import annotations

import tomllib

import pytest

from atoll.base import errors
from atoll.engine import config
from atoll.engine.config import Config, load, parse
from atoll.images.values import Mirror, RegistrySettings


def test_without_a_file_there_are_defaults_and_no_toml(tmp_path):
    assert load({"HOME": str(tmp_path)}, 7) == Config()


def test_every_key_is_read():
    text = b"""
    isolation = "container"
    [defaults]
    security = "docker"
    network = "host"
    pids_limit = -1
    shm_size = "128m"
    stop_timeout = 3
    detach_keys = "ctrl-a,q"
    [log]
    driver = "none"
    max_size = 1000
    max_files = 5
    [cgroup]
    parent = "/a/b/"
    [registries]
    insecure = ["h:5000"]
    offline = true
    [registries."docker.io"]
    mirrors = ["m.example/hub/", {location = "n:5000", insecure = true, pull = "digests"}]
    ca_file = "/ca.pem"
    [storage]
    driver = "copy"
    keep = "20g"
    [trust]
    policy = "/etc/p.json"
    """
    read = parse(text, "f", Config())
    assert read == Config(
        isolation="container", security="docker", network="host", pids_limit=-1, shm_size=128 << 20, stop_timeout=3,
        detach_keys="ctrl-a,q", log_driver="none", log_max_size=1000, log_max_files=5, cgroup_parent="/a/b",
        insecure_registries=("h:5000",), source=("f",), offline=True, trust_policy="/etc/p.json",
        storage_driver="copy", storage_keep=20 << 30,
        registries=(
            RegistrySettings(
                prefix="docker.io",
                ca_file="/ca.pem",
                mirrors=(
                    Mirror(location="m.example/hub"), Mirror(location="n:5000", insecure=True, pull="digests"),
                ),
            ),
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (b"isolatoin = 'x'", "unknown setting 'isolatoin'.*did you mean 'isolation'"),
        (b"[defaults]\npid_limit = 1", "unknown setting 'defaults.pid_limit'.*did you mean 'defaults.pids_limit'"),
        (b"[default]\nsecurity = 'atoll'", "unknown setting 'default'.*did you mean 'defaults'"),
        (b"[defaults]\nsecurity = 'none'", "defaults.security: expected one of atoll, docker, got 'none'"),
        (b"[defaults]\npids_limit = true", "pids_limit: expected a whole number"),
        (b"[log]\nmax_files = 0", "log.max_files"),
        (b"[log]\nmax_size = 'huge'", "log.max_size: expected a size"),
        (b"[cgroup]\nparent = '/a/../b'", "cgroup.parent"),
        (b"[registries]\ninsecure = 'h'", "registries.insecure: expected a list"),
        (b"[registries.x]\nmirror = []", "registries.*mirrors, not mirror"),
        (b"[registries.x]\nclient_key = '/k'", "client_certificate and client_key together"),
        (b"[registries.x]\nmirrors = [{pull = 'all'}]", "a text for location"),
        (b"[trust]\npolicy = 'p'", "trust.policy: expected an absolute path"),
        (b"= 3", "f: "),
        (b"\xff", "f: "),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(errors.InvalidArgument) as caught:
        parse(text, "f", Config())
    import re

    assert re.search(words, str(caught.value))


def test_root_does_not_read_a_users_file():
    assert config.files({"HOME": "/home/u", "XDG_CONFIG_HOME": "/x"}, 0) == ("/etc/atoll/atoll.toml",)
    assert config.files({"HOME": "/home/u"}, 7) == ("/etc/atoll/atoll.toml", "/home/u/.config/atoll/atoll.toml")


def test_a_named_file_must_be_there(tmp_path):
    with pytest.raises(errors.NotFound, match="does not exist"):
        load({"ATOLL_CONFIG": str(tmp_path / "none")}, 0)


PLAIN = (
    '[network]\ndefault = "none"\n\n# a word\n[log]\nmax_files = 7\n',
    'isolation = "container"\n[registries]\noffline = true\n',
    "",
)
OTHER = (
    "[network]\ndefault = 'none'",
    '[network]\ndefault = "no\\u006ee"',
    '[log]\nmax_size = "1m" # a word',
    '[registries]\ninsecure = ["a"]',
    '[network]\ndefault = "none"\n[network]\ndefault = "host"',
    "[log]\nmax_files = 007",
)


@pytest.mark.parametrize("content", PLAIN)
def test_a_plain_file_is_read_as_toml_is(content):
    assert config._plain(content) == tomllib.loads(content)


@pytest.mark.parametrize("content", OTHER)
def test_what_is_not_plain_is_left_to_tomllib(content):
    assert config._plain(content) is None


def test_several_named_files_go_over_one_another(tmp_path):
    (tmp_path / "one").write_text('[network]\ndefault = "none"\n[log]\nmax_files = 2\n')
    (tmp_path / "two").write_text("[log]\nmax_files = 4\n")
    found = load({"ATOLL_CONFIG": f"{tmp_path}/one:{tmp_path}/two"}, 0)
    assert (found.network, found.log_max_files) == ("none", 4)
