import os

from atoll.vm.files import copy_sparse


def test_data_and_holes(tmp_path):
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    with open(source, "wb") as stream:
        stream.truncate(64 << 20)
        for place in (0, 5 << 20, (64 << 20) - 4096):
            stream.seek(place)
            stream.write(b"data" * 1024)
    copy_sparse(source, target)
    with open(source, "rb") as one, open(target, "rb") as other:
        assert one.read() == other.read()
    assert os.stat(target).st_blocks * 512 < 1 << 20
    assert os.stat(target).st_mode & 0o777 == 0o600


def test_one_that_is_all_hole(tmp_path):
    source, target = str(tmp_path / "a"), str(tmp_path / "b")
    with open(source, "wb") as stream:
        stream.truncate(1 << 20)
    copy_sparse(source, target)
    assert os.stat(target).st_size == 1 << 20
