"""Which settings are a registry's, and where a reference's content may be."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.base import errors
from atoll.images import remote, settings
from atoll.images.values import Mirror, RegistryOptions, RegistrySettings
from atoll.spec import reference as references

NONE = RegistryOptions(certs_dirs=())


def places(name: str, *said: RegistrySettings) -> list[str]:
    found = remote.endpoints(references.parse(name), NONE.replace(registries=said))
    return [f"{one.host}/{one.repository}" for one in found]


def test_the_longest_prefix_counts_and_only_at_a_boundary():
    hub = RegistrySettings(prefix="docker.io", mirrors=(Mirror(location="m.example"),))
    team = RegistrySettings(prefix="docker.io/team", mirrors=(Mirror(location="t.example:5000/x"),))
    assert places("debian", hub, team) == ["m.example/library/debian", "docker.io/library/debian"]
    assert places("team/app", hub, team) == ["t.example:5000/x/app", "docker.io/team/app"]
    assert places("teams/app", hub, team) == ["m.example/teams/app", "docker.io/teams/app"]
    assert places("q.io/a", hub) == ["q.io/a"]


def test_wildcards_relocation_and_blocking():
    wild = RegistrySettings(prefix="*.example.com", mirrors=(Mirror(location="near:1/m"),))
    assert places("a.example.com/x/y", wild) == ["near:1/m/x/y", "a.example.com/x/y"]
    assert places("example.com/x", wild) == ["example.com/x"]
    moved = RegistrySettings(prefix="old.io", location="new.io/old")
    assert places("old.io/a", moved) == ["new.io/old/a"]
    with pytest.raises(errors.Denied, match=r"bad\.io is blocked"):
        places("bad.io/a", RegistrySettings(prefix="bad.io", blocked=True))


def test_what_a_mirror_is_asked_for():
    digests = remote.Endpoint(host="m", repository="r", pull="digests")
    tags = remote.Endpoint(host="m", repository="r", pull="tags")
    assert (digests.serves("sha256:1"), digests.serves("v1")) == (True, False)
    assert (tags.serves("sha256:1"), tags.serves("v1")) == (False, True)


def test_certificates_of_docker_and_podman(tmp_path: Path):
    folder = tmp_path / "reg.example:5000"
    folder.mkdir()
    for name in ("ca.crt", "client.cert", "client.key", "notes.txt"):
        (folder / name).touch()
    said = RegistrySettings(prefix="reg.example:5000", ca_file="/own.pem")
    options = RegistryOptions(registries=(said,), certs_dirs=(str(tmp_path), "/nowhere"))
    tls = settings.tls_for(options, "reg.example:5000", insecure=False)
    assert tls.ca_files == ("/own.pem", f"{folder}/ca.crt")
    assert tls.client_certificates == ((f"{folder}/client.cert", f"{folder}/client.key"),)
    assert settings.tls_for(options, "other.example", insecure=False).ca_files == ()


def test_who_may_be_spoken_to_in_the_clear():
    said = RegistrySettings(prefix="plain.example", insecure=True)
    options = RegistryOptions(insecure=("a.example:5000", "b.example"), registries=(said,))
    insecure = [host for host in ("a.example:5000", "a.example", "b.example:1", "plain.example", "c")
                if settings.is_insecure(options, host)]  # fmt: skip
    assert insecure == ["a.example:5000", "b.example:1", "plain.example"]
