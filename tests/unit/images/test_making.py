from __future__ import annotations

import pytest

from atoll.base import errors
from atoll.images import making
from atoll.spec import digest as digests
from atoll.spec import image as documents

BASE = {
    "architecture": "amd64", "os": "linux", "x-unknown": [1],
    "config": {"Env": ["PATH=/bin", "A=1"], "Shell": ["/bin/bash", "-c"], "WorkingDir": "/srv"},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("instruction", "key", "value"),
    [
        ('CMD ["a", "b c"]', "Cmd", ["a", "b c"]),
        ("cmd a b", "Cmd", ["/bin/bash", "-c", "a b"]),
        ('ENTRYPOINT ["x"]', "Entrypoint", ["x"]),
        ("ENV A=2 B='x y'", "Env", ["PATH=/bin", "A=2", "B=x y"]),
        ("ENV B x y", "Env", ["PATH=/bin", "A=1", "B=x y"]),
        ('LABEL k=v "l=w x"', "Labels", {"k": "v", "l": "w x"}),
        ("EXPOSE 80 90/udp 100-101", "ExposedPorts", {"80/tcp": {}, "90/udp": {}, "100/tcp": {}, "101/tcp": {}}),
        ("VOLUME /a /b", "Volumes", {"/a": {}, "/b": {}}),
        ('VOLUME ["/a b"]', "Volumes", {"/a b": {}}),
        ("USER 1:2", "User", "1:2"),
        ("WORKDIR sub", "WorkingDir", "/srv/sub"),
        ("WORKDIR /x", "WorkingDir", "/x"),
        ("ONBUILD RUN make", "OnBuild", ["RUN make"]),
        ("STOPSIGNAL SIGINT", "StopSignal", "SIGINT"),
        ("HEALTHCHECK NONE", "Healthcheck", {"Test": ["NONE"]}),
        ("HEALTHCHECK --interval=5s --retries=2 CMD curl x", "Healthcheck",
         {"Interval": 5_000_000_000, "Retries": 2, "Test": ["CMD-SHELL", "curl x"]}),
    ],
)  # fmt: skip
def test_instructions(instruction, key, value):
    made = making.changed(BASE, [instruction])
    assert made["config"][key] == value
    assert made["x-unknown"] == [1]
    assert key not in BASE["config"] or BASE["config"][key] != value


@pytest.mark.parametrize(
    "instruction",
    ["RUN x", "CMD", "ENV A", "ENV A=1 B", "LABEL 'open", "EXPOSE http", "EXPOSE 9-8", "EXPOSE 70000",
     "HEALTHCHECK x y", "HEALTHCHECK --x=1 CMD y"],
)  # fmt: skip
def test_wrong_instructions(instruction):
    with pytest.raises(errors.InvalidArgument):
        making.changed(BASE, [instruction])


def test_documents_that_our_own_parser_takes():
    body = making.encode(making.with_layer(BASE, "sha256:" + "b" * 64, created="2024-01-01T00:00:00Z", author="me"))
    parsed = documents.parse_config(body)
    assert parsed.diff_ids == ("sha256:" + "a" * 64, "sha256:" + "b" * 64)
    assert (parsed.author, parsed.history[-1].empty_layer) == ("me", False)
    plain = documents.Descriptor(media_type=making.PLAIN_LAYER, digest="sha256:" + "c" * 64, size=1)
    oci = documents.Descriptor(media_type=documents.OCI_LAYER + "+gzip", digest="sha256:" + "d" * 64, size=2)
    docker = documents.parse_document(making.manifest(body, [plain]), None, "x")
    assert docker.media_type == documents.DOCKER_MANIFEST
    assert docker.config.digest == digests.of(body)
    mixed = documents.parse_document(making.manifest(body, [oci, plain]), None, "x")
    assert mixed.media_type == documents.OCI_MANIFEST
    assert [one.compression for one in mixed.layers] == ["gzip", "none"]
    assert all(one.media_type.startswith(documents.OCI_LAYER) for one in mixed.layers)


def test_a_step_without_a_layer():
    made = making.with_layer(BASE, None, created="2024-01-01T00:00:00Z", created_by="CMD x")
    assert made["rootfs"]["diff_ids"] == ["sha256:" + "a" * 64]
    assert made["history"] == [{"created": "2024-01-01T00:00:00Z", "created_by": "CMD x", "empty_layer": True}]
