"""Quadlet's files as units: words, keys, references, and systemd's own judgement of what comes out."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atoll.base import errors
from atoll.spec import quadlet_keys as keys
from atoll.spec.quadlet import File, Service, convert
from atoll.spec.unit_text import Unit, literal, quoted, split_words

COMMAND = "/usr/bin/true"


def units(**texts: str) -> dict[str, Service]:
    """The units of files by `kind__stem=text`; fails the test if one is refused."""
    found, wrong = convert(files(**texts), COMMAND)
    assert wrong == []
    return {unit.name: unit for unit in found}


def files(**texts: str) -> list[File]:
    """Files, `web__container` for web.container."""
    return [
        File(name=name.replace("__", "."), path=f"/q/{name.replace('__', '.')}", text=text)
        for name, text in texts.items()
    ]


def line(unit: Service, key: str) -> str:
    """The last value of a key in [Service]."""
    found = Unit.parse(unit.text, "x").last("Service", key)
    assert found is not None, unit.text
    return found


def test_a_container_with_all_it_names():
    found = units(
        web__container="[Unit]\nDescription=Web\n[Container]\nImage=img.image\nPod=many.pod\n"
        "Exec=sh -c 'echo $HOME %h'\n"
        'Environment=A=1 "B=two words"\nEnvironment=C=\\x41\nAddCapability=A B\nVolume=data.volume:/d\n'
        "Volume=./here:/h:ro\nNetwork=net.network\nUser=5\nGroup=6\nReadOnly=true\nReadOnlyTmpfs=no\nUnmask=ALL\n"
        "Label=old=1\nLabel=\nLabel=new=1\nRunInit=no\nNoNewPrivileges=false\nTimezone=Europe/Berlin\nReloadSignal=HUP\n"
        "[Service]\nRestart=always\n[Install]\nWantedBy=default.target\nAlias=front.service\n",
        many__pod="[Pod]\nPublishPort=80:80\nStopTimeout=3\n",
        data__volume="[Volume]\nVolumeName=mine\nUser=5\nOptions=rw\nDevice=tmpfs\nType=tmpfs\n",
        net__network="[Network]\nNetworkDeleteOnStop=yes\nOptions=mtu=1400\n",
        img__image="[Image]\nImage=quay.io/a/b\nArch=arm64\nVariant=v8\n",
        app__kube="[Kube]\nYaml=app.yaml\nConfigMap=c.yaml\nSetWorkingDirectory=unit\n",
    )
    web = found["web.service"]
    assert line(web, "ExecStart") == (
        "/usr/bin/true run --name systemd-web --rm --network systemd-net --volume mine:/d --volume /q/here:/h:ro"
        ' --cap-add A --cap-add B --env A=1 --env "B=two words" --env C=A --label new=1'
        " --security-opt=no-new-privileges=false --init=false --security-opt=unmask=ALL --user 5:6 --read-only"
        ' --env TZ=Europe/Berlin --pod systemd-many quay.io/a/b sh -c "echo $HOME %h"'
    )
    assert line(web, "ExecReload") == "/usr/bin/true kill --signal HUP systemd-web"
    assert (line(web, "Type"), line(web, "Restart"), line(web, "KillMode")) == ("exec", "always", "process")
    assert set(web.links) == {"default.target.wants/web.service", "front.service"}
    for needed in ("many-pod", "data-volume", "net-network", "img-image"):
        assert f"After={needed}.service\n" in web.text
    assert "BindsTo=many-pod.service\n" in web.text
    assert "Wants=web.service\nBefore=web.service\n" in found["many-pod.service"].text
    assert line(found["many-pod.service"], "ExecStop") == "-/usr/bin/true pod stop --time 3 systemd-many"
    assert line(found["data-volume.service"], "ExecStart") == (
        "/usr/bin/true volume create --opt=device=tmpfs --opt=type=tmpfs --opt=o=rw,uid=5 mine"
    )
    assert line(found["net-network.service"], "ExecStopPost") == "-/usr/bin/true network rm systemd-net"
    assert line(found["img-image.service"], "ExecStart") == "/usr/bin/true pull --platform linux/arm64/v8 quay.io/a/b"
    assert (
        line(found["app.service"], "ExecStart")
        == "/usr/bin/true kube play --replace --configmap /q/c.yaml /q/app.yaml"
    )
    assert line(found["app.service"], "WorkingDirectory") == "/q"


def test_templates_and_drop_ins():
    file = File(
        name="work@.container",
        path="/q/work@.container",
        text="[Container]\nImage=x\nEnvironment=A=1\n[Install]\nDefaultInstance=one\nWantedBy=default.target\n",
        drop_ins=(("/q/d/10.conf", "[Container]\nEnvironment=\nEnvironment=B=%i\n"),),
    )
    (unit,), _ = convert([file], COMMAND, user=True, environment=["ATOLL_DATA_ROOT=/a b%"])
    assert unit.name == "work@.service"
    assert unit.links == ("default.target.wants/work@one.service",)
    assert "--name systemd-%p_%i --rm --env B=%i x" in line(unit, "ExecStart")
    assert "network-online" not in unit.text
    assert line(unit, "Environment") == '"ATOLL_DATA_ROOT=/a b%%"'


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("[Container]\nImage=x\nPublshPort=1\n", r"a.container:3: unknown key PublshPort .*did you mean PublishPort"),
        ("[Contaner]\nImage=x\n", r"unknown section \[Contaner\].*did you mean \[Container\]"),
        ("[Unit]\nDescription=x\n", r"no section \[Container\]"),
        ("[Container]\n", "no Image="),
        ("[Container]\nImage=x.build\n", "not built by units"),
        ("[Container]\nImage=x\nRootfs=/\n", "Rootfs is not possible here"),
        ("[Container]\nImage=x\nVolume=dta.volume:/d\n", "no file dta.volume.*did you mean data.volume"),
        ("[Container]\nImage=x\nPod=many\n", "name of a .pod file"),
        ("[Container]\nImage=x\nReadOnly=maybe\n", "true or false"),
        ("[Container]\nImage=x\nEnvironment=\"A=1\n", "quote is not closed"),
        ("[Container]\nImage=x\nNotify=healthy\n", "Notify: healthy is not possible"),
        ("[Container]\nImage=x\n[Service]\nType=notify\n", "Type=notify"),
        ("[Container]\nImage=x\n[Install]\nWantedBy=../../evil\n", "no unit's name"),
        ("[Container]\nImage=x\n[Install]\nAlias=/etc/x\n", "no unit's name"),
        ("[Container]\nImage=x\nGroup=5\n", "name User="),
        ("Image=x\n", "before any section"),
        ("[Container\n", "no section"),
        ("[Container]\nImage\n", "KEY=VALUE"),
        ("[Container]\nImage=x\0\n", "NUL"),
    ],
)  # fmt: skip
def test_what_is_wrong(text: str, what: str):
    _, wrong = convert([*files(a__container=text), *files(data__volume="[Volume]\n")], COMMAND)
    assert len(wrong) == 1
    with pytest.raises(errors.AtollError, match=what):
        raise wrong[0]


def test_every_key_is_known_to_somebody():
    """A key of its own is looked at by name."""
    import inspect

    from atoll.spec import quadlet

    source = inspect.getsource(quadlet)
    for kind, (_, table) in keys.KINDS.items():
        for key, (how, flag) in table.items():
            assert how in (keys.FLAG, keys.EACH, keys.PAIRS, keys.LAST, keys.SWITCH, keys.REFUSED, keys.OWN)
            if how == keys.OWN:
                assert f'"{key}"' in source, f"{kind}: {key}"
            elif how != keys.REFUSED:
                assert flag.startswith("--"), f"{kind}: {key}"


def test_the_flags_are_those_of_our_commands():
    """What a table says is a flag of the command that the unit runs."""
    import importlib

    from atoll.cli.options import all_flags

    commands = {"container": "run", "pod": "pod.create", "volume": "volume.create", "network": "network.create",
                "kube": "kube.play", "image": "pull"}  # fmt: skip
    for kind, module in commands.items():
        known = {flag.name for flag in all_flags(importlib.import_module(f"atoll.cli.{module}").COMMAND)}
        for key, (how, flag) in keys.KINDS[kind][1].items():
            if how not in (keys.REFUSED, keys.OWN):
                assert flag[2:].partition("=")[0] in known, f"{kind}: {key}"


# Not by a codec: the Hypothesis of Debian, by which these tests run as aarch64, knows none.
WORDS = st.text("".join(sorted(set(map(chr, range(128))) - set("\0\x0b\x0c\a\b"))), max_size=12)


@given(st.lists(WORDS.filter(lambda word: all(c.isprintable() or c in "\n\t\r" for c in word)), max_size=5))
@settings(max_examples=120, deadline=None)
def test_words_come_back(words: list[str]):
    assert split_words(" ".join([quoted(word) for word in words]), "x") == words
    assert split_words(" ".join([literal(word) for word in words]), "x") == [
        word.replace("%", "%%").replace("$", "$$") for word in words
    ]


@given(st.text(max_size=200))
@settings(max_examples=120, deadline=None)
def test_any_text_is_a_unit_or_refused(text: str):
    convert(files(a__container=text, b__container="[Container]\n" + text), COMMAND)


@given(st.dictionaries(st.sampled_from(sorted(keys.CONTAINER)), st.text(max_size=12), max_size=4))
@settings(max_examples=120, deadline=None)
def test_no_value_becomes_a_line_of_its_own(values: dict[str, str]):
    text = "[Container]\nImage=x\n" + "".join([f"{key}={value}\n" for key, value in values.items()])
    found, _ = convert(files(a__container=text), COMMAND)
    for unit in found:
        for key in ("ExecStart", "ExecStartPre"):
            assert len(Unit.parse(unit.text, "x").values("Service", key)) == 1


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_has_nothing_against_them(tmp_path: object):
    found = units(
        web__container="[Container]\nImage=img.image\nPod=many.pod\nExec=sh -c 'echo %h'\nVolume=data.volume:/d\n",
        many__pod="[Pod]\n",
        data__volume="[Volume]\n",
        net__network="[Network]\n",
        img__image="[Image]\nImage=x\n",
        app__kube="[Kube]\nYaml=app.yaml\n",
    )
    for unit in found.values():
        with open(os.path.join(str(tmp_path), unit.name), "w") as file:
            file.write(unit.text)
    paths = [os.path.join(str(tmp_path), name) for name in found]
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *paths], capture_output=True, text=True, check=False, timeout=60
    )
    ours = [one for one in done.stderr.splitlines() if str(tmp_path) in one]
    assert ours == []
    assert done.returncode == 0, done.stderr
