from __future__ import annotations

import gzip
import io
import os
import tarfile

import pytest

from atoll.base import errors
from atoll.images import shelf
from atoll.images.archive import ArchiveSource
from atoll.images.layout import LayoutSource


def archive(path, *entries):
    with tarfile.open(path, "w") as tar:
        for name, content, fields in entries:
            info = tarfile.TarInfo(name)
            for key, value in fields.items():
                setattr(info, key, value)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return str(path)


def text(opened, name):
    return b"".join(opened.chunks(name))


LINK = {"type": tarfile.SYMTYPE}


@pytest.fixture(params=["folder", "tar", "gzip", "pipe"])
def opened(request, tmp_path):
    (tmp_path / "outside").write_text("secret")
    if request.param == "folder":
        top = tmp_path / "folder"
        (top / "sub").mkdir(parents=True)
        (top / "sub/file").write_text("content")
        os.symlink("sub/file", top / "link")
        os.symlink("../outside", top / "out")
        os.symlink(tmp_path / "outside", top / "absolute")
        os.mkfifo(top / "fifo")
        found = shelf.open_shelf(str(top))
    else:
        path = archive(
            tmp_path / "a.tar",
            ("./sub/file", b"content", {}),
            ("link", b"", {**LINK, "linkname": "sub/file"}),
            ("out", b"", {**LINK, "linkname": "../outside"}),
            ("absolute", b"", {**LINK, "linkname": str(tmp_path / "outside")}),
            ("fifo", b"", {"type": tarfile.FIFOTYPE}),
        )
        if request.param == "tar":
            found = shelf.open_shelf(path)
        else:
            packed = gzip.compress(open(path, "rb").read())
            if request.param == "gzip":
                (tmp_path / "a.gz").write_bytes(packed)
                found = shelf.open_shelf(str(tmp_path / "a.gz"))
            else:
                read, write = os.pipe()
                os.write(write, packed)
                os.close(write)
                found = shelf.open_shelf(read)
                os.close(read)
    yield found
    found.close()
    found.close()


def test_files_by_name(opened):
    assert text(opened, "sub/file") == b"content"
    assert text(opened, "/sub/../sub/file") == b"content"
    assert b"".join(opened.chunks("sub/file", 3)) == b"tent"
    assert opened.size("link") == 7
    assert shelf.read(opened, "link", 7) == b"content"
    with pytest.raises(errors.Corrupt, match="more than 6"):
        shelf.read(opened, "link", 6)


@pytest.mark.parametrize("name", ["nope", "out", "absolute", "../outside", "fifo", "sub"])
def test_nothing_leads_out(opened, name):
    assert opened.size(name) is None
    with pytest.raises(errors.NotFound):
        text(opened, name)


def test_links_in_a_circle(tmp_path):
    path = archive(tmp_path / "a.tar", ("a", b"", {**LINK, "linkname": "b"}), ("b", b"", {**LINK, "linkname": "a"}))
    found = shelf.open_shelf(path)
    assert found.size("a") is None
    found.close()


def test_an_archive_that_breaks_off(tmp_path):
    path = archive(tmp_path / "a.tar", ("file", b"x" * 5000, {}))
    os.truncate(path, 3000)
    with pytest.raises(errors.Corrupt, match="breaks off"):
        shelf.open_shelf(path)


@pytest.mark.parametrize(
    "listed",
    [b"", b"{}", b"[1]", b'[{"Config": 1}]', b'[{"Config":"c","Layers":["l"],"RepoTags":[1]}]',
     b'[{"Config":"c","Layers":[],"RepoTags":["UPPER"]}]', b"[" * 100_000],
)  # fmt: skip
def test_a_hostile_list_of_images(tmp_path, listed):
    path = archive(tmp_path / "a.tar", ("manifest.json", listed, {}))
    with pytest.raises(errors.Corrupt):
        ArchiveSource(path)


def test_layers_that_are_not_there_or_too_many(tmp_path):
    config = b'{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' % (
        b"a" * 64
    )
    for layers, said in (('["nope"]', "is not in it"), ('["c","c"]', "2 layers")):
        listed = f'[{{"Config":"c","Layers":{layers},"RepoTags":null}}]'.encode()
        source = ArchiveSource(archive(tmp_path / "a.tar", ("manifest.json", listed, {}), ("c", config, {})))
        with pytest.raises(errors.Corrupt, match=said):
            source.document("")
        source.close()


@pytest.mark.parametrize("index", [b"{}", b"[]", b'{"schemaVersion":2,"layers":[],"config":{}}', b"\xff"])
def test_a_hostile_index(tmp_path, index):
    with pytest.raises(errors.Corrupt):
        LayoutSource(archive(tmp_path / "a.tar", ("index.json", index, {})))
