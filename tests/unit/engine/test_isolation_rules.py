"""Rules that raise the level of isolation: what they are about, that none lowers, that no file takes one away."""

import json

import pytest

from atoll.base import errors
from atoll.engine import config as settings
from atoll.engine import isolation_rules
from atoll.engine.config import Config
from atoll.engine.isolation_rules import Rule
from atoll.engine.requests import RunRequest
from atoll.spec.image import parse_config
from unit.engine import fakes


def read(text, base=None):
    return settings.parse(text.encode(), "atoll.toml", base or Config())


def settled(engine, *rules, asked=None, default="container"):
    engine.config = engine.config.replace(isolation_rules=rules, isolation=default)
    row = engine.store.images()[0]
    request = RunRequest(image="busybox", isolation=asked)
    made, said = isolation_rules.settle(engine, request, row, parse_config(row.config.encode(), "it"))
    return (made.isolation or default), said


def test_both_spellings_of_the_default():
    assert read('isolation = "gvisor"').isolation == "gvisor"
    found = read('[isolation]\ndefault = "gvisor"\n[[isolation.rules]]\nregistry = "ghcr.io"\nlevel = "vm"\n')
    assert found.isolation == "gvisor"
    assert found.isolation_rules == (Rule(level="vm", registry="ghcr.io"),)


def test_the_systems_rules_stay_whatever_the_users_file_says():
    first = read('[[isolation.rules]]\nunsigned = true\nlevel = "vm"\n')
    both = read('[isolation]\nrules = [{image = "*", level = "gvisor"}]\n', first)
    assert both.isolation_rules == (Rule(level="vm", unsigned=True), Rule(level="gvisor", image="*"))
    assert read("[isolation]\nrules = []\n", first).isolation_rules == first.isolation_rules


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('[[isolation.rules]]\nlevel = "vm"\n', "about something"),
        ('[[isolation.rules]]\nimage = "*"\n', "with a level"),
        ('[[isolation.rules]]\nimag = "*"\nlevel = "vm"\n', "did you mean 'image'"),
        ('[[isolation.rules]]\nunsigned = "yes"\nlevel = "vm"\n', "true or false"),
        ('[[isolation.rules]]\nimage = ""\nlevel = "vm"\n', "image as a text"),
        ("[isolation]\nrules = 1\n", "isolation.rules"),
        ('[isolation]\nrule = "x"\n', "isolation.rules"),
    ],
)
def test_what_is_wrong_is_named(text, words):
    with pytest.raises(errors.InvalidArgument, match=words.replace(".", r"\.")):
        read(text)


def test_what_a_rule_is_about(engine):
    assert settled(engine) == ("container", None)
    for rule in (
        Rule(level="vm", image="docker.io/library/busy*"),
        Rule(level="vm", registry="docker.io"),
        Rule(level="vm", unsigned=True),
        Rule(level="vm", unsigned=True, registry="docker.io"),
    ):
        level, said = settled(engine, rule)
        assert level == "vm", rule
        assert said == "isolation vm instead of container, by rule 1 of the settings"
    for rule in (
        Rule(level="vm", image="busybox"),  # names are full ones
        Rule(level="vm", registry="ghcr.io"),
        Rule(level="vm", label="tier"),
        Rule(level="vm", unsigned=True, registry="ghcr.io"),
    ):
        assert settled(engine, rule) == ("container", None), rule


def test_labels_and_signatures(engine):
    document = json.loads(json.dumps(fakes.CONFIG))
    document["config"]["Labels"] = {"tier": "untrusted"}
    row = engine.store.images()[0]
    text = json.dumps(document)
    engine.store.write(lambda db: db.execute("UPDATE images SET config = ? WHERE id = ?", (text, row.id)))
    assert settled(engine, Rule(level="gvisor", label="tier"))[0] == "gvisor"
    assert settled(engine, Rule(level="gvisor", label="tier=untrusted"))[0] == "gvisor"
    assert settled(engine, Rule(level="gvisor", label="tier=own"))[0] == "container"
    values = (row.id, "docker.io/library/busybox:latest", "docker", "f", "[]")
    engine.store.write(lambda db: db.execute("INSERT INTO admissions VALUES (?, ?, ?, ?, ?)", values))
    assert settled(engine, Rule(level="vm", unsigned=True))[0] == "vm", "let in without a proof"
    proof = '[{"kind": "sigstore"}]'
    engine.store.write(lambda db: db.execute("UPDATE admissions SET evidence = ?", (proof,)))
    assert settled(engine, Rule(level="vm", unsigned=True))[0] == "container"


def test_the_strongest_counts_and_none_lowers(engine):
    everything = {"registry": "docker.io"}
    gvisor, vm, runc = (Rule(level=level, **everything) for level in ("gvisor", "vm", "runc"))
    assert settled(engine, gvisor, vm)[0] == settled(engine, vm, gvisor)[0] == "vm"
    assert settled(engine, vm, gvisor)[1].endswith("by rule 1 of the settings")
    assert settled(engine, gvisor, asked="vm") == ("vm", None)
    assert settled(engine, runc, asked="gvisor") == ("gvisor", None)
    assert settled(engine, runc, asked="container") == ("container", None), "no stronger, so what was asked for"
    assert settled(engine, gvisor, asked="/usr/bin/runc")[0] == "gvisor"
    assert settled(engine, gvisor, default="vm") == ("vm", None)


def test_a_create_goes_by_them_and_notes_it(engine):
    engine.config = engine.config.replace(isolation_rules=(Rule(level="gvisor", registry="docker.io"),))
    with pytest.raises(errors.AtollError) if engine.uid else _nothing():
        made = engine.create(RunRequest(image="busybox", starts_later=True))
        document = engine.inspect_container(made)
        assert document["Atoll"]["Isolation"] == "gvisor"
        assert "by rule 1" in " ".join(document["Atoll"]["Notes"])


def _nothing():
    from contextlib import nullcontext

    return nullcontext()
